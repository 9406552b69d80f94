package view

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 4 * time.Second: "just now", 12 * time.Second: "12s ago", 12*time.Minute + 40*time.Second: "12m ago",
		2 * time.Hour: "2h ago", 47 * time.Hour: "47h ago", 49 * time.Hour: "2 days ago", -41*24*time.Hour - time.Hour: "in 41 days", 61 * 24 * time.Hour: "22 Sep 2026",
	} {
		if got := Ago(now, now.Add(-d)); got != want {
			t.Errorf("%v ago reads %q, want %q", d, got, want)
		}
	}
	if got := Ago(now, time.Time{}); got != "never" {
		t.Errorf("the zero time reads %q", got)
	}
}

func TestTriggerWords(t *testing.T) {
	for want, r := range map[string]runs.Run{
		"by push":                          {Trigger: runs.ByWebhook},
		"by anna":                          {Trigger: runs.ByPerson, TriggeredBy: "anna"},
		"by @ann (GitLab 42) in a comment": {Trigger: runs.ByComment, TriggeredBy: "@ann (GitLab 42)"},
		"by comparison with GitLab":        {Trigger: runs.ByComparison},
		"by the API":                       {Trigger: runs.ByAPI},
		"by merge request":                 {Trigger: runs.ByWebhook, Type: runs.Proposed, MR: &runs.MergeRequest{IID: 7}},
	} {
		if got := triggerWords(r); got != want {
			t.Errorf("%+v reads %q, want %q", r, got, want)
		}
	}
}

