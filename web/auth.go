package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/labstack/echo/v4"

	"groundcrew/runs"
	"groundcrew/store"
)

// An actor is who makes a request: a person with a session, an API key, or (Role "") nobody.
type actor struct {
	Name    string // for the audit log
	Role    store.Role
	User    string // id of the person, "" for a key
	Session string // token of the browser's session, "" for a key
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
		if err != nil && r.need != public {
			return err
		}
		c.Set(whoKey, who)
		if err := allowed(who, r.need); err != nil {
			return err
		}
		if err := readBody(c, r); err != nil {
			return err
		}
		return s.once(&request{c, who}, r)
	}
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
	if err == nil || errors.As(err, &big) {
		return err
	}
	return runs.Invalidf("", "The form could not be read: it is not encoded as browsers do it.")
}

// allowed says whether the actor may use a route that needs n.
func allowed(who actor, n need) error {
	switch {
	case n == public:
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
	ck, err := r.Cookie(sessionCookie)
	if err != nil {
		return actor{}, nil
	}
	var who actor
	err = s.st.View(func(tx *store.Tx) error {
		_, u, ok, err := tx.Session(ck.Value)
		if ok {
			who = actor{Name: u.Name, Role: u.Role, User: u.ID, Session: ck.Value}
		}
		return err
	})
	return who, err
}

func (s *Server) keyHolder(text string) (actor, error) {
	sum := sha256.Sum256([]byte(text))
	if s.bootstrap != [sha256.Size]byte{} && subtle.ConstantTimeCompare(sum[:], s.bootstrap[:]) == 1 {
		return actor{Name: "bootstrap token", Role: store.Admin}, nil
	}
	var k store.APIKey
	var ok bool
	err := s.st.View(func(tx *store.Tx) (err error) {
		k, ok, err = tx.APIKeyByText(text)
		return err
	})
	if err != nil {
		return actor{}, err
	}
	if !ok {
		return actor{}, errUnauthorized
	}
	return actor{Name: "API key " + k.Name, Role: k.Role}, nil
}
