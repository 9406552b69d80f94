package bottle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// A project is what the driver knows of a project in GitLab.
type project struct {
	sim.Project
	roots        []string // folders that stacks may be made of
	pushes       []pushed
	branches     []string // without the tracked one
	mrs          []*mergeRequest
	fork         int64
	deletedNotes []deletedNote
	tags, moves  int
}

type pushed struct {
	branch, sha string
	roots       []string
	at          time.Time
}

type mergeRequest struct {
	iid    int64
	branch string
	fork   bool
	at     time.Time // of its last event with code

	releasedAt  time.Time // zero: it never was
	releasedSHA string
}

type deletedNote struct {
	key string
	at  time.Time
}

func (w *world) projectOf(id int64) *project {
	i := slices.IndexFunc(w.projects, func(p *project) bool { return p.ID == id })
	return w.projects[i]
}

func (w *world) addProject(path string, roots ...string) {
	files := map[string]string{"README.md": "# " + path + "\n"}
	for _, r := range roots {
		files[r+"/value"] = "first"
		files[r+"/mode"] = "plan=1s apply=2s"
	}
	p, err := w.sim.AddProject(path, "main", files)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sim.AddMember(p.ID, w.ada.ID, sim.Maintainer)
	w.sim.AddMember(p.ID, w.bot.ID, sim.Maintainer)
	w.projects = append(w.projects, &project{Project: p, roots: roots})
}

// An act is something that happens, with how often it does.
type act struct {
	weight int
	name   string
	do     func(w *world)
}

// acts are all that can happen.
func acts() []act {
	return []act{
		{26, "push", (*world).push},
		{20, "branch", (*world).pushBranch},
		{4, "many", (*world).pushMany},
		{12, "open", (*world).openMR},
		{8, "close", (*world).moveMR},
		{3, "fork", (*world).pushFork},
		{3, "tag", (*world).tag},
		{2, "delete branch", (*world).deleteBranch},
		{3, "delete comment", (*world).deleteComment},
		{30, "confirm", (*world).confirm},
		{5, "discard", (*world).discard},
		{6, "stop", (*world).stopRun},
		{6, "retry", (*world).retry},
		{4, "promote", (*world).promote},
		{4, "prioritize", (*world).prioritize},
		{5, "lock", (*world).lock},
		{6, "trigger", (*world).trigger},
		{3, "task", (*world).task},
		{2, "replay", (*world).replay},
		{3, "stack", (*world).changeStack},
		{2, "autodeploy", (*world).autodeploy},
		{2, "workers", (*world).workers},
		{2, "forge", (*world).forge},
		{5, "weather", (*world).turnWeather},
		{14, "outage", (*world).outage},
		{3, "token", (*world).loseToken},
		{2, "member", (*world).loseMember},
		{2, "hook", (*world).loseHook},
		{2, "secret", (*world).rotateSecret},
		{14, "crash", (*world).crash},
		{4, "restart", func(w *world) { w.restart(w.upTo(3 * time.Minute)) }},
	}
}

// live lets things happen until enough did.
func (w *world) live(events int) {
	list, sum := acts(), 0
	if w.other() {
		list = append(list, moreActs()...)
	}
	if w.talking() {
		list = append(list, talkingActs()...)
	}
	if w.guarded() {
		list = append(list, guardedActs()...)
	}
	for _, a := range list {
		sum += a.weight
	}
	for range events {
		if w.isBroken() {
			return
		}
		n := w.rng.IntN(sum)
		i := 0
		for ; n >= list[i].weight; i++ {
			n -= list[i].weight
		}
		w.drawn = append(w.drawn, list[i].name)
		list[i].do(w)
		w.remembered()
		switch d := w.rng.IntN(10); {
		case d < 3:
		case d < 6:
			w.sleep(w.upTo(3 * time.Second))
		case d < 9:
			w.sleep(w.upTo(time.Minute))
		default:
			w.sleep(w.upTo(12 * time.Minute))
		}
	}
}

// upTo is a time by chance.
func (w *world) upTo(most time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(most)/int64(time.Millisecond))) * time.Millisecond
}

func one[T any](w *world, list []T) (v T, ok bool) {
	n := w.rng.IntN(1 << 20) // drawn in any case, so that the rest of the day stays the same
	if len(list) == 0 {
		return v, false
	}
	return list[n%len(list)], true
}

func (w *world) chance(inHundred int) bool { return w.rng.IntN(100) < inHundred }

func (w *world) anyProject() *project { p, _ := one(w, w.projects); return p }

// change is what somebody commits: to one folder, to all, or to none that concerns anybody.
func (w *world) change(p *project) (files map[string]string, roots []string) {
	switch d := w.rng.IntN(10); {
	case d == 0:
		return map[string]string{"README.md": fmt.Sprint(w.rng.Uint32())}, nil
	case d == 1:
		roots = p.roots
	default:
		r, _ := one(w, p.roots)
		roots = []string{r}
	}
	files = map[string]string{}
	for _, r := range roots {
		if w.chance(85) {
			files[r+"/value"] = fmt.Sprint(w.rng.Uint32())
		}
		files[r+"/mode"] = w.code() + fmt.Sprint(" # ", w.rng.Uint32())
	}
	return files, roots
}

