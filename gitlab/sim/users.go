package sim

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// AddUser adds a person.
func (s *Server) AddUser(username, name string, admin bool) User {
	return s.addUser(User{Username: username, Name: name, Admin: admin})
}

// AddBot adds a bot user, such as the one behind a project access token.
func (s *Server) AddBot(username, name string) User {
	return s.addUser(User{Username: username, Name: name, Bot: true})
}

func (s *Server) addUser(u User) User {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.ID, u.created = s.id("user"), s.now()
	s.users = append(s.users, &u)
	return u
}

func (s *Server) userByID(id int64) *User {
	for _, u := range s.users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

// person is the user of id, or for 0 the one who clicks in the pages.
func (s *Server) person(id int64) (*User, error) {
	if id == 0 {
		return s.someone()
	}
	if u := s.userByID(id); u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("sim: there is no user %d", id)
}

// SetVisitor says as whom the pages act; without it the first administrator, else the first person.
func (s *Server) SetVisitor(user int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visitor = user
}

func (s *Server) someone() (*User, error) {
	var first *User
	for _, u := range s.users {
		switch {
		case u.ID == s.visitor, s.visitor == 0 && u.Admin && !u.Bot:
			return u, nil
		case first == nil && !u.Bot:
			first = u
		}
	}
	if first == nil {
		return nil, fmt.Errorf("sim: the instance has no person yet; add a user first")
	}
	return first, nil
}

func (u *User) email() string { return u.Username + "@example.com" }

// basics is the user as embedded in other entities; it has no bot flag (GOTCHAS 28).
func (s *Server) basics(u *User) any {
	if u == nil {
		return nil
	}
	state := "active"
	if u.blocked {
		state = "blocked"
	}
	return object{
		"id": u.ID, "username": u.Username, "public_email": nil, "name": u.Name, "state": state, "locked": false,
		"avatar_url": s.avatar(u), "web_url": s.url() + "/" + u.Username,
	}
}

func (s *Server) avatar(u *User) string {
	return fmt.Sprintf("%s/uploads/-/system/user/avatar/%d/avatar.png", s.url(), u.ID)
}

func (s *Server) fullUser(u *User) object {
	e := s.basics(u).(object)
	for _, blank := range []string{"bio", "location", "linkedin", "twitter", "discord", "website_url", "github", "job_title", "organization"} {
		e[blank] = ""
	}
	for _, null := range []string{"pronouns", "work_information", "local_time"} {
		e[null] = nil
	}
	e["created_at"], e["bot"] = isoTime(u.created), u.Bot
	return e
}

func (c *call) getUser() error {
	u := c.user
	e := c.fullUser(u)
	maps.Copy(e, (object{
		"last_sign_in_at": nil, "confirmed_at": isoTime(u.created), "last_activity_on": c.now().Format("2006-01-02"), "email": u.email(),
		"theme_id": 3, "color_scheme_id": 1, "projects_limit": 100000, "current_sign_in_at": nil, "identities": []any{},
		"can_create_group": true, "can_create_project": true, "two_factor_enabled": false, "external": false,
		"private_profile": false, "commit_email": u.email(),
	}))
	if u.Admin {
		e["is_admin"] = true
	}
	return c.answer(http.StatusOK, e)
}

func (c *call) listUsers() error {
	var found []*User
	for _, u := range c.users {
		if !c.in.has("username") || strings.EqualFold(u.Username, c.in.text("username")) {
			found = append(found, u)
		}
	}
	return page(c, found, func(u *User) any { return c.basics(u) })
}

func (c *call) getUserByID() error {
	id, _ := strconv.ParseInt(c.segment["user"], 10, 64) // 0 is nobody
	u := c.userByID(id)
	if u == nil {
		return notFound("User")
	}
	return c.answer(http.StatusOK, c.fullUser(u))
}

func (c *call) getVersion() error {
	return c.answer(http.StatusOK, object{"version": c.opt.Version, "revision": revision})
}

const revision = "4b4a0f5c1d2"

func (c *call) getMetadata() error {
	return c.answer(http.StatusOK, object{
		"version": c.opt.Version, "revision": revision, "enterprise": false,
		"kas": object{"enabled": false, "externalUrl": nil, "externalK8sProxyUrl": nil, "version": nil},
	})
}
