package web

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

// blocking are the types of run that change a stack.
var blocking = []runs.Type{runs.Tracked, runs.Task, runs.Destroy}

// needs is what waits for a person, all over the installation.
type needs struct {
	waiting  []runs.Run     // for a yes or an approval, oldest first
	failed   []runs.Run     // the latest blocking run of its stack, newest first, needRows at most
	failing  int            // stacks whose latest blocking run failed
	trouble  []view.Trouble // of notices, what was not dismissed
	notices  []store.Notice
	stacks   int
	detached bool // stacks without a GitLab
}

// needRows is how many runs of a kind the start page and the inbox list; the rest is counted.
const needRows = 50

func (n needs) count() int { return len(n.waiting) + n.failing + len(n.trouble) }

// A needsCache keeps the needs until something changes, because every page shows their number. Counting parked
// reports means reading all reports, so they have an age of their own.
type needsCache struct {
	mu       sync.Mutex
	at       time.Time
	took     time.Duration // to find them
	gen      uint64
	v        needs
	parked   []store.Report // 100 of them at most
	parkedAt time.Time
}

const (
	needsAge  = 10 * time.Second // bounds how late time itself and held forks show, of which no change tells
	parkedAge = 15 * time.Second

	// With many stacks they stay found so many times as long as it took, so that a busy large installation spends little on them.
	needsRest       = 20
	needsRestStacks = 1000
)

// currentNeeds is what waits for a person now.
func (s *Server) currentNeeds() (needs, error) {
	c := &s.needed
	c.mu.Lock()
	defer c.mu.Unlock()
	gen := s.hub.generation()
	age := time.Since(c.at)
	if gen == c.gen && age < needsAge || c.v.stacks >= needsRestStacks && age < needsRest*c.took {
		return c.v, nil
	}
	begin := time.Now()
	room := s.eng.Room()
	err := s.st.View(func(tx *store.Tx) (err error) {
		if time.Since(c.parkedAt) > parkedAge {
			if c.parked, _, err = tx.Reports(store.ReportParked, "", parkedLimit); err != nil {
				return err
			}
			c.parkedAt = time.Now()
		}
		c.v, err = findNeeds(tx, c.parked, room)
		return err
	})
	if err == nil {
		c.gen, c.at, c.took = gen, time.Now(), time.Since(begin)
	}
	return c.v, err
}

// forgetParked makes the next page read the parked reports anew.
func (s *Server) forgetParked() {
	s.needed.mu.Lock()
	defer s.needed.mu.Unlock()
	s.needed.parkedAt = time.Time{}
}

// forgetNeeds makes the next page find everything anew.
func (s *Server) forgetNeeds() {
	s.needed.mu.Lock()
	defer s.needed.mu.Unlock()
	s.needed.at, s.needed.took = time.Time{}, 0
}

// parkedLimit is how many parked reports are counted; "100 or more" is said beyond.
const parkedLimit = engine.ParkedLimit

// fillNeeds puts what concerns every page into its frame.
func (s *Server) fillNeeds(c *request, p *view.Page) error {
	n, err := s.needsOf(c)
	if errors.Is(err, runs.ErrForbidden) {
		return nil // GitLab cannot be asked: the page says that itself, and counts nothing
	}
	if err != nil {
		return err
	}
	p.NeedCount, p.InboxCount = n.count(), len(n.trouble)
	if c.unknown > 0 {
		p.Banners = append(p.Banners, askingBanner(c.unknown))
	}
	if n.detached {
		p.Banners = append(p.Banners, view.DetachedBanner(n.stacks))
	}
	if !c.who.restricted() { // sizes tell of what others do
		p.Banners = append(p.Banners, diskBanners(n)...)
	}
	if c.who.has(store.Admin) {
		p.Banners = append(p.Banners, tokenBanners(n)...)
	}
	return nil
}

// diskBanners show everybody that no run begins, because the disk is nearly full.
func diskBanners(n needs) []view.Banner {
	for _, t := range n.notices {
		if t.Key == "disk" && t.Kind == view.KindBad {
			return []view.Banner{{Kind: t.Kind, Text: t.Cause, LinkText: t.LinkText, LinkURL: t.LinkURL}}
		}
	}
	return nil
}

// tokenBanners shows every admin what is wrong with the link to GitLab, on every page, dismissed or not.
func tokenBanners(n needs) []view.Banner {
	var out []view.Banner
	for _, t := range n.notices {
		if t.LinkURL == tokenForm || t.Key == "gitlab" {
			out = append(out, view.Banner{Kind: t.Kind, Text: t.Text + ". " + t.Cause, LinkText: t.LinkText, LinkURL: t.LinkURL})
		}
	}
	return out
}

// Where trouble with GitLab is mended.
const (
	integrationURL = "/settings/vcs/gitlab"
	tokenForm      = "/settings/vcs/gitlab/edit"
)

func findNeeds(tx *store.Tx, parked []store.Report, room runs.Room) (needs, error) {
	var n needs
	active, err := tx.Active("")
	if err != nil {
		return n, err
	}
	for _, r := range active {
		if r.NeedsPerson() {
			n.waiting = append(n.waiting, *r)
		}
	}
	stacks, err := tx.Stacks()
	if err != nil {
		return n, err
	}
	n.stacks = len(stacks)
	if n.failed, n.failing, err = failed(tx, stacks); err != nil {
		return n, err
	}
	n.trouble, n.notices, n.detached, err = findTrouble(tx, stacks, parked, room)
	return n, err
}

// failed are the latest runs of the stacks where they failed, and how many there are.
func failed(tx *store.Tx, stacks []*runs.Stack) (list []runs.Run, count int, err error) {
	var ids []string
	tx.EachLatestIn(runs.Failed, blocking, func(slug, id string) {
		if _, there := store.FindStack(stacks, slug); there {
			ids = append(ids, id)
		}
	})
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(b, a) })
	for _, id := range ids[:min(needRows, len(ids))] {
		r, err := tx.Run(id)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, r)
	}
	return list, len(ids), nil
}

// findTrouble is what the inbox holds that nobody dismissed, as the start page shows it.
func findTrouble(tx *store.Tx, stacks []*runs.Stack, parked []store.Report, room runs.Room) (out []view.Trouble, notices []store.Notice, detached bool, err error) {
	in, known, err := tx.Integration()
	if err != nil {
		return nil, nil, false, err
	}
	notices, err = engine.Notices(tx, parked, room)
	for _, n := range notices {
		if n.Dismissed.IsZero() {
			out = append(out, view.Trouble{Key: n.Key, Kind: n.Kind, Title: n.Text, Detail: n.Cause, LinkText: n.LinkText, LinkURL: n.LinkURL})
		}
	}
	return out, notices, len(stacks) > 0 && !(known && in.Linked), err
}