// code is how the commit's code behaves.
func (w *world) code() string {
	s := fmt.Sprintf("plan=%s apply=%s", w.upTo(20*time.Second)+time.Millisecond, w.upTo(40*time.Second)+time.Millisecond)
	if w.chance(20) {
		s = "plan=1ms apply=1ms"
	}
	if w.chance(5) {
		s = fmt.Sprintf("plan=%s apply=%s", w.upTo(10*time.Minute)+time.Second, w.upTo(10*time.Minute)+time.Second)
	}
	names := []string{"init", "plan", "apply", "destroy", "task"}
	if w.chance(10) {
		n, _ := one(w, names)
		s += " fail=" + n
	}
	if w.chance(4) {
		n, _ := one(w, names)
		s += " hang=" + n
	}
	if w.chance(50) {
		s += " keep=yes"
	}
	if w.other() && w.chance(40) {
		s += " replace=yes"
	}
	return s
}

func (w *world) push() { w.pushTo(w.anyProject(), "main") }

func (w *world) pushTo(p *project, branch string) {
	files, roots := w.change(p)
	sha, err := w.sim.Push(p.ID, branch, "Change "+branch, files)
	if err != nil {
		w.breakf("push: %v", err)
		return
	}
	p.pushes = append(p.pushes, pushed{branch, sha, roots, time.Now()})
	w.touch(p, branch)
	w.trace("git", "pushes %s to %s of %s: %v", sha[:8], branch, p.Path, roots)
}

// touch notes that the merge requests of a branch have new code.
func (w *world) touch(p *project, branch string) {
	for _, m := range p.mrs {
		if m.branch == branch {
			m.at = time.Now()
		}
	}
}

func (w *world) pushBranch() {
	p := w.anyProject()
	if b, ok := one(w, p.branches); ok && w.chance(60) {
		w.pushTo(p, b)
		return
	}
	w.pushTo(p, w.newBranch(p))
}

func (w *world) newBranch(p *project) string {
	b := fmt.Sprintf("work-%d", len(p.pushes))
	p.branches = append(p.branches, b)
	return b
}

// pushMany pushes more branches at once than GitLab tells of.
func (w *world) pushMany() {
	p := w.anyProject()
	files, roots := w.change(p)
	branches := []string{"main"}
	branches = append(branches, p.branches[:min(2, len(p.branches))]...)
	for len(branches) < 4 {
		branches = append(branches, w.newBranch(p))
		p.pushes = append(p.pushes, pushed{branch: "-"})
	}
	if err := w.sim.PushMany(p.ID, branches, "Change all", files); err != nil {
		w.breakf("push: %v", err)
		return
	}
	for _, b := range branches {
		concerned := roots
		if b != "main" {
			concerned = nil // the same is in main already
		}
		p.pushes = append(p.pushes, pushed{b, w.sim.Head(p.ID, b), concerned, time.Now()})
		w.touch(p, b)
	}
	w.trace("git", "pushes %v of %s at once: %v", branches, p.Path, roots)
}

func (w *world) openMR() {
	p := w.anyProject()
	b, ok := one(w, p.branches)
	if !ok {
		return
	}
	target := "main"
	if other, ok := one(w, p.branches); ok && other != b && w.chance(15) {
		target = other // two merge requests of one commit
	}
	iid, err := w.sim.OpenMergeRequest(p.ID, b, target, "Merge "+b, w.ada.ID)
	if err != nil {
		return // there is one
	}
	m := &mergeRequest{iid: iid, branch: b, at: time.Now()}
	m.fork = target != "main" // such a one starts nothing by itself
	p.mrs = append(p.mrs, m)
	w.trace("git", "opens !%d of %s: %s into %s", iid, p.Path, b, target)
}

func (w *world) moveMR() {
	p := w.anyProject()
	m, ok := one(w, p.mrs)
	how := w.rng.IntN(3)
	if !ok {
		return
	}
	mr, err := w.sim.MergeRequest(p.ID, m.iid)
	if err != nil {
		w.breakf("merge request: %v", err)
		return
	}
	switch {
	case mr.State == "closed":
		err = w.sim.ReopenMergeRequest(p.ID, m.iid, w.ada.ID)
		m.at = time.Now()
		w.trace("git", "reopens !%d of %s: %v", m.iid, p.Path, err)
	case mr.State == "opened" && how == 0:
		err = w.sim.CloseMergeRequest(p.ID, m.iid, w.ada.ID)
		w.trace("git", "closes !%d of %s: %v", m.iid, p.Path, err)
	case mr.State == "opened":
		before := w.sim.Head(p.ID, mr.TargetBranch)
		sha, err := w.sim.MergeMergeRequest(p.ID, m.iid, w.ada.ID)
		if err != nil {
			return // it has conflicts
		}
		roots := w.changes(p, 0, before, sha)
		p.pushes = append(p.pushes, pushed{mr.TargetBranch, sha, roots, time.Now()})
		w.touch(p, mr.TargetBranch)
		w.trace("git", "merges !%d of %s as %s: %v", m.iid, p.Path, sha[:8], roots)
	}
}

