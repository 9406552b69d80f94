package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

const (
	// readers is how many deliveries are processed at once: what takes long is waiting for GitLab, which is asked at most
	// this often at a time.
	readers = 8
	// lookAhead bounds how many waiting deliveries a pass looks at to find some that may be processed.
	lookAhead = 10_000
)

// letters are the deliveries that wait, as far as this process knows more of them than their rows. They are guarded by
// Engine.mu; a restart forgets them, which costs reading them once more.
type letters struct {
	atWork map[string]bool       // by delivery
	order  map[string]letterLine // by delivery: what it must be kept in order with, see orderOf
	due    map[string]time.Time  // by delivery: when it is tried again, because GitLab could not be asked
}

// inbox begins with the deliveries that wait, oldest first, several at a time: those of one branch, tag or merge request
// in their order, all others beside each other. One that needs GitLab and can't have it holds up only those that
// follow it on its branch.
func (e *Engine) inbox(ctx context.Context) (time.Duration, error) {
	var ids []string
	var now time.Time
	err := e.st.View(func(tx *store.Tx) (err error) {
		now = tx.Now()
		ids, err = tx.Inbox(lookAhead)
		return err
	})
	if err != nil {
		return 0, err
	}
	next := idle
	taken := e.ordersAtWork()
	for _, id := range ids {
		if e.full() || ctx.Err() != nil {
			break // the one who ends wakes us
		}
		order, err := e.orderOf(id)
		if err != nil {
			return 0, err
		}
		if taken[order] {
			continue
		}
		taken[order] = true
		if wait := e.dueIn(id, now); wait > 0 {
			next = min(next, wait)
			continue
		}
		e.begin(id)
		e.wg.Go(func() { e.read(ctx, id) })
	}
	return next, nil
}

// read processes one delivery and lets the next one begin.
func (e *Engine) read(ctx context.Context, id string) {
	wait, err := e.process(ctx, id)
	if err != nil && ctx.Err() == nil {
		e.log.Error("a delivery's verdict could not be recorded; trying again", "delivery", id, "error", err)
		wait = time.Second
	}
	now := e.now()
	e.mu.Lock()
	delete(e.letters.atWork, id)
	if wait > 0 {
		e.letters.due[id] = now.Add(wait)
	} else {
		delete(e.letters.due, id)
		delete(e.letters.order, id)
	}
	e.mu.Unlock()
	wake(e.inboxWake)
}

func (e *Engine) full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.letters.atWork) >= readers
}

func (e *Engine) begin(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.letters.atWork[id] = true
}

// dueIn is how long a delivery is still to wait.
func (e *Engine) dueIn(id string, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.letters.due[id].Sub(now)
}

// ordersAtWork are the orders that have a delivery at work. What follows it waits for its end.
func (e *Engine) ordersAtWork() map[letterLine]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := map[letterLine]bool{}
	for id := range e.letters.atWork {
		taken[e.letters.order[id]] = true
	}
	return taken
}

// orderOf names what a delivery has to be kept in order with. It reads each delivery once.
func (e *Engine) orderOf(id string) (letterLine, error) {
	order, isNew, err := e.readOrderOf(id)
	if err != nil || !isNew {
		return order, err
	}
	e.mu.Lock()
	e.letters.order[id] = order
	e.mu.Unlock()
	return order, nil
}

// readOrderOf is orderOf and remembers nothing; isNew says that it is to be remembered by whoever processes the delivery.
func (e *Engine) readOrderOf(id string) (order letterLine, isNew bool, err error) {
	e.mu.Lock()
	order, ok := e.letters.order[id]
	e.mu.Unlock()
	if ok {
		return order, false, nil
	}
	_, hook, err := e.open(id)
	switch {
	case errors.Is(err, runs.ErrNotFound):
		return letterLine{name: id}, false, nil // deleted meanwhile
	case errors.Is(err, errNotUnderstood):
		return letterLine{name: id}, true, nil
	case err != nil:
		return letterLine{}, false, err
	default:
		return cmp.Or(lineOf(hook), letterLine{name: id}), true, nil
	}
}

// A letterLine is what deliveries are kept in order by.
type letterLine struct {
	project  int64 // 0 for an event that stands alone
	name     string
	comments bool
}

// lineOf is the branch or tag an event is about; that of a merge request is its source branch, because pushes to it are
// about the same runs. Comments on a merge request keep their own order. The zero letterLine is that of an event that stands alone.
func lineOf(h gitlab.Hook) letterLine {
	switch {
	case h.Push != nil:
		return letterLine{project: h.ProjectID, name: h.Push.Ref}
	case h.MR != nil && h.MR.Fork():
		return letterLine{project: h.ProjectID, name: fmt.Sprintf("fork/%d", h.MR.IID)}
	case h.MR != nil:
		return letterLine{project: h.ProjectID, name: "refs/heads/" + h.MR.SourceBranch}
	case h.Note != nil && h.Note.MR != nil:
		return letterLine{project: h.ProjectID, name: fmt.Sprint(h.Note.MR.IID), comments: true}
	default:
		return letterLine{}
	}
}

// awaited are the projects of which something waits that a comparison would find as well. Comments are not, and one may wait for a day.
// It opens all that wait.
func (e *Engine) awaited() (map[int64]bool, error) {
	out := map[int64]bool{}
	err := e.eachAwaited(func(project int64) (more bool) { out[project] = true; return true })
	return out, err
}

// isAwaited is awaited of one project.
func (e *Engine) isAwaited(project int64) (found bool, err error) {
	err = e.eachAwaited(func(p int64) (more bool) { found = p == project; return !found })
	return found, err
}

func (e *Engine) eachAwaited(see func(project int64) (more bool)) error {
	var ids []string
	err := e.st.View(func(tx *store.Tx) (err error) { ids, err = tx.Inbox(lookAhead); return err })
	for _, id := range ids {
		if err != nil {
			return err
		}
		var order letterLine
		if order, _, err = e.readOrderOf(id); err == nil && !order.comments && !see(order.project) {
			return nil
		}
	}
	return err
}

// errNotUnderstood is wrapped around why a body can't be read.
var errNotUnderstood = errors.New("not understood")

// open reads a delivery.
func (e *Engine) open(id string) (store.Delivery, gitlab.Hook, error) {
	var d store.Delivery
	var body []byte
	err := e.st.View(func(tx *store.Tx) (err error) {
		if d, err = tx.Delivery(id); err == nil {
			body, err = tx.DeliveryBody(d)
		}
		return err
	})
	if err != nil {
		return d, gitlab.Hook{}, err
	}
	hook, err := gitlab.ReadHook(header(d.Headers), body)
	if err != nil {
		err = fmt.Errorf("%w: %w", errNotUnderstood, err)
	}
	return d, hook, err
}
