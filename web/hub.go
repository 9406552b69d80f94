package web

import (
	"hash/maphash"
	"strconv"
	"sync"

	"groundcrew/runs"
	"groundcrew/store"
)

// A hub wakes those who watch a page whenever a commit touched a run. It owns no goroutine.
type hub struct {
	mu       sync.Mutex
	watchers map[chan struct{}]bool
	commits  uint64         // counts changes, so that what was computed from the store can be kept until the next
	streams  map[string]int // that are open, by who reads them
	seed     maphash.Seed
}

func newHub() *hub {
	return &hub{watchers: map[chan struct{}]bool{}, streams: map[string]int{}, seed: maphash.MakeSeed()}
}

// mostStreams is how many streams one person or key may hold open. A browser holds one for each page that is in sight.
const mostStreams = 200

// enter counts a stream of somebody; leave ends it.
func (h *hub) enter(who string) (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[who] >= mostStreams {
		return nil, runs.Conflictf("%d pages that change by themselves are open for you, and more there may not be. Close some, then load this one again.", mostStreams)
	}
	h.streams[who]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.streams[who]--; h.streams[who] == 0 {
			delete(h.streams, who)
		}
	}, nil
}

// changed is the store's listener: it must not block.
func (h *hub) changed(c store.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits++
	if len(c.Runs) == 0 {
		return
	}
	for w := range h.watchers {
		select {
		case w <- struct{}{}:
		default: // it is awake already
		}
	}
}

// watch returns a channel that gets a value after changes, and a func that ends it.
func (h *hub) watch() (<-chan struct{}, func()) {
	w := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = true
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}
}

func (h *hub) generation() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits
}

// moment names a generation: by it nobody learns how much is done here, and no other start of the server has the same.
func (h *hub) moment(gen uint64) string {
	return strconv.FormatUint(maphash.Comparable(h.seed, gen), 36)
}
