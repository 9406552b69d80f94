package bottle

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/store"
)

// committed looks at every run that a commit changed: what must hold at each moment.
func (l *life) committed(c store.Change) {
	w := l.w
	if len(c.Runs) > 0 {
		err := l.st.View(func(tx *store.Tx) error {
			slices.Sort(c.Runs)
			for _, id := range c.Runs {
				r, err := tx.Run(id)
				if err != nil {
					return err
				}
				w.saw(l, tx, r)
			}
			return w.oneBlocks(tx)
		})
		if err != nil {
			w.breakf("a run cannot be read: %v", err)
		}
	}
	_ = l.step() // it may die between a commit and what it does next
}

// saw checks a run against what was seen of it before: what has ended stays as it is.
func (w *world) saw(l *life, tx *store.Tx, r runs.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[r.ID] == "" {
		n := 1
		for _, other := range w.names {
			if strings.HasPrefix(other, r.Stack+"#") {
				n++
			}
		}
		w.names[r.ID] = fmt.Sprintf("%s#%d", r.Stack, n)
	}
	if len(r.Transitions) < w.moves[r.ID] {
		return // read before a commit that was looked at first
	}
	for i := w.moves[r.ID]; i < len(r.Transitions); i++ {
		t := r.Transitions[i]
		w.movedGuarded(l, tx, r, i)
		if t.State == runs.Confirmed && strings.HasPrefix(t.By, "@") {
			w.commanded(r, t)
		}
	}
	w.moves[r.ID] = len(r.Transitions)
	last := r.Transitions[len(r.Transitions)-1]
	w.tracef("run", "%s %s of %s: %s %s", w.names[r.ID], r.Type, r.Commit.Short(), r.State, r.StopAsked)
	if was, ended := w.ended[r.ID]; ended && was != r.State {
		w.broken = append(w.broken, fmt.Sprintf("%s was %s and is %s", w.names[r.ID], was, r.State))
	}
	if r.State.Terminal() {
		w.ended[r.ID] = r.State
	}
	if last.State == runs.Applying && strings.HasPrefix(last.Note, "autodeploy") {
		w.yes[r.ID] = true
	}
}

// oneBlocks checks that of each stack one run at most is between its begin and its end, of those that may change the world.
func (w *world) oneBlocks(tx *store.Tx) error {
	list, err := tx.Active("")
	begun := map[string]string{}
	for _, r := range list {
		if !r.Type.Blocking() || r.State == runs.Queued {
			continue
		}
		if other := begun[r.Stack]; other != "" {
			w.breakf("%s is %s while %s has not ended", w.name(r.ID), r.State, w.name(other))
		}
		begun[r.Stack] = r.ID
	}
	return err
}

// A deed is a person's act and how it was answered.
type deed struct {
	action, target, by string
	at                 time.Time
}

// did remembers an act that was answered with success: the audit log has to know it.
func (w *world) did(status int, action, target string) { w.didBy(person, status, action, target) }

// didBy is did of somebody else, as the log calls them.
func (w *world) didBy(by string, status int, action, target string) {
	if status/100 != 2 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deeds = append(w.deeds, deed{action, target, by, time.Now()})
}

