package web

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// Access levels in a project of GitLab (CONTRACT §0.9), and what they allow here: reading, proposing, and everything else
// a writer may.
const (
	levelReporter   = gitlab.Reporter
	levelDeveloper  = gitlab.Developer
	levelMaintainer = gitlab.Maintainer
)

// An access is what a person who signed in with GitLab may do with the stack that a request is about.
type access struct {
	level   int    // in the project, as GitLab said
	enough  int    // to do what a writer may here
	project string // path; "" when the request is about no single stack
}

// How long an answer of GitLab serves pages, and the lists of a page that somebody watches: an open page must not ask GitLab of
// every project each half minute. An act is asked for at its moment.
const (
	askedAge   = time.Minute
	watchedAge = 10 * time.Minute
)

// askWithin is how long GitLab may take to say what somebody may do.
const askWithin = 10 * time.Second

// restricted reports whether what the actor may do with a stack follows GitLab. Passwords and API keys have their role
// everywhere; an admin may do everything as long as GitLab lets them in.
func (a actor) restricted() bool { return a.GitLab != 0 && a.Role != store.Admin }

// measure is the one place where the rights of people from GitLab are asked: for the stack that the request is about, at
// this moment for an act, and at most as old as askedAge for a page. What they may not read is not there for them.
func (s *Server) measure(c echoContext, who actor, r route) (actor, error) {
	if who.GitLab == 0 || r.need == public || r.need == bearer || r.need == session {
		return who, nil
	}
	if err := s.sameGitLab(who); err != nil {
		return who, err
	}
	ctx, fresh := c.Request().Context(), r.method != http.MethodGet
	subject := subject{}
	var err error
	if who.restricted() {
		if subject, err = s.subjectOf(c, r); err != nil {
			return who, err
		}
	}
	if subject.project == 0 {
		active, err := s.ask(ctx, askedKey{user: who.GitLab}, fresh)
		if err != nil {
			return who, err
		}
		if active == 0 {
			return who, runs.Forbiddenf("GitLab says that your account there is not active, so you may not do anything here.")
		}
		if who.restricted() && r.need == writer {
			return who, runs.Forbiddenf("This is not about one project in GitLab, so only an admin can do it.")
		}
		return who, nil
	}
	level, err := s.ask(ctx, askedKey{who.GitLab, subject.project}, fresh)
	if err != nil {
		return who, err
	}
	if level < levelReporter {
		return who, subject.absent()
	}
	who.access = access{level: level, enough: levelMaintainer, project: subject.path}
	if subject.proposed {
		who.access.enough = levelDeveloper
	}
	need := who.access.enough
	if r.proposes {
		need = levelDeveloper // the handler looks at the type of the run
	} else if r.blocking {
		need = levelMaintainer
	}
	if r.need == writer && level < need {
		who.access.enough = need
		return who, runs.Forbiddenf("%s", who.access.whyNot("do this"))
	}
	return who, nil
}

// sameGitLab refuses a person of another GitLab than the one that is linked now: their number is somebody else's there.
func (s *Server) sameGitLab(who actor) error {
	return s.st.View(func(tx *store.Tx) error {
		in, _, err := tx.Integration()
		if err == nil && who.Issuer != strings.TrimRight(in.BrowserURL(), "/") && who.Issuer != strings.TrimRight(in.APIURL, "/") {
			err = runs.Forbiddenf("You signed in with another GitLab (%s) than the one this server works with now. Sign out and in again.", who.Issuer)
		}
		return err
	})
}

// echoContext is as much of a request as rights need.
type echoContext interface {
	Request() *http.Request
	Param(string) string
	FormValue(string) string
}

// A subject is what a request is about.
type subject struct {
	project  int64
	path     string // of the project
	proposed bool   // a run that changes nothing
	what, id string // for the answer that it is not there
}

// absent is the answer for what is not there, and for what somebody may not know to be there.
func (s subject) absent() error { return runs.NotFoundf("There is no %s %q.", s.what, s.id) }

