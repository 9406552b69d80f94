package web

import (
	"net/http"
	"slices"

	"groundcrew/store"
)

// A need is what a route asks of who uses it: a role, a browser's session, or nothing.
type need string

const (
	public  need = "public"
	session need = "session" // whoever is signed in with a browser
	bearer  need = "bearer"  // whoever shows a key, the token of a run, or a ticket: the handler looks
	reader  need = need(store.Reader)
	writer  need = need(store.Writer)
	admin   need = need(store.Admin)
)

// A route is one address. API routes carry what the OpenAPI document says of them.
type route struct {
	method, path string
	need         need
	handle       handler
	stream       bool   // server-sent events: it stays open
	raw          bool   // the handler caps the body itself
	proposes     bool   // a Developer in GitLab may use it for what changes nothing
	blocking     bool   // it leads to a run that changes something, also from one that doesn't
	act          string // what the audit log calls its use when what it did left no entry there
	doc          *operation
}

// forProposals lets a Developer in GitLab through; the handler looks at what the run would do.
func forProposals(r route) route {
	r.proposes = true
	return r
}

// forApplies asks for a Maintainer in GitLab whatever the run at hand does.
func forApplies(r route) route {
	r.blocking = true
	return r
}

// named is for acts that change nothing in the store, or not at once.
func named(act string, r route) route {
	r.act = act
	return r
}

// maxBody is the largest body of a request, webhooks aside.
const maxBody = 1 << 20

func (s *Server) routes() []route {
	return slices.Concat(s.pages(), s.modulePages(), s.contextPages(), s.policyPages(), s.registry(), s.api(), s.moduleAPI(), s.contextAPI(), s.policyAPI())
}

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)
