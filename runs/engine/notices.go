package engine

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// Where the pages of this server mend what a notice says.
const (
	tokenForm    = "/settings/vcs/gitlab/edit"
	gitlabPage   = "/settings/vcs/gitlab"
	parkedPage   = "/settings/vcs/gitlab/reports?state=" + store.ReportParked
	failedPage   = "/settings/vcs/gitlab/deliveries?state=" + store.DeliveryFailed
	maxPerNotice = 100 // rows that are looked at for one notice

	// ParkedLimit is how many parked reports are counted; "100 or more" is said beyond.
	ParkedLimit = 100
)

// expirySteps are the days before a token's end at which it is said anew (PRODUCT §1).
var expirySteps = []int{1, 3, 7, 14, 30}

// Notices are what needs a person in the background, with cause and mend, from the present state of everything: what is
// over is not there. Dismissed ones are included and say so. parked are the reports GitLab refused for good, ParkedLimit at most:
// finding them means reading all reports, so the caller may have them from some seconds ago. room is the disk's.
func Notices(tx *store.Tx, parked []store.Report, room runs.Room) ([]store.Notice, error) {
	var out []store.Notice
	stacks, err := tx.Sources()
	if err != nil {
		return nil, err
	}
	follow := newFollowing(stacks)
	for _, find := range []func(*store.Tx, following) ([]store.Notice, error){
		hookNotices, projectNotices, forkNotices, stackNotices, deliveryNotices, channelNotices, policyNotices,
	} {
		found, err := find(tx, follow)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	set, err := tx.Settings()
	if err != nil {
		return nil, err
	}
	out = append(out, reportNotices(parked, set.KeepReports())...)
	out = append(out, roomNotices(room)...)
	in, _, err := tx.Integration()
	if err != nil {
		return nil, err
	}
	out = append(out, tokenNotices(in, tx.Now())...)
	for i := range out {
		if out[i].Version == "" {
			out[i].Version = out[i].Text
		}
	}
	known, err := tx.Notices()
	return store.MergeNotices(out, known, tx.Now()), err
}

// tokenNotices say what a person must do about the token, at 30 days before its end and on.
func tokenNotices(in store.Integration, now time.Time) []store.Notice {
	if !in.Linked {
		return nil
	}
	var out []store.Notice
	h := in.Health
	add := func(key, kind, text, cause, mend string) {
		out = append(out, store.Notice{Key: key, Kind: kind, Text: text, Cause: cause, Mend: mend, LinkText: "Change token", LinkURL: tokenForm})
	}
	switch {
	case TokenDead(h):
		add("token", "bad", "GitLab does not work with the token", h.Trouble, tokenMend(h)+" Until then reports wait and nothing is lost.")
	case h.Trouble != "":
		out = append(out, store.Notice{
			Key: "gitlab", Kind: "warn", Text: "GitLab does not answer as it should", Cause: h.Trouble,
			Mend:     "Nothing is wrong with the token. Reports wait and are sent when GitLab is back; it is looked for every minute.",
			LinkText: "Look at it", LinkURL: gitlabPage,
		})
	case h.ExpiresAt != nil:
		left := h.ExpiresAt.Sub(now)
		days := int(math.Floor(left.Hours() / 24))
		cause := "It belongs to @" + h.Username + " and works until " + h.ExpiresAt.UTC().Format("2 January 2006") + ", 00:00 UTC."
		mend := "Make a new token in GitLab and set it here before that day."
		if in.AutoRotate {
			mend = "It is renewed by itself 14 days before its end; if that fails, set a new token."
		}
		step := slices.IndexFunc(expirySteps, func(d int) bool { return left <= time.Duration(d)*24*time.Hour })
		switch {
		case left <= 0:
			add("token", "bad", "The GitLab token has expired", cause, "Make a new token in GitLab and set it here.")
		case step < 0:
		case days == 0:
			add("token-expires-1", "bad", "The GitLab token expires within a day", cause, mend)
		default:
			add(fmt.Sprintf("token-expires-%d", expirySteps[step]), "warn", fmt.Sprintf("The GitLab token expires in %d %s", days, plural(days, "day")), cause, mend)
			out[len(out)-1].Version = "the day count alone is no news"
		}
	}
	if r := in.Rotation; r != nil && r.State == store.RotationLost {
		add("token-rotation", "bad", "The renewed GitLab token was lost", r.Text, "Set a new token. It is not renewed again by itself, because GitLab would take that for a theft.")
	} else if r != nil && r.State == store.RotationRefused {
		add("token-rotation", "warn", "The GitLab token was not renewed", r.Text, "It is tried again a day later. Or set a new token by hand.")
	}
	return out
}

// tokenMend says what to do about a token GitLab refuses.
func tokenMend(h store.TokenHealth) string {
	switch words := strings.ToLower(h.Trouble); {
	case h.Cause == "blocked" && strings.Contains(words, "terms of service"):
		return "Sign in to GitLab once as @" + h.Username + " and accept the terms of service, or set a token of another user."
	case h.Cause == "blocked" && strings.Contains(words, "password expired"):
		return "Sign in to GitLab once as @" + h.Username + " and set a new password, or set a token of another user."
	}
	switch h.Cause {
	case "blocked":
		return "A GitLab admin unblocks or reactivates @" + h.Username + " (Admin area › Users), or set a token of another user."
	case "scope":
		return "Make a token with the scope api and set it here."
	case "expired":
		return "Make a new token of @" + h.Username + " in GitLab and set it here."
	case "revoked":
		return "Find out who revoked it (GitLab's audit events), make a new token and set it here."
	default:
		return "It was deleted, or is of another GitLab. Make a new token and set it here."
	}
}

// policyNotices say which policies could not be asked when they were last, and which runs a trigger policy is still to be asked of.
func policyNotices(tx *store.Tx, _ following) (out []store.Notice, err error) {
	list, err := tx.Policies()
	if err != nil {
		return nil, err
	}
	unasked, err := unaskedOf(tx, list)
	for _, p := range list {
		cause, mend := p.LastError, policyMend[p.Type]+" Mend its text and try it on what it was asked."
		if failed := unasked[p.Slug]; len(failed) > 0 {
			cause = cmp.Or(cause, failed[len(failed)-1].Error)
			mend += fmt.Sprintf(" It is asked up to %d times more, %s apart; and when its text is another one within %s of a run, it is asked again of the %d %s it could not be asked about.", maxAgain, span(askAgain), span(mendWithin), len(failed), plural(len(failed), "run"))
		}
		if cause != "" && !p.Off {
			out = append(out, store.Notice{
				Key: "policy/" + p.Slug, Kind: "bad", Text: "The policy “" + p.Name + "” could not be asked", Cause: cause,
				Mend: mend, LinkText: "Look at the policy", LinkURL: "/policies/" + p.Slug,
			})
		}
	}
	return out, err
}

// unaskedOf are, by policy, the failures of trigger policies whose text is still the one that failed.
func unaskedOf(tx *store.Tx, policies []runs.Policy) (map[string][]store.Unasked, error) {
	list, err := tx.Follows()
	if err != nil || len(list) == 0 {
		return nil, err
	}
	texts, out := textsOf(policies), map[string][]store.Unasked{}
	for _, f := range list {
		for _, u := range f.Failed {
			if texts[u.Policy] == u.Text {
				out[u.Policy] = append(out[u.Policy], u)
			}
		}
	}
	return out, nil
}

// policyMend says what follows while a policy cannot be asked.
var policyMend = map[runs.PolicyType]string{
	runs.PolicyPush:         "Until then pushes start what they would without it.",
	runs.PolicyPlan:         "Until then the plans of its stacks fail.",
	runs.PolicyApproval:     "Until then it approves nothing.",
	runs.PolicyTrigger:      "Until then it triggers nothing.",
	runs.PolicyNotification: "Until then everybody is told.",
}

func reportNotices(parked []store.Report, keep time.Duration) []store.Notice {
	if len(parked) == 0 {
		return nil
	}
	count := fmt.Sprint(len(parked))
	if len(parked) >= ParkedLimit {
		count += " or more"
	}
	return []store.Notice{{
		Key: "reports", Kind: "warn", Text: "GitLab refused " + count + " " + plural(len(parked), "report"), Cause: parked[0].LastError,
		Mend: strings.TrimSpace(parked[0].Mend + " Then try them again. The runs themselves are not touched by it. " +
			fmt.Sprintf("What nobody tries is forgotten after %d days, or when its project is not used any more; the audit log says so.", int(keep.Hours()/24))),
		LinkText: "See why", LinkURL: parkedPage,
	}}
}

// A following is what follows projects: stacks and modules in the terms of stacks.
type following struct {
	all   []*runs.Stack
	first map[int64]*runs.Stack // of each project
}

func newFollowing(all []*runs.Stack) following {
	f := following{all: all, first: map[int64]*runs.Stack{}}
	for _, st := range all {
		if f.first[st.Project] == nil {
			f.first[st.Project] = st
		}
	}
	return f
}

func hookNotices(tx *store.Tx, follow following) ([]store.Notice, error) {
	in, _, err := tx.Integration()
	if err != nil || !in.Linked {
		return nil, err
	}
	rows, err := tx.Hooks()
	var out []store.Notice
	for _, h := range rows {
		st := follow.first[h.Project]
		if st == nil {
			continue
		}
		path := st.ProjectPath
		var rep store.Report
		if h.Owed { // only then is there more to say of it
			if rep, _, err = tx.Report(store.HookTarget(h.Project)); err != nil {
				return nil, err
			}
		}
		n := store.Notice{
			Key: fmt.Sprintf("hook/%d", h.Project), Kind: "warn", Cause: h.Detail,
			Mend:     "Repair or install it, then test it. Until then what it misses is found by comparing, some minutes late.",
			LinkText: "Look at the hooks", LinkURL: gitlabPage,
		}
		switch {
		case h.State == HookMissing:
			n.Text = "The webhook of " + path + " is missing"
		case h.State == HookDisabled:
			n.Kind, n.Text = "bad", "GitLab switched the webhook of "+path+" off"
		case h.State == HookSecret:
			n.Kind, n.Text = "bad", "The webhook of "+path+" has a wrong secret"
		case h.State == HookURL:
			n.Text = "The webhook of " + path + " leads to an old address"
		case h.State == HookEvents:
			n.Text = "The webhook of " + path + " does not deliver everything"
		case h.Owed && (rep.Attempts > 3 || rep.State == store.ReportParked):
			n.Text, n.Cause = "The new webhook secret has not reached "+path, rep.LastError
			n.Mend = "It is tried again by itself. The old secret stops working at the end of its grace period."
			if rep.State == store.ReportParked {
				n.Kind, n.Mend = "bad", strings.TrimSpace(rep.Mend)
			}
		default:
			continue
		}
		out = append(out, n)
	}
	return out, err
}

func projectNotices(tx *store.Tx, follow following) ([]store.Notice, error) {
	var out []store.Notice
	troubled, err := tx.Troubled()
	for _, w := range troubled {
		st := follow.first[w.Project]
		if st == nil {
			continue
		}
		kind := "warn"
		if w.Cause == ProjectGone {
			kind = "bad"
		}
		out = append(out, store.Notice{
			Key: fmt.Sprintf("project/%d", st.Project), Kind: kind, Text: w.Trouble, Mend: w.Mend, Stack: st.Slug,
			Cause: "Seen when the project was last compared with GitLab.", LinkText: "Open the stack", LinkURL: "/stacks/" + st.Slug + "/settings",
		})
	}
	return out, err
}

// forkNotices are the merge requests from forks whose commit waits for its release.
func forkNotices(tx *store.Tx, follow following) ([]store.Notice, error) {
	var out []store.Notice
	held, err := tx.Held()
	for _, mr := range held {
		st := follow.first[mr.Project]
		if st == nil {
			continue
		}
		slug := st.Slug
		if len(mr.Stacks) > 0 {
			slug = mr.Stacks[0]
		}
		link := "/stacks/" + slug + "/merge-requests"
		if m := runs.ModuleOf(slug); m != "" {
			link = "/modules/" + m + "/checks"
		}
		out = append(out, store.Notice{
			Key: fmt.Sprintf("fork/%d/%d/%s", st.Project, mr.IID, mr.Held), Kind: "info",
			Text:  fmt.Sprintf("Merge request !%d from a fork waits for its release", mr.IID),
			Cause: mr.Title, Mend: "A Maintainer reads commit " + runs.ShortSHA(mr.Held) + " and releases it, or closes the merge request.",
			LinkText: "Look at it", LinkURL: link, Stack: slug,
		})
	}
	return out, err
}

// stackNotices are the stacks of which it is not known what was applied: after an apply that was cut off, or with restored data.
func stackNotices(_ *store.Tx, follow following) ([]store.Notice, error) {
	var out []store.Notice
	for _, st := range follow.all {
		if st.Flag != "" {
			out = append(out, store.Notice{
				Key: "apply/" + st.Slug, Kind: "bad", Text: "The state of " + st.Name + " needs a look", Cause: st.Flag, Stack: st.Slug,
				Mend: "Read the fresh plan, or start a run, then confirm or discard it. Nothing deploys by itself until this is over; a finished run ends it, after a backup was restored one that somebody confirmed.", LinkText: "Open the stack", LinkURL: "/stacks/" + st.Slug,
			})
		}
	}
	return out, nil
}

// deliveryNotices are deliveries that nobody understood.
func deliveryNotices(tx *store.Tx, _ following) ([]store.Notice, error) {
	failed, err := tx.FailedDeliveries(maxPerNotice)
	if err != nil || len(failed) == 0 {
		return nil, err
	}
	return []store.Notice{{
		Key: "deliveries", Kind: "warn", Text: fmt.Sprintf("%d %s could not be processed", len(failed), deliveries(len(failed))), Cause: failed[0].Verdict,
		Mend: "Process them again when the cause is mended. They are kept for seven days.", LinkText: "See them", LinkURL: failedPage,
	}}, nil
}

func deliveries(n int) string {
	if n == 1 {
		return "delivery"
	}
	return "deliveries"
}

// remember keeps since when each notice is there, and forgets those that are over.
func (e *Engine) remember(context.Context) (time.Duration, error) {
	var now, known []store.Notice
	var parked []store.Report
	room := e.Room()
	err := e.st.View(func(tx *store.Tx) (err error) {
		if parked, _, err = tx.Reports(store.ReportParked, "", ParkedLimit); err != nil {
			return err
		}
		if now, err = Notices(tx, parked, room); err == nil {
			known, err = tx.Notices()
		}
		return err
	})
	if err != nil || reflect.DeepEqual(sorted(now), known) {
		return idle, err
	}
	return idle, e.st.Update(func(tx *store.Tx) error {
		now, err := Notices(tx, parked, room)
		if err != nil {
			return err
		}
		known, err := tx.Notices()
		if err != nil {
			return err
		}
		for _, n := range known {
			if !slices.ContainsFunc(now, func(m store.Notice) bool { return m.Key == n.Key }) {
				if err := forget(tx, n, now); err != nil {
					return err
				}
			}
		}
		for _, n := range now {
			if err := newsOf(tx, &n, known); err != nil {
				return err
			}
			if err := tx.PutNotice(n); err != nil {
				return err
			}
		}
		return nil
	})
}

func sorted(list []store.Notice) []store.Notice {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b store.Notice) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// DismissNotice takes a notice out of sight until it changes or comes back. What is wrong stays wrong.
func (e *Engine) DismissNotice(key, by string) error {
	room := e.Room()
	return e.st.Update(func(tx *store.Tx) error {
		parked, _, err := tx.Reports(store.ReportParked, "", ParkedLimit)
		if err != nil {
			return err
		}
		now, err := Notices(tx, parked, room)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(now, func(n store.Notice) bool { return n.Key == key })
		if i < 0 {
			return runs.NotFoundf("This notice is over already.")
		}
		n := now[i]
		n.Dismissed, n.By = tx.Now(), by
		if err := tx.PutNotice(n); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "notice.dismiss", Target: key, Stack: n.Stack})
	})
}
