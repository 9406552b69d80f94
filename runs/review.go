package runs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Person is somebody as reviews tell people apart: by their account here, by their account in GitLab, or by both. Names
// never count: they change hands.
type Person struct {
	User   string `json:"user,omitempty"`   // id of the account here
	GitLab int64  `json:"gitlab,omitempty"` // number of the account in GitLab
}

// Is reports whether both are known to be the same.
func (p Person) Is(o Person) bool {
	return p.User != "" && p.User == o.User || p.GitLab != 0 && p.GitLab == o.GitLab
}

// Known reports whether it is somebody at all.
func (p Person) Known() bool { return p != Person{} }

// Key names the person in keys of rows; "" for nobody.
func (p Person) Key() string {
	switch {
	case p.User != "":
		return "user:" + p.User
	case p.GitLab != 0:
		return "gitlab:" + strconv.FormatInt(p.GitLab, 10)
	default:
		return ""
	}
}

// A Decision is what a review comes to.
type Decision string

// The decisions.
const (
	Approve Decision = "approve"
	Reject  Decision = "reject"
)

// A Review is what one person says of what a run would do; a later one of the same person takes its place. It is bound to the
// stack and the fingerprint, not to the run: a plan of another commit with the same effect has it too. It counts, whatever it says and
// however old it is, until an apply uses it up, a discard takes it along, or nothing can come back that it was said of.
type Review struct {
	Stack       string    `json:"stack"`
	Fingerprint string    `json:"fingerprint"`
	Person      Person    `json:"person"`
	Name        string    `json:"name"` // for people
	Decision    Decision  `json:"decision"`
	Note        string    `json:"note,omitempty"`
	Run         string    `json:"run"` // that was looked at
	At          time.Time `json:"at"`
}

// Limits of reviews.
const (
	MaxApprovals = 10 // that a stack can ask for
)

// Validate checks the parts of a review that a person gives.
func (v Review) Validate() error {
	if v.Decision != Approve && v.Decision != Reject {
		return Invalidf("decision", "“%s” is no decision. Use approve or reject.", v.Decision)
	}
	return CheckNote(v.Note)
}

// Reviewable says why a run cannot be approved or rejected, nil when it can: there must be something it would do, known and
// not begun. Of a finished proposed run the review counts for the tracked run that would do the same.
func (r Run) Reviewable() error {
	switch {
	case r.Type == Test:
		return Conflictf("A test of a module changes nothing that lasts, so there is nothing to approve.")
	case r.Type == Proposed && r.State == Finished && r.Delta != nil && !r.Delta.Empty():
	case r.Type == Tracked && r.State == Unconfirmed:
	case (r.Type == Task || r.Type == Destroy) && r.State == Queued:
	case r.State == Finished && r.Delta != nil && r.Delta.Empty():
		return Conflictf("The plan changes nothing, so there is nothing to approve.")
	default:
		return Conflictf("The run is %s, so it can be neither approved nor rejected: only a plan that waits can, or a task or destroy run before it begins.", r.State)
	}
	if r.Fingerprint == "" {
		return Conflictf("The run was planned by an older version, so its effect has no fingerprint that a review could be bound to. Retry it.")
	}
	return nil
}

