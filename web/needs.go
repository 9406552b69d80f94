package web

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
	"groundcrew/web/view"
)

// blocking are the types of run that change a stack.
var blocking = []runs.Type{runs.Tracked, runs.Task, runs.Destroy}

// needs is what waits for a person, all over the installation.
type needs struct {
	waiting  []runs.Run // unconfirmed, oldest first
	failed   []runs.Run // the latest blocking run of its stack
	trouble  []view.Trouble
	parked   int // reports, parkedLimit at most
	stacks   int
	detached bool // stacks without a GitLab
}

func (n needs) count() int { return len(n.waiting) + len(n.failed) + len(n.trouble) }

// A needsCache keeps the needs until something changes, because every page shows their number. Counting parked
// reports means reading all reports, so they have an age of their own.
type needsCache struct {
	mu       sync.Mutex
	at       time.Time
	gen      uint64
	v        needs
	parked   []store.Report // 100 of them at most
	parkedAt time.Time
}

const (
	needsAge  = 10 * time.Second // bounds how late time itself and held forks show, of which no change tells
	parkedAge = 15 * time.Second
)

// currentNeeds is what waits for a person now.
func (s *Server) currentNeeds() (needs, error) {
	c := &s.needed
	c.mu.Lock()
	defer c.mu.Unlock()
	gen := s.hub.generation()
	if gen == c.gen && time.Since(c.at) < needsAge {
		return c.v, nil
	}
	err := s.st.View(func(tx *store.Tx) (err error) {
		if time.Since(c.parkedAt) > parkedAge {
			if c.parked, _, err = tx.Reports(store.ReportParked, "", parkedLimit); err != nil {
				return err
			}
			c.parkedAt = time.Now()
		}
		c.v, err = findNeeds(tx, c.parked)
		return err
	})
	if err == nil {
		c.gen, c.at = gen, time.Now()
	}
	return c.v, err
}

// forgetParked makes the next page read the parked reports anew.
func (s *Server) forgetParked() {
	s.needed.mu.Lock()
	defer s.needed.mu.Unlock()
	s.needed.parkedAt = time.Time{}
}

// parkedLimit is how many parked reports are counted; "100 or more" is said beyond.
const parkedLimit = 100

// fillNeeds puts what concerns every page into its frame.
func (s *Server) fillNeeds(c *request, p *view.Page) error {
	n, err := s.currentNeeds()
	if err != nil {
		return err
	}
	p.NeedCount = n.count()
	if n.detached {
		p.Banners = append(p.Banners, view.DetachedBanner(n.stacks))
	}
	if c.who.has(store.Admin) {
		p.Banners = append(p.Banners, tokenBanners(n)...)
	}
	return nil
}

// tokenBanners shows every admin what is wrong with the token, on every page.
func tokenBanners(n needs) []view.Banner {
	var out []view.Banner
	for _, t := range n.trouble {
		if t.LinkURL == tokenForm || t.LinkURL == integrationURL {
			out = append(out, view.Banner{Kind: t.Kind, Text: t.Title + ". " + t.Detail, LinkText: t.LinkText, LinkURL: t.LinkURL})
		}
	}
	return out
}

// Where trouble with GitLab is mended.
const (
	integrationURL = "/settings/vcs/gitlab"
	tokenForm      = "/settings/vcs/gitlab/edit"
)

func findNeeds(tx *store.Tx, parked []store.Report) (needs, error) {
	var n needs
	active, err := tx.Active("")
	if err != nil {
		return n, err
	}
	for _, r := range active {
		if r.State == runs.Unconfirmed {
			n.waiting = append(n.waiting, r)
		}
	}
	stacks, err := tx.Stacks()
	if err != nil {
		return n, err
	}
	n.stacks, n.parked = len(stacks), len(parked)
	for _, st := range stacks {
		r, ok, err := tx.LatestRun(st.Slug, blocking...)
		if err != nil {
			return n, err
		}
		if ok && r.State == runs.Failed {
			n.failed = append(n.failed, r)
		}
	}
	n.trouble, n.detached, err = findTrouble(tx, stacks, parked)
	return n, err
}

func findTrouble(tx *store.Tx, stacks []runs.Stack, parked []store.Report) (out []view.Trouble, detached bool, err error) {
	in, known, err := tx.Integration()
	if err != nil {
		return nil, false, err
	}
	if known && in.Linked {
		out = append(out, tokenTrouble(in.Health, tx.Now())...)
	}
	if len(parked) > 0 {
		out = append(out, view.Trouble{
			Kind: view.KindWarn, Title: "GitLab refused " + atLeast(len(parked), parkedLimit, "report", "reports"),
			Detail: strings.TrimSpace(parked[0].LastError + " " + parked[0].Mend), LinkText: "See why", LinkURL: "/settings/vcs/gitlab/reports?state=" + store.ReportParked,
		})
	}
	held, err := heldForks(tx, stacks)
	return append(out, held...), len(stacks) > 0 && !(known && in.Linked), err
}

func atLeast(n, limit int, one, many string) string {
	if n >= limit {
		return fmt.Sprintf("%d or more %s", limit, many)
	}
	return view.Count(n, one, many)
}

// tokenTrouble says what a person must do about the token (PRODUCT §1: at 30 days before its end and on).
func tokenTrouble(h store.TokenHealth, now time.Time) []view.Trouble {
	if h.Trouble != "" && h.Active { // the network, not the token
		return []view.Trouble{{Kind: view.KindWarn, Title: "GitLab does not answer as it should", Detail: h.Trouble, LinkText: "Look at it", LinkURL: integrationURL}}
	}
	if h.Trouble != "" {
		return []view.Trouble{{Kind: view.KindBad, Title: "GitLab does not work with the token", Detail: h.Trouble, LinkText: "Change token", LinkURL: tokenForm}}
	}
	if h.ExpiresAt == nil || h.ExpiresAt.Sub(now) > 30*24*time.Hour {
		return nil
	}
	days := int(math.Floor(h.ExpiresAt.Sub(now).Hours() / 24))
	t := view.Trouble{Kind: view.KindWarn, Detail: "It belongs to @" + h.Username + ".", LinkText: "Change token", LinkURL: tokenForm}
	switch {
	case days < 0 || !now.Before(*h.ExpiresAt):
		t.Kind, t.Title = view.KindBad, "The GitLab token has expired"
	case days == 0:
		t.Kind, t.Title = view.KindBad, "The GitLab token expires within a day"
	default:
		t.Title = "The GitLab token expires in " + view.Count(days, "day", "days")
	}
	return []view.Trouble{t}
}

// heldForks are the merge requests from forks whose commit waits for its release.
func heldForks(tx *store.Tx, stacks []runs.Stack) ([]view.Trouble, error) {
	var out []view.Trouble
	seen := map[int64]bool{}
	for _, st := range stacks {
		if seen[st.Project] {
			continue
		}
		seen[st.Project] = true
		mrs, err := tx.MergeRequests(st.Project)
		if err != nil {
			return nil, err
		}
		for _, mr := range mrs {
			if mr.Held == "" || mr.State != "opened" {
				continue
			}
			slug := st.Slug
			if len(mr.Stacks) > 0 {
				slug = mr.Stacks[0]
			}
			out = append(out, view.Trouble{
				Kind: view.KindInfo, Title: fmt.Sprintf("Merge request !%d from a fork waits for its release", mr.IID),
				Detail: mr.Title, LinkText: "Look at it", LinkURL: "/stacks/" + slug + "/merge-requests",
			})
		}
	}
	return out, nil
}