// judge checks what must hold when everything is mended and quiet.
func (w *world) judge() {
	l := w.alive()
	if l == nil {
		w.breakf("no server runs at the end")
		return
	}
	err := l.st.View(func(tx *store.Tx) error {
		checks := []func(*store.Tx) error{w.deliveries, w.heads, w.mergeRequests, w.deployments, w.comments, w.environments, w.versions, w.audited, w.forks, w.paths, w.threads, w.passes, w.answers, w.asks}
		if w.modes.aggregate {
			checks = append(checks, w.sums)
		} else {
			checks = append(checks, w.statuses)
		}
		for _, check := range checks {
			if err := check(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.breakf("the store cannot be read: %v", err)
	}
	w.refusals()
	if w.isBroken() {
		w.explain(l)
	}
}

// explain adds to the trace what deliveries led to, and what the reports say.
func (w *world) explain(l *life) {
	_ = l.st.View(func(tx *store.Tx) error { // as far as it can be read
		list, _, err := tx.Deliveries("", "", 1000)
		for _, d := range slices.Backward(list) {
			w.trace("delivery", "%s %s %s: %s %s", d.ReceivedAt.Sub(w.began).Round(time.Millisecond), d.Event, d.Project, d.State, w.plain(d.Verdict))
		}
		return err
	})
}

// deliveries: whatever was answered with 2xx is there and has a verdict.
func (w *world) deliveries(tx *store.Tx) error {
	w.mu.Lock()
	accepted := w.accepted
	w.mu.Unlock()
	for id := range accepted {
		d, err := tx.Delivery(id)
		if err != nil {
			w.breakf("a delivery that was answered is lost: %v", err)
			continue
		}
		if d.State == store.DeliveryWaiting || d.Verdict == "" {
			w.breakf("the delivery %s of %s has no verdict", d.Event, d.ReceivedAt.Sub(w.began))
		}
		if d.State == store.DeliveryFailed && strings.HasPrefix(d.Verdict, "not understood") {
			w.breakf("the delivery %s of %s: %s", d.Event, d.ReceivedAt.Sub(w.began), w.plain(d.Verdict))
		}
	}
	return nil
}

// all lists every run of the store, oldest first.
func all(tx *store.Tx) (list []runs.Run, err error) {
	cursor := ""
	for {
		page, next, err := tx.Runs(store.RunFilter{}, cursor, 200)
		list = append(list, page...)
		if err != nil || next == "" {
			slices.Reverse(list)
			return list, err
		}
		cursor = next
	}
}

// heads: the newest push to a tracked branch that concerns a stack, or a later one, has a run that ended.
func (w *world) heads(tx *store.Tx) error {
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	list, err := all(tx)
	if err != nil {
		return err
	}
	for _, st := range stacks {
		if st.ReleaseTags != "" {
			continue // it tracks tags
		}
		p := w.projectOf(st.Project)
		last := -1
		for i, c := range p.pushes {
			if c.branch == st.Branch && slices.Contains(c.roots, st.ProjectRoot) && c.at.After(st.CreatedAt) {
				last = i
			}
		}
		if last < 0 {
			continue
		}
		later := map[string]bool{}
		for _, c := range p.pushes[last:] {
			later[c.sha] = later[c.sha] || c.branch == st.Branch
		}
		ok := slices.ContainsFunc(list, func(r runs.Run) bool {
			return r.Stack == st.Slug && r.Type == runs.Tracked && later[r.Commit.SHA] && r.State.Terminal() && !r.CreatedAt.Before(st.CreatedAt)
		})
		if !ok {
			w.breakf("the push of %s at %s to %s has no tracked run of %s", p.pushes[last].sha[:8], p.pushes[last].at.Sub(w.began), st.Branch, st.Slug)
		}
	}
	return nil
}

// mergeRequests: the head of each open merge request that concerns a stack has a proposed run that ended, and not by our
// own hand.
func (w *world) mergeRequests(tx *store.Tx) error {
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	list, err := all(tx)
	if err != nil {
		return err
	}
	for _, st := range stacks {
		p := w.projectOf(st.Project)
		for _, m := range p.mrs {
			mr, err := w.sim.MergeRequest(p.ID, m.iid)
			if err != nil || mr.State != "opened" || m.fork || !m.at.After(st.CreatedAt) || !slices.Contains(w.changes(p, m.iid, "", ""), st.ProjectRoot) {
				continue
			}
			ok := slices.ContainsFunc(list, func(r runs.Run) bool {
				return r.Stack == st.Slug && r.Type == runs.Proposed && r.Commit.SHA == mr.SHA && r.State.Terminal() && r.State != runs.Canceled
			})
			if !ok {
				w.breakf("the head %s of !%d of %s has no proposed run of %s", mr.SHA[:8], m.iid, p.Path, st.Slug)
			}
		}
	}
	return nil
}

// changes asks GitLab which of the folders a merge request changes, or (iid 0) what lies between two commits.
func (w *world) changes(p *project, iid int64, from, to string) (roots []string) {
	path := fmt.Sprintf("/api/v4/projects/%d/repository/compare?straight=true&from=%s&to=%s", p.ID, from, to)
	if iid != 0 {
		path = fmt.Sprintf("/api/v4/projects/%d/merge_requests/%d/changes", p.ID, iid)
	}
	r := httptest.NewRequest("GET", path, http.NoBody)
	r.Header.Set("Authorization", "Bearer "+w.hers)
	type diff struct {
		NewPath string `json:"new_path"`
	}
	var out struct{ Diffs, Changes []diff }
	if a := <-serve(w.sim, r); a.err == nil {
		_ = json.NewDecoder(a.resp.Body).Decode(&out) // GitLab may be in trouble: then nothing is expected of the change
	}
	for _, root := range p.roots {
		if slices.ContainsFunc(append(out.Diffs, out.Changes...), func(d diff) bool { return strings.HasPrefix(d.NewPath, root+"/") }) {
			roots = append(roots, root)
		}
	}
	return roots
}

// requests adds to the trace what GitLab was asked at one of the addresses.
func (w *world) requests(paths ...string) {
	for _, q := range w.sim.Requests() {
		if slices.ContainsFunc(paths, func(p string) bool { return strings.HasSuffix(q.Path, p) }) {
			w.trace("asked", "%s %s %d %v %s", q.At.Sub(w.began), q.Method, q.Status, q.Faulted, w.plain(q.Body))
		}
	}
}

// newest are the runs that GitLab's statuses have to show: of each stack and commit the newest.
func newest(tx *store.Tx) (map[[2]string]runs.Run, error) {
	list, err := all(tx)
	out := map[[2]string]runs.Run{}
	for _, r := range list {
		out[[2]string{r.Stack, r.Commit.SHA}] = r
	}
	return out, err
}

// statuses: GitLab shows how each commit's newest run ended, nothing hangs, and nothing was said twice.
func (w *world) statuses(tx *store.Tx) error {
	ends, err := newest(tx)
	for key, r := range ends {
		name := "groundcrew/" + key[0]
		state, text := runs.CommitStatus(r)
		shown := false
		says := map[int64][]string{}
		for _, s := range w.sim.Statuses(r.Project, key[1]) {
			if s.Name != name {
				continue
			}
			shown = shown || !s.Retried && s.State == string(state) && s.Description == text && strings.HasSuffix(s.TargetURL, r.ID)
			if !s.Retried && (s.State == "pending" || s.State == "running") {
				w.breakf("the status of %s hangs: %s “%s”", w.name(r.ID), s.State, s.Description)
			}
			for _, h := range s.History {
				says[s.Pipeline] = append(says[s.Pipeline], h.State+" “"+h.Description+"” "+h.TargetURL)
			}
		}
		if !shown {
			w.breakf("GitLab does not show that %s is %s “%s”: %s", w.name(r.ID), state, text, w.plain(fmt.Sprint(says)))
		}
		for _, list := range says {
			for i := 1; i < len(list); i++ {
				if list[i] == list[i-1] {
					w.breakf("the status of %s was written twice: %s", w.name(r.ID), w.plain(list[i]))
					w.requests("/statuses/"+key[1], "/commits/"+key[1]+"/statuses")
				}
			}
		}
	}
	return err
}

// deployments: each tracked run that would change something is one deployment, and it ended as the run did.
func (w *world) deployments(tx *store.Tx) error {
	list, err := all(tx)
	want := map[string][]string{}
	for _, r := range list {
		if state, ok := runs.Deployment(r); ok {
			key := fmt.Sprint(r.Project, " groundcrew/", r.Stack, " ", r.Commit.Short())
			want[key] = append(want[key], string(state))
		}
	}
	have := map[string][]string{}
	for _, p := range w.projects {
		for _, d := range w.sim.Deployments(p.ID) {
			key := fmt.Sprint(p.ID, " ", d.Environment, " ", d.SHA[:8])
			have[key] = append(have[key], d.Status)
			if _, ok := want[key]; !ok {
				want[key] = nil
			}
		}
	}
	for key := range want {
		slices.Sort(want[key])
		slices.Sort(have[key])
		if !slices.Equal(want[key], have[key]) {
			w.breakf("deployments of %s are %v, want %v", key, have[key], want[key])
		}
	}
	return err
}

// comments: each merge request with something to say has one comment of each stack, which speaks of the newest run.
func (w *world) comments(tx *store.Tx) error {
	list, err := all(tx)
	speaks := map[string]runs.Run{}
	for _, r := range list {
		if !runs.Comments(r) {
			continue
		}
		speaks[fmt.Sprint(r.Project, "!", r.MR.IID, " ", r.Stack)] = r
		for _, also := range r.Also {
			speaks[fmt.Sprint(r.Project, "!", also.IID, " ", r.Stack)] = r
		}
	}
	have := map[string][]sim.Note{}
	for _, p := range w.projects {
		for _, m := range p.mrs {
			for _, n := range w.sim.Notes(p.ID, m.iid) {
				if _, reply := isReply(n); n.System || n.Author != w.bot.Username || threadStack(n) != "" || reply {
					continue
				}
				slug := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(n.Body, "\n", 2)[0], "<!-- groundcrew:"), " -->")
				key := fmt.Sprint(p.ID, "!", m.iid, " ", slug)
				have[key] = append(have[key], n)
			}
		}
	}
	for key, notes := range have {
		if len(notes) > 1 {
			w.breakf("there are %d comments on %s", len(notes), key)
		}
		if _, ok := speaks[key]; !ok {
			w.breakf("a comment on %s that no run asks for", key)
		}
	}
	for key, r := range speaks {
		notes := have[key]
		switch {
		case len(notes) == 0 && !w.wasDeleted(key, r.EndedAt):
			w.breakf("no comment on %s speaks of %s", key, w.name(r.ID))
		case len(notes) == 1 && !strings.Contains(notes[0].Body, r.ID):
			w.breakf("the comment on %s does not speak of %s", key, w.name(r.ID))
		}
	}
	return err
}

// wasDeleted reports whether a person took a comment away after its run had ended: then nothing brings it back.
func (w *world) wasDeleted(key string, after time.Time) bool {
	for _, p := range w.projects {
		for _, d := range p.deletedNotes {
			if d.key == key && d.at.After(after) {
				return true
			}
		}
	}
	return false
}

// environments: each stack has one. One that was stopped with an earlier stack of the name is there again with the first
// deployment; nothing else brings it back (CONTRACT §8).
func (w *world) environments(tx *store.Tx) error {
	stacks, err := tx.Stacks()
	for _, st := range stacks {
		name := "groundcrew/" + st.Slug
		deployed := slices.ContainsFunc(w.sim.Deployments(st.Project), func(d sim.Deployment) bool {
			return d.Environment == name && d.CreatedAt.After(st.CreatedAt)
		})
		if !slices.ContainsFunc(w.sim.Environments(st.Project), func(e sim.Environment) bool {
			return e.Name == name && (e.State == "available" || !deployed)
		}) {
			w.breakf("the stack %s has no environment: %v", st.Slug, w.sim.Environments(st.Project))
		}
	}
	return err
}

// versions: what runs left behind is the state, version by version.
func (w *world) versions(tx *store.Tx) error {
	stacks, err := tx.Stacks()
	if err != nil {
		return err
	}
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	for _, st := range stacks {
		list, _, err := tx.StateVersions(st.Slug, "", 1000)
		if err != nil {
			return err
		}
		kept := map[string]int{}
		for _, v := range list {
			kept[v.Run]++
			if left := w.machine.left[v.Run]; len(left) == 0 || !strings.HasSuffix(left[len(left)-1], fmt.Sprint("@", v.Serial)) {
				w.breakf("version %d of %s is not what %s left: %v", v.Version, st.Slug, w.name(v.Run), left)
			}
		}
		page, _, err := tx.Runs(store.RunFilter{Stack: st.Slug}, "", 1000)
		if err != nil {
			return err
		}
		for _, r := range page {
			if r.CreatedAt.Before(st.CreatedAt) {
				continue
			}
			if left := len(w.machine.left[r.ID]) > 0; left != (kept[r.ID] == 1) || kept[r.ID] > 1 {
				w.breakf("%s left a state: %v; versions of it: %d", w.name(r.ID), left, kept[r.ID])
			}
		}
	}
	return nil
}

// audited: the log knows every act of a person.
func (w *world) audited(tx *store.Tx) error {
	var log []store.AuditEntry
	cursor := ""
	for {
		page, next, err := tx.AuditLog(cursor, 500)
		log = append(log, page...)
		if err != nil {
			return err
		}
		if cursor = next; next == "" {
			break
		}
	}
	w.mu.Lock()
	deeds := w.deeds
	w.mu.Unlock()
	for _, d := range deeds {
		i := slices.IndexFunc(log, func(e store.AuditEntry) bool {
			return e.By == d.by && slices.Contains(strings.Split(d.action, "|"), e.Action) && (d.target == "" || e.Target == d.target)
		})
		if i < 0 {
			w.breakf("the audit log does not know %s of %s at %s", d.action, w.plain(d.target), d.at.Sub(w.began))
			continue
		}
		log = slices.Delete(log, i, i+1)
	}
	return nil
}

// refusals: GitLab had to refuse no write for what was wrong with it.
func (w *world) refusals() {
	for _, q := range w.sim.Refused() {
		if q.Token == "groundcrew" && q.Method != http.MethodGet && q.Status != http.StatusUnauthorized && q.Status != http.StatusNotFound && q.Status != http.StatusForbidden {
			w.breakf("GitLab refused %s", w.plain(q.String()))
		}
	}
}
