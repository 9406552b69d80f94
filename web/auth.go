package web

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/store"
)

// An actor is who makes a request: a person with a session, an API key, or (Role "") nobody.
type actor struct {
	Name    string // for the audit log
	Role    store.Role
	User    string      // id of the person, "" for a key
	Session string      // token of the browser's session, "" for a key
	Key     string      // id of the API key, "" for a person
	GitLab  int64       // the person's number in GitLab, 0 for one whose rights do not follow it
	Issuer  string      // the GitLab that the number is of, as it calls itself
	Person  runs.Person // whose reviews its reviews are; of a key, who made it; unknown for what nobody made

	access access // to what the request is about, of a person from GitLab
}

// via names the session or key in the audit log.
func (a actor) via() string {
	switch {
	case a.Session != "":
		return "session " + store.SessionID(a.Session)
	case a.Key != "":
		return "key " + a.Key
	default:
		return ""
	}
}

// trigger says what kind of asking this is.
func (a actor) trigger() runs.Trigger {
	if a.Session != "" {
		return runs.ByPerson
	}
	return runs.ByAPI
}

// has reports whether the actor's role includes r.
func (a actor) has(r store.Role) bool { return rank[a.Role] >= rank[r] }

var rank = map[store.Role]int{"": 0, store.Reader: 1, store.Writer: 2, store.Admin: 3}

// A request is an echo context with the one who makes it.
type request struct {
	echo.Context
	who actor

	waitUntil time.Time // for GitLab's answers about lists; zero: nothing was asked
	unknown   int       // projects of which GitLab was not asked yet
	shown     shown     // what the reader of a page that changes by itself has before their eyes
}

type handler func(*request) error

const whoKey = "who"

// guard lets through to the route's handler only whom the route is for, and turns a panic into an error.
func (s *Server) guard(r route) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		who, err := s.identify(c)
		if err != nil && r.need != public && r.need != bearer {
			return err
		}
		c.Set(whoKey, who)
		if err := allowed(who, r.need); err != nil {
			return err
		}
		if err := readBody(c, r); err != nil {
			return err
		}
		if who, err = s.measure(c, who, r); err != nil {
			return err
		}
		c.Set(whoKey, who)
		c.Set(routeKey, r)
		if who.Role == "" || r.method == http.MethodGet || r.need == public { // what is public is not done as the one who is signed in
			return s.once(&request{Context: c, who: who}, r)
		}
		acts := s.st.Acting(who.Name, store.Origin{Address: c.RealIP(), Via: who.via()})
		err = s.once(&request{Context: c, who: who}, r)
		if written := acts.End(); err == nil && written == 0 && c.Response().Status < http.StatusBadRequest {
			err = s.auditRequest(c, who, r)
		}
		return err
	}
}

// auditRequest makes sure that every act leaves an entry, also one that changed nothing here, like a test of a webhook.
func (s *Server) auditRequest(c echo.Context, who actor, r route) error {
	err := s.st.Update(func(tx *store.Tx) error {
		return tx.Audit(store.AuditEntry{
			By: who.Name, Action: cmp.Or(r.act, "request."+strings.ToLower(r.method)), Target: c.Request().URL.Path, Address: c.RealIP(), Via: who.via(),
		})
	})
	if err != nil && c.Response().Committed {
		s.log.Error("an act was not written to the audit log", "by", who.Name, "path", c.Request().URL.Path, "error", err)
		return nil
	}
	return err
}

// readBody caps what the handler can read, and reads a form: one that is too large or broken is refused here,
// because reading single fields later would show it as empty.
func readBody(c echo.Context, r route) error {
	if r.raw {
		return nil
	}
	c.Request().Body = http.MaxBytesReader(c.Response(), c.Request().Body, maxBody)
	if r.method != http.MethodPost || r.doc != nil {
		return nil
	}
	err := c.Request().ParseForm()
	var big *http.MaxBytesError
	if err == nil || errors.As(err, &big) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return runs.Invalidf("", "The form could not be read: it is not encoded as browsers do it.")
}

