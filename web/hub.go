package web

import (
	"sync"

	"groundcrew/store"
)

// A hub wakes those who watch a page whenever a commit touched a run. It owns no goroutine.
type hub struct {
	mu       sync.Mutex
	watchers map[chan struct{}]bool
	commits  uint64 // counts changes, so that what was computed from the store can be kept until the next
}

func newHub() *hub { return &hub{watchers: map[chan struct{}]bool{}} }

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