// subjectOf finds the project that a request is about; none (0) for lists and settings.
func (s *Server) subjectOf(c echoContext, r route) (sub subject, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		switch {
		case strings.Contains(r.path, "/stacks/:slug"):
			sub.what, sub.id = "stack", c.Param("slug")
			return sub.ofStack(tx, sub.id)
		case strings.Contains(r.path, "/modules/:name"):
			sub.what, sub.id = "module", c.Param("name")
			m, err := tx.Module(sub.id)
			sub.project, sub.path = m.Project, m.ProjectPath
			return err
		case strings.Contains(r.path, "/runs/:id"):
			sub.what, sub.id = "run", c.Param("id")
			return sub.ofRun(tx)
		case strings.Contains(r.path, "/deliveries/:id"):
			sub.what, sub.id = "delivery", c.Param("id")
			d, err := tx.Delivery(sub.id)
			sub.project, sub.path = d.ProjectID, d.Project
			if err == nil && sub.project == 0 { // a refused one, of nobody's project
				err = sub.absent()
			}
			return err
		case strings.HasPrefix(r.path, "/api/v1/reports/:id"):
			raw, _ := base64.RawURLEncoding.DecodeString(c.Param("id")) // what is none is not found
			return sub.ofReport(tx, string(raw))
		case r.path == "/settings/vcs/gitlab/reports/retry":
			return sub.ofReport(tx, c.FormValue("key"))
		default:
			return nil
		}
	})
	switch {
	case err != nil:
		return sub, err
	case strings.HasPrefix(r.path, "/api/v1/inbox/:id"):
		raw, _ := base64.RawURLEncoding.DecodeString(c.Param("id")) // what is none is not found
		return s.subjectOfNotice(string(raw))
	case r.path == "/inbox/dismiss":
		return s.subjectOfNotice(c.FormValue("key"))
	default:
		return sub, nil
	}
}

// ofStack takes the project of a stack, or of what the tests of a module run as.
func (s *subject) ofStack(tx *store.Tx, slug string) error {
	if name := runs.ModuleOf(slug); name != "" {
		m, err := tx.Module(name)
		s.project, s.path = m.Project, m.ProjectPath
		return err
	}
	st, err := tx.Stack(slug)
	s.project, s.path = st.Project, st.ProjectPath
	return err
}

// ofRun takes the project of the run's stack; of a stack that is gone, the run's own.
func (s *subject) ofRun(tx *store.Tx) error {
	r, err := tx.Run(s.id)
	if err != nil {
		return err
	}
	s.proposed = r.Type == runs.Proposed
	if err := s.ofStack(tx, r.Stack); !errors.Is(err, runs.ErrNotFound) {
		return err
	}
	s.project, s.path = r.Project, r.Stack
	return nil
}

func (s *subject) ofReport(tx *store.Tx, target string) error {
	s.what, s.id = "report", target
	rep, ok, err := tx.Report(target)
	if err == nil && !ok {
		err = s.absent()
	}
	s.project, s.path = rep.Project, rep.Stack
	return err
}

func (s *Server) subjectOfNotice(key string) (subject, error) {
	sub := subject{what: "notice", id: key}
	n, err := s.currentNeeds()
	if err != nil {
		return sub, err
	}
	i := slices.IndexFunc(n.notices, func(x store.Notice) bool { return x.Key == key })
	if i < 0 {
		return sub, sub.absent()
	}
	if n.notices[i].Stack == "" {
		return sub, nil
	}
	err = s.st.View(func(tx *store.Tx) error { return sub.ofStack(tx, n.notices[i].Stack) })
	return sub, err
}

// mayStart refuses a run of a type that the person may not start on this stack; the route lets proposals through.
func (c *request) mayStart(t runs.Type) error {
	if c.who.restricted() && t != runs.Proposed && c.who.access.level < levelMaintainer {
		a := c.who.access
		a.enough = levelMaintainer
		return runs.Forbiddenf("%s", a.whyNot("start a run that changes something"))
	}
	return nil
}

func (a access) whyNot(verb string) string {
	return fmt.Sprintf("Only a %s of %s in GitLab can %s; you are a %s there.", gitlab.LevelName(a.enough), a.project, verb, gitlab.LevelName(a.level))
}

// act says whether a writer may do something here, and why not.
func (a access) act(verb string) view.Act {
	if a.project == "" || a.level >= a.enough { // a list: each row is asked for when it is acted on
		return view.Act{Can: true}
	}
	return view.Act{WhyNot: a.whyNot(verb)}
}

