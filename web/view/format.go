package view

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"groundcrew/runs"
)

// Count says n with the right form of a noun: "1 stack", "2 stacks".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Ago says how long ago t was, or how far ahead it is, as seen at now: "12m ago", "in 41 days". What is more
// than 60 days ago is said as a date.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < -time.Second:
		return "in " + span(-d)
	case d < 5*time.Second:
		return "just now"
	case d > 60*24*time.Hour:
		return t.UTC().Format("2 Jan 2006")
	default:
		return span(d) + " ago"
	}
}

func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// Dur says a duration: "0.3s", "9.8s", "1m 04s", "2h 05m", "3d 04h". What is shorter than a twentieth of a second is "0s".
func Dur(d time.Duration) string {
	switch {
	case d < 50*time.Millisecond:
		return "0s"
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd %02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// Exact says a moment to the second, in UTC.
func Exact(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04:05 UTC") }

// Size says a number of bytes: "512 B", "4.1 kB", "2.0 MB".
func Size(n int64) string {
	units := []string{"kB", "MB", "GB", "TB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.95 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// The kinds of state a person tells apart: word, shape and colour always go together.
const (
	lookIdle  = "idle"  // ○ grey
	lookWork  = "work"  // ◐ blue, moves
	lookWait  = "wait"  // ◆ amber
	lookGood  = "good"  // ● green
	lookBad   = "bad"   // ✕ red
	lookEnded = "ended" // – slate
)

// look is the shape and colour of a run's state.
func look(s runs.State) string {
	switch s {
	case runs.Queued, runs.Confirmed:
		return lookIdle
	case runs.Unconfirmed:
		return lookWait
	case runs.Finished:
		return lookGood
	case runs.Failed:
		return lookBad
	}
	if s.Working() {
		return lookWork
	}
	return lookEnded
}

// StateWord is how pages name a run's state.
func StateWord(s runs.State) string {
	switch s {
	case runs.Unconfirmed:
		return "waits for confirmation"
	case runs.None:
		return "no runs yet"
	default:
		return string(s)
	}
}

// toolName is a tool as its makers write it, with the version when there is one.
func toolName(tool, version string) string {
	name := map[string]string{runs.OpenTofu: "OpenTofu", runs.Terraform: "Terraform", runs.Custom: "Custom tool"}[tool]
	if name == "" {
		name = tool
	}
	return strings.TrimSpace(name + " " + version)
}

// triggerWords says who or what asked for a run: "by push", "by anna".
func triggerWords(r runs.Run) string {
	switch r.Trigger {
	case runs.ByWebhook:
		if r.Type == runs.Proposed && r.MR != nil {
			return "by merge request"
		}
		return "by push"
	case runs.ByComparison:
		return "by comparison with GitLab"
	case runs.BySchedule:
		return "by schedule"
	case runs.ByDrift:
		return "by drift detection"
	case runs.ByPolicy:
		return "by a policy"
	case runs.ByDependency:
		return "by a dependency"
	case runs.ByAPI:
		return by(r.TriggeredBy, "the API")
	case runs.ByComment:
		return by(r.TriggeredBy, "a person") + " in a comment"
	default:
		return by(r.TriggeredBy, "a person")
	}
}

func by(who, otherwise string) string {
	if who == "" {
		who = otherwise
	}
	return "by " + who
}

// title is the heading of a run: its commit's message, or the command of a task.
func title(r runs.Run) string {
	switch {
	case r.Type == runs.Task && r.Command != "":
		return r.Command
	case r.Commit.Title != "":
		return r.Commit.Title
	case r.Commit.SHA != "":
		return "Commit " + r.Commit.Short()
	default:
		return "Run " + ShortID(r.ID)
	}
}

// ShortID is enough of a run's id to tell it from its neighbours: a ULID's last eight letters.
func ShortID(id string) string { return id[max(0, len(id)-8):] }

// refText is what the run speaks of: the merge request or the branch.
func refText(r runs.Run) string {
	if r.MR != nil {
		return fmt.Sprintf("!%d", r.MR.IID)
	}
	return r.Branch
}

func runURL(id string) string { return "/runs/" + url.PathEscape(id) }
func stackURL(slug string) string {
	if module := runs.ModuleOf(slug); module != "" {
		return moduleURL(module)
	}
	return "/stacks/" + url.PathEscape(slug)
}

// branchURL is a branch's page in GitLab, "" when the project's address is not known.
func branchURL(projectURL, branch string) string {
	if projectURL == "" || branch == "" {
		return ""
	}
	return strings.TrimSuffix(projectURL, "/") + "/-/tree/" + strings.ReplaceAll(url.PathEscape(branch), "%2F", "/")
}

// commitURL is a commit's page in GitLab, "" when it is not known.
func commitURL(c runs.Commit, projectURL string) string {
	if c.URL != "" || projectURL == "" || c.SHA == "" {
		return c.URL
	}
	return strings.TrimSuffix(projectURL, "/") + "/-/commit/" + url.PathEscape(c.SHA)
}

// query joins an address and its non-empty parameters, given as name, value pairs.
func query(path string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// host is the part of an address a person knows it by.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return u.Host + strings.TrimSuffix(u.Path, "/")
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// zeroTime says that something is not over yet.
var zeroTime time.Time

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// eventName says a webhook's event without GitLab's word for the mechanism: "Push Hook" is "Push".
func eventName(event string) string {
	if name := strings.TrimSpace(strings.TrimSuffix(event, "Hook")); name != "" {
		return upperFirst(strings.ToLower(name))
	}
	return "Unknown event"
}
