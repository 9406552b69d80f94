package web

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// TestNoShownRowIsThere: a reader whose rows are all gone gets a page with more runs than fit, and is told of the new ones.
func TestNoShownRowIsThere(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	for range pageRows + 1 {
		s.request("a", runs.Proposed, "c1")
	}
	w := &watcher{s, "", s.events(s.signedIn(store.Reader), "/runs?shown-runs=x", "")}
	w.sees("new", saying("50 new runs"))
}

// TestWatchersLoseWhatTheyMayNotSee: who was an admin when a stream began sees only what is theirs from its next heartbeat on.
func TestWatchersLoseWhatTheyMayNotSee(t *testing.T) {
	g := newGuild(t)
	is := func(role store.Role) {
		g.update(func(tx *store.Tx) error {
			users, err := tx.Users()
			for _, u := range users {
				if u.GitLabID == g.ids["maintainer"] {
					u.Role = role
					_, err = tx.PutUser(u)
				}
			}
			return err
		})
	}
	is(store.Admin)
	c := g.watching("maintainer", "/runs")
	if reads, err := g.web.reads(c); err != nil || !reads(g.hidden.ID) {
		t.Fatalf("an admin does not see everything: %v", err)
	}
	is(store.Writer)
	if !g.web.stillMay(c) {
		t.Fatal("a writer may not watch the runs")
	}
	if reads, err := g.web.reads(c); err != nil || reads(g.hidden.ID) || !reads(g.f.project.ID) {
		t.Errorf("the stream shows what a writer may not see: %v", err)
	}
}

// watching is the request of somebody's stream of a page.
func (g *guild) watching(name, path string) *request {
	g.t.Helper()
	req := httptest.NewRequestWithContext(g.t.Context(), get, path, nil)
	req.Header.Set("Accept", "text/event-stream")
	for _, ck := range g.people[name].Jar.Cookies(mustURL(g.t, g.srv.URL)) {
		req.AddCookie(ck)
	}
	c := &request{Context: g.web.echo.NewContext(req, httptest.NewRecorder())}
	c.Set(routeKey, route{method: get, path: path, need: reader})
	var err error
	c.who, err = g.web.identify(c.Context)
	must(g.t, err)
	if c.who.Role == "" {
		g.t.Fatal("nobody watches")
	}
	return c
}

// TestWatchingAsksSeldom: the lists of an open page use answers of GitLab that are too old for a page that is just opened.
func TestWatchingAsksSeldom(t *testing.T) {
	g := newGuild(t)
	c := g.watching("reporter", "/runs")
	seen := func() int {
		projects := []int64{g.f.project.ID, g.hidden.ID}
		return len(projects) - g.web.asked.survey(c.who.GitLab, projects, time.Now(), c.askedAge()).unknown
	}
	g.get(g.people["reporter"], "/api/v1/stacks")
	g.age(watchedAge/2 - time.Second)
	if n := seen(); n != 2 || len(g.web.asked.lines) != 0 {
		t.Errorf("%d of 2 are known, %d lines wait", n, len(g.web.asked.lines))
	}
	g.age(2 * time.Second)
	if n := seen(); n != 2 || len(g.web.asked.lines) != 1 {
		t.Errorf("after half the time %d of 2 are known, %d lines wait", n, len(g.web.asked.lines))
	}
	g.age(watchedAge)
	if n := seen(); n != 0 {
		t.Errorf("%d answers opened something though they are too old", n)
	}
}

// TestWaitingForATurnEnds: a reader whose turn does not come is let go when the server stops.
func TestWaitingForATurnEnds(t *testing.T) {
	s := newSite(t)
	s.stack("a")
	s.web.turns <- struct{}{}
	ch := s.events(s.signedIn(store.Reader), "/runs", "")
	s.web.Close()
	select {
	case e, more := <-ch:
		if more {
			t.Errorf("a page without a turn sent %+v", e)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the stream did not end with the server")
	}
}

// TestStreamsKeepNobodySignedIn: a page that was left open does not use its session; a request that is a person's own does.
func TestStreamsKeepNobodySignedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(store.Options{Dir: t.TempDir(), NoSync: true})
		must(t, err)
		defer func() { must(t, st.Close()) }()
		s := New(Options{Store: st})
		var token string
		must(t, st.Update(func(tx *store.Tx) error {
			u, err := tx.PutUser(store.User{Name: "ann", Role: store.Reader})
			if err != nil {
				return err
			}
			token, err = tx.AddSession(store.Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
			return err
		}))
		began := time.Now()
		time.Sleep(5 * time.Minute)
		for _, accept := range []string{"text/event-stream", "text/html"} {
			req := httptest.NewRequestWithContext(t.Context(), get, "/runs", nil)
			req.Header.Set("Accept", accept)
			req.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
			who, err := s.identify(s.echo.NewContext(req, httptest.NewRecorder()))
			must(t, err)
			must(t, st.View(func(tx *store.Tx) error {
				row, _, ok, err := tx.Session(token)
				if !ok || who.Name != "ann" || row.LastSeen.After(began) != (accept == "text/html") {
					t.Errorf("%s: used at %s by %q", accept, row.LastSeen, who.Name)
				}
				return err
			}))
		}
	})
}