// rowAct says of one row of a list whether a writer may act on it: by what GitLab said when the list was made. What is not
// known yet is asked when it is acted on.
func (s *Server) rowAct(c *request, project int64, path, verb string) view.Act {
	if !c.who.restricted() || !c.who.has(store.Writer) {
		return c.who.may(store.Writer, verb)
	}
	level, known := s.asked.get(askedKey{c.who.GitLab, project}, c.askedAge())
	if !known {
		return view.Act{Can: true}
	}
	return access{level: level, enough: levelMaintainer, project: path}.act(verb)
}

// blocking is the actor where a run changes something, whatever the run at hand does.
func (a actor) blocking() actor {
	a.access.enough = levelMaintainer
	return a
}

// askedAge is how old an answer of GitLab about lists may be in this request.
func (c *request) askedAge() time.Duration {
	if wantsEvents(c.Request()) {
		return watchedAge
	}
	return askedAge
}

// reads says which projects' stacks the one who asks may see. Of what GitLab was not asked yet
// they see nothing; the page says so.
func (s *Server) reads(c *request) (func(project int64) bool, error) {
	if !c.who.restricted() {
		return func(int64) bool { return true }, nil
	}
	projects, err := s.allProjects()
	if err != nil {
		return nil, err
	}
	levels, err := s.levels(c, projects)
	return func(p int64) bool { return levels[p] >= levelReporter }, err
}

// allProjects are the projects that stacks and modules are of, by number.
func (s *Server) allProjects() (projects []int64, err error) {
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		for _, st := range stacks {
			projects = append(projects, st.Project)
		}
		if err != nil {
			return err
		}
		modules, err := tx.Modules()
		for _, m := range modules {
			projects = append(projects, m.Project)
		}
		return err
	})
	slices.Sort(projects)
	return slices.Compact(projects), err
}

// seen narrows a filter of runs to those the one who asks may see: none where there is no project, so never by a nil list,
// which lets all through.
func (s *Server) seen(c *request, f store.RunFilter) (store.RunFilter, error) {
	if !c.who.restricted() {
		return f, nil
	}
	projects, err := s.allProjects()
	if err != nil {
		return f, err
	}
	levels, err := s.levels(c, projects)
	f.Projects = make([]int64, 0, len(projects))
	for _, p := range projects {
		if levels[p] >= levelReporter {
			f.Projects = append(f.Projects, p)
		}
	}
	if f.AtMost == 0 {
		f.AtMost = 5000 // who sees few that a filter lets through would read all of theirs to fill a page
	}
	return f, err
}

// needsOf is what waits for a person, as far as the one who asks may see it.
func (s *Server) needsOf(c *request) (needs, error) {
	n, err := s.currentNeeds()
	if err != nil || !c.who.restricted() {
		return n, err
	}
	reads, err := s.reads(c)
	if err != nil {
		return needs{}, err
	}
	out := needs{waiting: keep(n.waiting, func(r runs.Run) bool { return reads(r.Project) })}
	err = s.st.View(func(tx *store.Tx) error {
		stacks, err := tx.Stacks()
		if err != nil {
			return err
		}
		stacks = readable(stacks, reads)
		out.stacks, out.detached = len(stacks), n.detached && len(stacks) > 0
		if out.failed, out.failing, err = failed(tx, stacks); err != nil {
			return err
		}
		for _, x := range n.notices {
			if x.Stack == "" {
				continue
			}
			var of subject
			err := of.ofStack(tx, x.Stack)
			if errors.Is(err, runs.ErrNotFound) || err == nil && !reads(of.project) {
				continue
			}
			if err != nil {
				return err
			}
			out.notices = append(out.notices, x)
			if x.Dismissed.IsZero() {
				out.trouble = append(out.trouble, view.Trouble{Key: x.Key, Kind: x.Kind, Title: x.Text, Detail: x.Cause, LinkText: x.LinkText, LinkURL: x.LinkURL})
			}
		}
		return nil
	})
	return out, err
}

func keep[T any](list []T, ok func(T) bool) []T {
	var out []T
	for _, x := range list {
		if ok(x) {
			out = append(out, x)
		}
	}
	return out
}

// stillMay asks again, while somebody watches a stream, whether they may. What the stream shows from then on follows what
// they are by then.
func (s *Server) stillMay(c *request) bool {
	r, _ := c.Get(routeKey).(route)
	who, err := s.identify(c.Context)
	if err != nil || who.Name != c.who.Name || allowed(who, r.need) != nil {
		return false
	}
	if who, err = s.measure(c, who, r); err != nil {
		return false
	}
	c.who = who
	return true
}

const routeKey = "route"