// allowed says whether the actor may use a route that needs n.
func allowed(who actor, n need) error {
	switch {
	case n == public, n == bearer:
		return nil
	case who.Role == "", n == session && who.Session == "":
		return errUnauthorized
	case n == session:
		return nil
	case !who.has(store.Role(n)):
		return runs.Forbiddenf("This needs the role %s; %s has the role %s. An admin can change roles.", n, who.Name, who.Role)
	}
	return nil
}

// identify finds out who makes a request. A wrong key is an error, not nobody: a script must learn of it.
func (s *Server) identify(c echo.Context) (actor, error) {
	r := c.Request()
	if h := r.Header.Get("Authorization"); h != "" && (strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == metricsPath) {
		scheme, text, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return actor{}, errUnauthorized
		}
		if sum := sha256.Sum256([]byte(strings.TrimSpace(text))); r.URL.Path == metricsPath && s.scraper != [sha256.Size]byte{} &&
			subtle.ConstantTimeCompare(sum[:], s.scraper[:]) == 1 {
			return actor{Name: "metrics token", Role: store.Reader}, nil
		}
		return s.keyHolder(strings.TrimSpace(text))
	}
	ck, err := r.Cookie(s.sessionCookie())
	if err != nil {
		return actor{}, nil
	}
	return s.sessionHolder(ck.Value, c.RealIP(), !wantsEvents(r))
}

// sessionHolder finds whose session a token is of, and notes that it is used where a person does that: a page that is left open
// and brings itself up to date does not keep anybody signed in.
func (s *Server) sessionHolder(token, address string, used bool) (who actor, err error) {
	stale := false
	err = s.st.View(func(tx *store.Tx) error {
		row, u, ok, err := tx.Session(token)
		if ok {
			who = actor{Name: u.Name, Role: u.Role, User: u.ID, Session: token, GitLab: u.GitLabID, Issuer: u.GitLabURL, Person: personOf(u)}
			if u.Role == store.Admin && u.PasswordHash != "" && row.Via != "gitlab" {
				who.GitLab = 0 // the way in while GitLab is away: an admin with a password, who came in with it
			}
			stale = used && store.Stale(row.LastSeen, tx.Now())
		}
		return err
	})
	if err == nil && stale {
		err = s.st.Update(func(tx *store.Tx) error { return tx.TouchSession(token, address) })
	}
	return who, err
}

func (s *Server) keyHolder(text string) (actor, error) {
	sum := sha256.Sum256([]byte(text))
	if s.bootstrap != [sha256.Size]byte{} && subtle.ConstantTimeCompare(sum[:], s.bootstrap[:]) == 1 {
		return actor{Name: "bootstrap token", Role: store.Admin, Key: "bootstrap"}, nil
	}
	var k store.APIKey
	var ok, stale bool
	var owner runs.Person
	err := s.st.View(func(tx *store.Tx) (err error) {
		if k, ok, err = tx.APIKeyByText(text); err != nil {
			return err
		}
		stale = store.Stale(k.LastUsed, tx.Now())
		u, _, err := tx.KeyMaker(k)
		owner = personOf(u)
		return err
	})
	if err == nil && ok && stale {
		err = s.st.Update(func(tx *store.Tx) error { return tx.TouchAPIKey(text) })
	}
	if err != nil {
		return actor{}, err
	}
	if !ok {
		return actor{}, errRefusedKey
	}
	return actor{Name: "API key " + k.Name, Role: k.Role, Key: k.ID, Person: owner}, nil
}

// personOf is the user as reviews tell people apart, who stay the same after they disconnect their account in GitLab.
func personOf(u store.User) runs.Person {
	return runs.Person{User: u.ID, GitLab: cmp.Or(u.GitLabID, u.FormerGitLab)}
}