// Intent names what a task or destroy run would do, as [Changes.Fingerprint] does for a plan: the same command at the same commit
// in the same environment, named by a digest, is the same. It is "" for runs that are planned first.
func (r Run) Intent(environment string) string {
	if r.Type != Task && r.Type != Destroy {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{string(r.Type), r.Commit.SHA, r.Command, environment}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// A Gate says whether reviews let a run go on to what changes the world.
type Gate struct {
	Need       int      // approvals the stack asks for, and More; 0: none
	More       int      // approvals beyond that, because some of those who wrote or started it are not known
	Approvals  []Review // that count, oldest first
	Rejections []Review // that stand
	Gone       []Review // of the rejections, those of people who cannot sign in any more to take them back
	// Policies are what the approval policies of the stack say, each with an outcome of “approve”, “reject”, “undecided” or “error”.
	Policies []PolicyResult
	// Changed says in words that what was asked for is not what would happen now; then the gate stays shut.
	Changed string
}

// NewGate weighs the reviews there are of what a run would do. Of each person the newest counts; who wrote or started it may reject
// it and not approve it. Where somebody who did may be among those who approve without our knowing (an author nobody knows, or
// one known only by an account in GitLab beside an approver who has none here), one more has to approve for each: then enough of them
// are others all the same. An author that is not known is one [Person] who is nobody.
func NewGate(need int, reviews []Review, authors []Person) Gate {
	g := Gate{Need: need}
	for _, v := range newestOf(reviews) {
		isAuthor := slices.ContainsFunc(authors, v.Person.Is)
		switch {
		case v.Decision == Reject:
			g.Rejections = append(g.Rejections, v)
		case !isAuthor:
			g.Approvals = append(g.Approvals, v)
		}
	}
	if need > 0 {
		g.More = hiddenAmong(g.Approvals, authors)
		g.Need += g.More
	}
	return g
}

// hiddenAmong is how many of those who approved may be authors without our knowing.
func hiddenAmong(approvals []Review, authors []Person) int {
	nobody, inGitLab, unconnected := 0, 0, 0
	for _, a := range authors {
		switch {
		case !a.Known():
			nobody = 1
		case a.User == "":
			inGitLab++
		}
	}
	for _, v := range approvals {
		if v.Person.GitLab == 0 {
			unconnected++
		}
	}
	return nobody + min(inGitLab, unconnected)
}

// newestOf keeps each person's newest review, oldest first.
func newestOf(reviews []Review) []Review {
	sorted := slices.SortedStableFunc(slices.Values(reviews), func(a, b Review) int { return b.At.Compare(a.At) })
	var out []Review
	for _, v := range sorted {
		if !slices.ContainsFunc(out, func(o Review) bool { return o.Person.Is(v.Person) }) {
			out = append(out, v)
		}
	}
	slices.Reverse(out)
	return out
}

// Asked reports whether the stack asks for any review at all.
func (g Gate) Asked() bool { return g.Need > 0 || len(g.Policies) > 0 }

// Open reports whether the run may go on.
func (g Gate) Open() bool {
	return !g.Asked() || g.Changed == "" && len(g.Rejections) == 0 && len(g.Approvals) >= g.Need &&
		!slices.ContainsFunc(g.Policies, func(p PolicyResult) bool { return p.Outcome != OutcomeApprove })
}

// Refused says which approval policy says no for good, "" when none does.
func (g Gate) Refused() string {
	for _, p := range g.Policies {
		if p.Outcome == OutcomeReject {
			return fmt.Sprintf("The policy “%s” rejects it: %s", p.Name, strings.Join(p.Messages, "; "))
		}
	}
	return ""
}

// Text says in words what the gate waits for, or how it was opened; "" where no review is asked for.
func (g Gate) Text() string {
	if !g.Asked() {
		return ""
	}
	var parts []string
	if g.Changed != "" {
		parts = append(parts, g.Changed)
	}
	for _, v := range g.Rejections {
		parts = append(parts, "rejected by "+v.Name+because(v.Note))
	}
	if g.Need > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d %s%s", len(g.Approvals), g.Need, plural(g.Need, "approval"), names(g.Approvals)))
	}
	if g.More > 0 {
		parts = append(parts, fmt.Sprintf("%d more than the stack asks for, because not everybody who wrote or started it can be told from those who approve", g.More))
	}
	for _, p := range g.Policies {
		if p.Outcome != OutcomeApprove {
			parts = append(parts, "the policy “"+p.Name+"” "+waits(p))
		}
	}
	return strings.Join(parts, ", ")
}

// Err is nil where the gate is open, and else an ErrConflict that says what is missing and who can mend it.
func (g Gate) Err() error {
	switch {
	case g.Open():
		return nil
	case g.Refused() != "":
		return Conflictf("%s.", g.Refused())
	case g.Changed != "":
		return Conflictf("It is not what was asked for any more: %s. Discard it and start it again.", g.Changed)
	case len(g.Gone) > 0:
		return Conflictf("It is rejected: %s. Who cannot sign in any more%s cannot approve it after all: discard the run and plan it again.", g.Text(), names(g.Gone))
	case len(g.Rejections) > 0:
		return Conflictf("It is rejected: %s. Whoever rejected it can approve it after all; or discard it.", g.Text())
	default:
		return Conflictf("It is not approved yet: %s. Somebody who neither wrote nor started it has to approve it first.", g.Text())
	}
}

// waits says what an approval policy that does not approve says.
func waits(p PolicyResult) string {
	text := "does not approve yet"
	switch p.Outcome {
	case OutcomeReject:
		text = "rejects it"
	case OutcomeError:
		text = "could not be asked"
	}
	return text + because(strings.Join(p.Messages, "; "))
}

func names(reviews []Review) string {
	var list []string
	for _, v := range reviews {
		list = append(list, v.Name)
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

func because(note string) string {
	if note == "" {
		return ""
	}
	return " (" + note + ")"
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