func TestDurAndSize(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 310 * time.Millisecond: "0.3s", 9840 * time.Millisecond: "9.8s", 9990 * time.Millisecond: "9s", 64 * time.Second: "1m 04s", 7500 * time.Second: "2h 05m", 76 * time.Hour: "3d 04h",
	} {
		if got := Dur(d); got != want {
			t.Errorf("Dur(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 48_120: "48.1 kB", 999_960: "1.0 MB", 88_000_000_000: "88.0 GB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestEveryStateHasALook: each state of a run has its own word and one of the six looks.
func TestEveryStateHasALook(t *testing.T) {
	words := map[string]runs.State{}
	for _, s := range runs.States {
		if other, ok := words[StateWord(s)]; ok {
			t.Errorf("%s and %s are both called %q", s, other, StateWord(s))
		}
		words[StateWord(s)] = s
		if l := look(s); s.Working() != (l == lookWork) || (l == lookWait) != (s == runs.Unconfirmed) || (l == lookEnded || l == lookGood || l == lookBad) != s.Terminal() {
			t.Errorf("%s looks %s", s, l)
		}
	}
}

func TestGitLabAddresses(t *testing.T) {
	if got := branchURL("https://g.example/x/", "feature/a b#c"); got != "https://g.example/x/-/tree/feature/a%20b%23c" {
		t.Error(got)
	}
	if branchURL("", "main") != "" || commitURL(runs.Commit{SHA: "ab"}, "") != "" {
		t.Error("an address was made from nothing")
	}
	if got := commitURL(runs.Commit{SHA: "ab"}, "https://g.example/x"); got != "https://g.example/x/-/commit/ab" {
		t.Error(got)
	}
	if got := query("/stacks", "q", "a b&c", "state", ""); got != "/stacks?q=a+b%26c" {
		t.Error(got)
	}
}

func words(r runs.Run) string {
	var out []string
	for _, s := range steps(r) {
		w := s.word()
		switch {
		case s.Future:
			w = "(" + w + ")"
		case s.Present:
			w += "*"
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

func TestTimeline(t *testing.T) {
	replanned := lived(trackedRun(), now, to(runs.Queued, runs.Preparing, runs.Initializing, runs.Planning, runs.Unconfirmed, runs.Queued, runs.Preparing)...)
	for want, r := range map[string]runs.Run{
		"queued preparing initializing planning waits* (applying) (finished)":                                                      unconfirmedRun(),
		"queued* (preparing) (initializing) (planning) (confirm) (applying) (finished)":                                            queuedRun(),
		"queued preparing initializing planning failed*":                                                                           failedRun(),
		"queued preparing initializing planning waits confirmed applying* (finished)":                                              applyingRun(),
		"queued preparing initializing planning waits queued preparing* (initializing) (planning) (confirm) (applying) (finished)": replanned,
		"queued preparing initializing planning finished*":                                                                         proposedRun(),
	} {
		if got := words(r); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	s := steps(failedRun())
	if s[3].Look != lookBad || s[2].Look != lookGood || s[4].timed() {
		t.Errorf("the step that failed does not look so: %+v", s[3:])
	}
}

// TestEveryRunHasATimeline: no state and type is without a way, and what is to come never follows an end.
func TestEveryRunHasATimeline(t *testing.T) {
	for _, typ := range runs.Types {
		for _, st := range runs.States {
			got := toCome(runs.Run{Type: typ, State: st})
			if st.Terminal() != (len(got) == 0) {
				t.Errorf("a %s run that is %s goes on with %v", typ, st, got)
			}
		}
	}
}

func TestLogSections(t *testing.T) {
	var got []string
	for _, s := range unconfirmedModel().logSections() {
		got = append(got, s.Phase)
		if s.Open != (s.Phase == "planning") {
			t.Errorf("%s open: %v", s.Phase, s.Open)
		}
	}
	if diff := cmp.Diff([]string{"initializing", "planning", "applying"}, got); diff != "" {
		t.Error(diff)
	}
	if n := len(RunModel{Run: discardedRun()}.logSections()); n != 0 {
		t.Errorf("an ended run without logs has %d places for them", n)
	}
}

func TestLineDiff(t *testing.T) {
	var got []string
	for _, l := range lineDiff(`"a\nb\nc\n"`, `"a\nx\nc\nd\n"`) {
		got = append(got, string(l.Sign)+l.Text)
	}
	if diff := cmp.Diff([]string{" a", "-b", "+x", " c", "+d"}, got); diff != "" {
		t.Error(diff)
	}
	if lineDiff(`"a"`, `"b"`) != nil || lineDiff("80", "443") != nil {
		t.Error("short values became a diff of lines")
	}
	if lineDiff("null", `"a\nb"`)[0] != (diffLine{'+', "a"}) {
		t.Error("a text that is new is not all added")
	}
}

func TestPlanHeads(t *testing.T) {
	nothing := trackedRun()
	nothing.State, nothing.Delta = runs.Finished, &runs.Delta{}
	stopped := queuedRun()
	stopped.State = runs.Stopped
	for want, r := range map[string]runs.Run{
		"Plan: 2 to add, 2 to change, 1 to destroy, 1 to import":     unconfirmedRun(),
		"Applying: 2 to add, 2 to change, 1 to destroy, 1 to import": applyingRun(),
		"Applied: 2 added, 2 changed, 1 destroyed, 1 imported":       finishedRun(),
		"Not planned yet":                       queuedRun(),
		"No plan was made":                      stopped,
		"Failed before there was a plan":        failedRun(),
		"No changes":                            nothing,
		"Task":                                  {Type: runs.Task},
		"Destroy everything this stack manages": {Type: runs.Destroy},
	} {
		if got := (RunModel{Run: r}).planHead(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestConfirmSaysItsEffect(t *testing.T) {
	label := func(d runs.Delta) action {
		return RunModel{StackName: "edge", Run: runs.Run{ID: "x", Delta: &d}, Confirm: can()}.confirmAction()
	}
	if a := label(runs.Delta{Add: 1}); a.Label != "Apply 1 change" || a.Ask != "" {
		t.Errorf("%+v", a)
	}
	if a := label(runs.Delta{Add: 1, Destroy: 2}); a.Label != "Apply 3 changes, destroy 2" || a.Ask != "Apply to edge? 2 resources are destroyed, and that cannot be undone." {
		t.Errorf("%+v", a)
	}
	if a := label(runs.Delta{Outputs: 2}); a.Label != "Apply 2 output changes" {
		t.Errorf("%+v", a)
	}
	if a := (RunModel{Confirm: can()}).confirmAction(); a.Act.Shown() {
		t.Error("a run without a plan can be confirmed")
	}
}

func TestHookHCLIsNoTemplate(t *testing.T) {
	m := IntegrationModel{Endpoint: `https://x/${file("/etc/passwd")}"`, Projects: []HookRow{{Path: "a/%{if true}b"}}}
	got := hookHCL(m)
	for _, want := range []string{`"a/%%{if true}b"`, `"https://x/$${file(\"/etc/passwd\")}\""`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}

func TestInitials(t *testing.T) {
	for name, want := range map[string]string{"anna.lind": "AL", "admin": "A", "": "", "Åsa Östberg Lund": "ÅÖ"} {
		if got := Initials(name); got != want {
			t.Errorf("Initials(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestVerdictParts: what was done stands first, and the stacks that were not concerned are folded when there are several.
func TestVerdictParts(t *testing.T) {
	for _, c := range []struct {
		text, did string
		ignored   int
	}{
		{"started 1 run", "started 1 run", 0},
		{"ignored: nothing under infra/", "ignored: nothing under infra/", 0},
		{"started 1 run; ignored for a: nothing under a/", "started 1 run; ignored for a: nothing under a/", 0},
		{"started 1 run; ignored for a: nothing under a/; ignored for b: locked", "started 1 run", 2},
		{"ignored for a: x; b: run 01 has this commit already; ignored for c: y", "b: run 01 has this commit already", 2},
		{"ignored for a: x; ignored for b: y", "", 2},
		{"", "", 0},
	} {
		if did, ignored := verdictParts(c.text); did != c.did || len(ignored) != c.ignored {
			t.Errorf("%q: %q and %q", c.text, did, ignored)
		}
	}
}

// TestStacksSayWhatTheyWaitFor: a stack whose run waits for approvals says so in the list and at its head, as the run does.
func TestStacksSayWhatTheyWaitFor(t *testing.T) {
	r := unconfirmedRun()
	r.Unapproved = true
	h := stackHeadFixture(TabRuns)
	h.Last = &r
	for name, text := range map[string]string{
		"list": mustRender(t, sample{"", stackTable(shell("", ""), []StackRow{{Stack: networkStack(), Last: &r}})}),
		"head": mustRender(t, sample{"", stackHead(shell("", ""), h)}),
	} {
		if !strings.Contains(text, "waits for approval") || strings.Contains(text, "waits for confirmation") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