func (w *world) pushFork() {
	p := w.projects[0]
	if p.fork == 0 {
		f, err := w.sim.AddFork(p.ID, "eve/network")
		if err != nil {
			w.breakf("fork: %v", err)
			return
		}
		p.fork = f.ID
	}
	b := fmt.Sprintf("theirs-%d", len(p.pushes))
	files, _ := w.change(p)
	sha, err := w.sim.Push(p.fork, b, "From outside", files)
	if err != nil {
		w.breakf("fork: %v", err)
		return
	}
	iid, err := w.sim.OpenForkMergeRequest(p.ID, p.fork, b, "main", "From outside", w.ada.ID)
	if err != nil {
		w.breakf("fork: %v", err)
		return
	}
	p.pushes = append(p.pushes, pushed{branch: "-"})
	p.mrs = append(p.mrs, &mergeRequest{iid: iid, branch: b, fork: true, at: time.Now()})
	w.trace("git", "opens !%d of %s from a fork: %s", iid, p.Path, sha[:8])
}

func (w *world) tag() {
	p := w.anyProject()
	p.tags++
	name := fmt.Sprintf("v1.%d", p.tags)
	err := w.sim.CreateTag(p.ID, name, "main", map[bool]string{true: "Release", false: ""}[w.chance(50)])
	w.trace("git", "tags %s of %s: %v", name, p.Path, err)
}

func (w *world) deleteBranch() {
	p := w.anyProject()
	b, ok := one(w, p.branches)
	if !ok || w.sim.Head(p.ID, b) == "" {
		return
	}
	if err := w.sim.DeleteBranch(p.ID, b); err != nil {
		w.breakf("delete a branch: %v", err)
		return
	}
	p.branches = slices.DeleteFunc(p.branches, func(x string) bool { return x == b })
	w.trace("git", "deletes %s of %s", b, p.Path)
}

func (w *world) deleteComment() {
	p := w.anyProject()
	m, ok := one(w, p.mrs)
	if !ok {
		return
	}
	for _, n := range w.sim.Notes(p.ID, m.iid) {
		if _, reply := isReply(n); n.System || n.Author != w.bot.Username || threadStack(n) != "" || reply {
			continue
		}
		if err := w.sim.DeleteNote(p.ID, m.iid, n.ID); err != nil {
			w.breakf("delete a comment: %v", err)
			return
		}
		slug := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(n.Body, "\n", 2)[0], "<!-- groundcrew:"), " -->")
		p.deletedNotes = append(p.deletedNotes, deletedNote{fmt.Sprint(p.ID, "!", m.iid, " ", slug), time.Now()})
		w.trace("git", "deletes the comment of %s on !%d of %s", slug, m.iid, p.Path)
		return
	}
}

// runsIn lists the runs that are in one of the states, oldest first.
func (w *world) runsIn(which func(runs.Run) bool) (list []runs.Run) {
	w.view(func(tx *store.Tx) error {
		every, err := all(tx)
		list = slices.DeleteFunc(every, func(r runs.Run) bool { return !which(r) })
		return err
	})
	return list
}

// person lets a person do something to one of the runs.
func (w *world) person(path, action string, which func(runs.Run) bool) (runs.Run, int) {
	r, ok := one(w, w.runsIn(which))
	if !ok {
		return r, 0
	}
	status, _ := w.api("POST", "/runs/"+r.ID+"/"+path, map[string]any{})
	w.did(status, action, r.ID)
	w.trace("person", "%s %s: %d", path, w.name(r.ID), status)
	return r, status
}

func in(states ...runs.State) func(runs.Run) bool {
	return func(r runs.Run) bool { return slices.Contains(states, r.State) }
}

func (w *world) confirm() {
	r, ok := one(w, w.runsIn(in(runs.Unconfirmed)))
	if !ok {
		return
	}
	w.say(r)
}

// say gives a yes; that it was given counts from when it was sent.
func (w *world) say(r runs.Run) {
	w.mayApply(r.ID)
	status, _ := w.api("POST", "/runs/"+r.ID+"/confirm", map[string]any{"fingerprint": r.Fingerprint})
	w.did(status, "run.confirmed|run.queued", r.ID)
	w.trace("person", "confirms %s: %d", w.name(r.ID), status)
}

func (w *world) discard() { w.person("discard", "run.discarded", in(runs.Unconfirmed, runs.Queued)) }

func (w *world) stopRun() {
	w.person("stop", "stop|run.stop|run.discarded", func(r runs.Run) bool { return !r.State.Terminal() && r.StopAsked == "" })
}

func (w *world) prioritize() {
	w.person("prioritize", "run.prioritize", func(r runs.Run) bool { return r.State == runs.Queued && r.PrioritizedBy == "" })
}
