package web

import (
	"context"
	"slices"
	"sync"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/web/view"
)

// GitLab answers what somebody may do in one project at a time: it has no list of another person's projects for a token like
// ours. So a list, which is about all projects, asks for many at once in the background, shows what is known after
// pageWaits, and says what is not. Who goes on reading never waits again: answers are asked for anew before they are too old.
// An answer that is too old opens nothing, but tells what to ask first: most people may read few of many projects, so those
// they could read are known anew after a moment, and for those they could not read no page waits.
const (
	pageWaits = 600 * time.Millisecond // a page, for GitLab's answers about lists
	askers    = 12                     // requests to GitLab at once, for all people together
	pastAge   = time.Hour              // an answer this old is forgotten; before, it says what to ask first
)

// asked remembers GitLab's answers for a short while, and asks for more of them.
type asked struct {
	mu      sync.Mutex
	known   map[askedKey]askedAnswer
	lines   []*askedLine        // one for each person: they take turns, so that nobody waits for another's thousand projects
	pending map[askedKey]bool   // in a line, or being asked for
	failed  map[int64]time.Time // when GitLab last could not say it of a person
	workers int
	changed chan struct{} // closed and made anew when an answer is there
	busy    sync.WaitGroup
}

// An askedKey is a question: may this user use GitLab (project 0), or what is the user's level in the project.
type askedKey struct{ user, project int64 }

type askedAnswer struct {
	level int
	at    time.Time
}

// An askedLine is what is still to be asked about a person.
type askedLine struct {
	user     int64
	projects []int64
}

// mostAsked bounds what is remembered of GitLab's answers; it is forgotten at once and asked again.
const mostAsked = 200000

// get returns an answer that is younger than atMost.
func (a *asked) get(k askedKey, atMost time.Duration) (int, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.known[k]
	return v.level, ok && time.Since(v.at) < atMost
}

func (a *asked) put(k askedKey, level int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) > mostAsked {
		a.known = map[askedKey]askedAnswer{}
	}
	a.known[k] = askedAnswer{level, time.Now()}
}

// A survey is what is known of a person's levels in many projects.
type survey struct {
	levels  map[int64]int
	unknown int           // GitLab was not asked yet
	old     int           // of these, GitLab said no within pastAge
	failed  bool          // GitLab could not say it since the survey began
	changed chan struct{} // closed when there is more to know
}

// survey looks up what is known, by answers younger than atMost, and lines up what is to be asked: what is not known before what
// is older than half of that.
func (a *asked) survey(user int64, projects []int64, since time.Time, atMost time.Duration) survey {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending == nil {
		a.pending, a.failed, a.changed = map[askedKey]bool{}, map[int64]time.Time{}, make(chan struct{})
	}
	out := survey{levels: make(map[int64]int, len(projects)), failed: a.failed[user].After(since), changed: a.changed}
	var first, missing, last, old []int64
	now := time.Now()
	for _, p := range projects {
		k := askedKey{user, p}
		v, ok := a.known[k]
		age := now.Sub(v.at)
		switch {
		case ok && age < atMost:
			out.levels[p] = v.level
			if age > atMost/2 && !a.pending[k] {
				old = append(old, p)
			}
		default:
			out.unknown++
			past := ok && age < pastAge
			if past && v.level < levelReporter {
				out.old++
			}
			switch {
			case a.pending[k]:
			case past && v.level >= levelReporter:
				first = append(first, p)
			case past:
				last = append(last, p)
			default:
				missing = append(missing, p)
			}
		}
	}
	if !out.failed {
		a.lineUp(user, slices.Concat(first, missing), slices.Concat(last, old))
	}
	return out
}

func (a *asked) lineUp(user int64, missing, old []int64) {
	for _, p := range slices.Concat(missing, old) {
		a.pending[askedKey{user, p}] = true
	}
	i := slices.IndexFunc(a.lines, func(l *askedLine) bool { return l.user == user })
	if i < 0 && len(missing)+len(old) > 0 {
		a.lines, i = append(a.lines, &askedLine{user: user}), len(a.lines)
	}
	if i >= 0 {
		a.lines[i].projects = slices.Concat(missing, a.lines[i].projects, old)
	}
}

