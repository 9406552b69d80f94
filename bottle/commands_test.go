package bottle

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// Days of the third kind, with seeds from talkingKind on, are of the second kind, and people write commands in comments.
const talkingKind = 2_000_000

func (w *world) talking() bool { return w.seed >= talkingKind }

// talkingActs happen on days of the third kind only.
func talkingActs() []act {
	return []act{
		{60, "command", (*world).command},
		{20, "open", (*world).openMR},
		{20, "close", (*world).moveMR},
		{4, "chat", (*world).chat},
	}
}

// A said is a command that somebody wrote.
type said struct {
	project int64
	note    int64
	by      string // as the product calls the author
	verb    string
	at      time.Time
}

// counts is how long after it was written a yes may be given for a comment.
const counts = 15*time.Minute + time.Second

// letTalk lets people sign in with GitLab, and brings one who may only look.
func (w *world) letTalk() {
	if !w.talking() {
		return
	}
	w.rolf = w.sim.AddUser("rolf", "Rolf Ek", false)
	for _, p := range w.projects {
		w.sim.AddMember(p.ID, w.rolf.ID, sim.Reporter)
	}
	if err := w.alive().st.Update(func(tx *store.Tx) error { return tx.PutSignIn(store.SignIn{GitLab: true, ClientID: "bottle"}) }); err != nil {
		w.breakf("sign-in: %v", err)
	}
}

func (w *world) called(u sim.User) string { return fmt.Sprintf("@%s (GitLab %d)", u.Username, u.ID) }

// command lets somebody write one; every fifth is written by one who may not.
func (w *world) command() {
	p := w.anyProject()
	m, ok := one(w, p.mrs)
	verb, _ := one(w, []string{"plan", "apply", "apply", "apply", "discard", "unlock", "help", "frobnicate"})
	root, _ := one(w, p.roots)
	named, exact, anywhere, who := w.chance(70), w.chance(60), w.chance(20), w.ada
	if w.chance(20) {
		who = w.rolf
	}
	if to, waits := w.waiting(); waits != nil && verb == "apply" && !anywhere {
		p, m, root, ok = w.projectOf(waits.Project), to, waits.Stack, true
	}
	if !ok {
		return
	}
	text := "/groundcrew " + verb
	if named {
		text += " " + root
	}
	if exact {
		text += w.exactly(p, m, verb, root, who)
	}
	w.mu.Lock() // before it can be heard
	defer w.mu.Unlock()
	id, err := w.sim.AddNote(p.ID, m.iid, who.ID, "Please:\n"+text)
	if err != nil {
		w.broken = append(w.broken, fmt.Sprintf("comment: %v", err))
		return
	}
	w.commands = append(w.commands, said{p.ID, id, w.called(who), verb, time.Now()})
	w.tracef("git", "%s writes %s on !%d of %s", who.Username, text, m.iid, p.Path)
}

// waiting is a merged merge request of a project in which a plan waits for a yes, if there is one: a yes elsewhere comes to nothing.
func (w *world) waiting() (*mergeRequest, *runs.Run) {
	for _, r := range w.runsIn(in(runs.Unconfirmed)) {
		for _, m := range w.projectOf(r.Project).mrs {
			if mr, err := w.sim.MergeRequest(r.Project, m.iid); err == nil && mr.State == "merged" {
				return m, &r
			}
		}
	}
	return nil, nil
}

// exactly names the plan that waits, or releases the commit of a fork.
func (w *world) exactly(p *project, m *mergeRequest, verb, root string, who sim.User) string {
	switch verb {
	case "apply", "discard":
		for _, r := range w.runsIn(in(runs.Unconfirmed)) {
			if r.Stack == root {
				return " " + runs.PlanName(r)
			}
		}
	case "plan":
		mr, err := w.sim.MergeRequest(p.ID, m.iid)
		if err != nil {
			w.breakf("merge request: %v", err)
			return ""
		}
		if who.ID == w.ada.ID {
			w.mu.Lock()
			w.released[mr.SHA] = true
			w.mu.Unlock()
		}
		return " " + mr.SHA
	}
	return ""
}

// chat is a comment that asks for nothing.
func (w *world) chat() {
	p := w.anyProject()
	m, ok := one(w, p.mrs)
	text, _ := one(w, []string{"Looks good", "> /groundcrew apply", "```\n/groundcrew apply\n```", "I would say /groundcrew apply"})
	if !ok {
		return
	}
	if _, err := w.sim.AddNote(p.ID, m.iid, w.ada.ID, text); err != nil {
		w.breakf("comment: %v", err)
	}
}

// commanded checks a yes that a comment gave: its author asked for it, not long ago, and may. The caller holds mu.
func (w *world) commanded(r runs.Run, t runs.Transition) {
	if t.By != w.called(w.ada) {
		w.broken = append(w.broken, fmt.Sprintf("%s was confirmed by %s, who may not", w.names[r.ID], t.By))
	}
	for _, c := range w.commands {
		if c.verb == "apply" && c.project == r.Project && c.by == t.By && !t.At.Before(c.at) && t.At.Sub(c.at) <= counts {
			w.yes[r.ID] = true
			return
		}
	}
	w.broken = append(w.broken, fmt.Sprintf("%s was confirmed by %s, who did not say so in the last minutes", w.names[r.ID], t.By))
}

// isReply reports whether a comment is our answer to another, and to which.
func isReply(n sim.Note) (to int64, is bool) {
	m := replyMark.FindStringSubmatch(n.Body)
	if m == nil {
		return 0, false
	}
	to, err := strconv.ParseInt(m[1], 10, 64)
	return to, err == nil
}

var replyMark = regexp.MustCompile(`^<!-- groundcrew-reply/\d+/\d+/0*(\d+) -->\n`)

// answers: each command that was carried out or refused where its author is told so has one answer; nothing else has one.
func (w *world) answers(tx *store.Tx) error {
	count := map[int64]int{}
	for _, p := range w.projects {
		for _, m := range p.mrs {
			for _, n := range w.sim.Notes(p.ID, m.iid) {
				if to, is := isReply(n); is && n.Author == w.bot.Username {
					count[to]++
				}
			}
		}
	}
	written := map[int64]said{}
	for _, c := range w.commands {
		written[c.note] = c
	}
	for note, n := range count {
		if n > 1 {
			w.breakf("a command of %s at %s is answered %d times", written[note].by, written[note].at.Sub(w.began), n)
		}
		if written[note].note == 0 {
			w.breakf("a comment that is no command is answered")
		}
	}
	list, _, err := tx.Deliveries("", "", 5000)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Event != "Note Hook" || !strings.HasPrefix(d.Verdict, "command ") || strings.Contains(d.Verdict, ": refused: too many commands on this merge request") {
			continue
		}
		body, err := tx.DeliveryBody(d)
		if err != nil {
			return err
		}
		var note struct {
			Attributes struct{ ID int64 } `json:"object_attributes"`
		}
		if err := json.Unmarshal(body, &note); err != nil {
			return err
		}
		if count[note.Attributes.ID] == 0 {
			w.breakf("the command at %s has no answer: %s", d.ReceivedAt.Sub(w.began), w.plain(d.Verdict))
		}
	}
	return nil
}