// next takes the next question; the lines take turns. Without one, the worker that asks for it is gone.
func (a *asked) next() (askedKey, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lines) == 0 {
		a.workers--
		return askedKey{}, false
	}
	l := a.lines[0]
	k := askedKey{l.user, l.projects[0]}
	a.lines = a.lines[1:]
	if l.projects = l.projects[1:]; len(l.projects) > 0 {
		a.lines = append(a.lines, l)
	}
	return k, true
}

// answered notes that a question is over. When GitLab could not say it, the rest of the person's line is not asked: that would
// be the same, and slow.
func (a *asked) answered(k askedKey, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, k)
	if err != nil {
		a.failed[k.user] = time.Now()
		a.lines = slices.DeleteFunc(a.lines, func(l *askedLine) bool {
			if l.user != k.user {
				return false
			}
			for _, p := range l.projects {
				delete(a.pending, askedKey{l.user, p})
			}
			return true
		})
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// goAsk starts as many workers as there is work for.
func (s *Server) goAsk() {
	a := &s.asked
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-s.done:
		return
	default:
	}
	waiting := 0
	for _, l := range a.lines {
		waiting += len(l.projects)
	}
	for ; waiting > 0 && a.workers < askers; waiting-- {
		a.workers++
		a.busy.Go(s.askOn)
	}
}

func (s *Server) askOn() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		k, ok := s.asked.next()
		if !ok {
			return
		}
		_, err := s.ask(ctx, k, true)
		s.asked.answered(k, err)
	}
}

// ask answers a question from memory, or (fresh) from GitLab itself.
func (s *Server) ask(ctx context.Context, k askedKey, fresh bool) (int, error) {
	if level, ok := s.asked.get(k, askedAge); ok && !fresh {
		return level, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	level := 0
	var err error
	if k.project == 0 {
		var active bool
		if active, err = s.eng.UserActive(ctx, k.user); active {
			level = 1
		}
	} else {
		level, err = s.eng.MemberLevel(ctx, k.project, k.user)
		if gitlab.KindOf(err) == gitlab.KindNotFound { // gone, or the token's user may not see it: nobody's member here
			level, err = 0, nil
		}
	}
	if err != nil {
		s.log.Warn("GitLab could not say what somebody may do", "gitlab_user", k.user, "project", k.project, "error", err)
		return 0, errNotAsked
	}
	s.asked.put(k, level)
	return level, nil
}

var errNotAsked = runs.Forbiddenf("GitLab cannot be asked right now what you may do, so nothing was done. Try again in a moment; an admin with a password can act meanwhile.")

// levels are somebody's levels in projects, as far as they are known within a page's time. For a program nothing is left out: it
// waits longer, and gets an error in the end.
func (s *Server) levels(c *request, projects []int64) (map[int64]int, error) {
	begin := time.Now()
	r, _ := c.Get(routeKey).(route)
	whole := r.doc != nil
	if c.waitUntil.IsZero() {
		c.waitUntil = begin.Add(pageWaits)
		if whole {
			c.waitUntil = begin.Add(askWithin)
		}
	}
	late := time.NewTimer(time.Until(c.waitUntil))
	defer late.Stop()
	before := c.unknown // by another list of the same page
	for {
		found := s.asked.survey(c.who.GitLab, projects, begin, c.askedAge())
		s.goAsk()
		unknown := found.unknown - found.old
		c.unknown = max(before, unknown)
		if found.unknown == 0 || unknown == 0 && !whole {
			return found.levels, nil
		}
		if found.failed {
			return found.levels, errNotAsked
		}
		select {
		case <-found.changed:
		case <-late.C:
			if whole {
				return found.levels, runs.Forbiddenf("GitLab still says what you may see: %s of %d are not asked yet. Try again in a moment.", view.Count(found.unknown, "project", "projects"), len(projects))
			}
			return found.levels, nil
		case <-c.Request().Context().Done():
			return found.levels, c.Request().Context().Err()
		}
	}
}

// askAhead begins to ask what somebody may see who has just come in from GitLab.
func (s *Server) askAhead(user int64) {
	projects, err := s.allProjects()
	if err != nil {
		s.log.Error("the projects could not be listed", "error", err)
		return
	}
	s.asked.survey(user, projects, time.Now(), askedAge)
	s.goAsk()
}

// askingBanner says that a page does not show everything yet.
func askingBanner(unknown int) view.Banner {
	return view.Banner{
		Kind: view.KindInfo, LinkText: "Load again", LinkURL: "",
		Text: "GitLab still says what you may see: " + view.Count(unknown, "project is", "projects are") + " not asked yet, so lists may be short.",
	}
}
