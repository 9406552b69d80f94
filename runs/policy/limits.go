package policy

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"groundcrew/runs"
)

// What bounds one question. An evaluation that exceeds one of them is cut off and is an error.
const (
	MaxInput    = 16 << 20  // bytes of the input
	MaxMemory   = 256 << 20 // bytes by which the program may grow meanwhile
	maxSteps    = 200_000_000
	maxMessages = 10_000  // of one rule
	maxAnswer   = 1 << 20 // bytes of all messages of one rule
)

// timeFor is how long a policy of the type may think.
func timeFor(t runs.PolicyType) time.Duration {
	if t == runs.PolicyPlan {
		return 10 * time.Second
	}
	return 3 * time.Second
}

// inside has a place for the one evaluation at work in this process, so that growth of the program is that evaluation's.
var inside = make(chan struct{}, 1)

// large is how many bytes of an input make a process need much memory: some twenty times as much.
const large = 1 << 20

// A bench has places for the processes that are at work beside each other. Only one of them at a time has a large input, so that
// together they need little more memory than that one.
type bench struct {
	mu    sync.Mutex // guards what follows
	busy  int
	large bool          // one of them has a large input
	left  chan struct{} // closed when one leaves; then there is another
}

func newBench() *bench { return &bench{left: make(chan struct{})} }

// enter waits for a place among at most so many, at least one, for an input of so many bytes. leave gives it back.
func (b *bench) enter(ctx context.Context, most, input int) (leave func(), err error) {
	for {
		left, in := b.take(max(most, 1), input > large)
		if in {
			return func() { b.leave(input > large) }, nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes a place if there is one, and else says what to wait for.
func (b *bench) take(most int, isLarge bool) (left <-chan struct{}, in bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy >= most || isLarge && b.large {
		return b.left, false
	}
	b.busy++
	b.large = b.large || isLarge
	return nil, true
}

func (b *bench) leave(wasLarge bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy--
	b.large = b.large && !wasLarge
	close(b.left)
	b.left = make(chan struct{})
}

// A meter is looked at by the evaluator at every step and cuts it off when a limit is exceeded. It belongs to the one goroutine that
// evaluates.
type meter struct {
	ctx    context.Context
	until  time.Time
	within time.Duration
	steps  int
	base   uint64 // bytes in use when it began, less what others gave back since
	cut    error  // why it was cut off
}

func newMeter(ctx context.Context, within time.Duration) *meter {
	return &meter{ctx: ctx, until: time.Now().Add(within), within: within, base: inUse()}
}

// Cancel does nothing: nobody outside cuts an evaluation off but by its context. The evaluator's interface wants it.
func (m *meter) Cancel() {}

// Cancelled counts a step, and every few thousand of them looks at time and memory.
func (m *meter) Cancelled() bool {
	m.steps++
	if m.cut == nil && m.steps&4095 == 0 {
		m.cut = m.look()
	}
	return m.cut != nil
}

func (m *meter) look() error {
	switch {
	case m.ctx.Err() != nil:
		return m.ctx.Err()
	case time.Now().After(m.until):
		return fmt.Errorf("it was cut off after %s, the most a policy of its type may take. Make it do less, for example by looking at one resource at a time", m.within)
	case m.steps > maxSteps:
		return fmt.Errorf("it was cut off after %d steps, the most a policy may take", maxSteps)
	case m.grown():
		return fmt.Errorf("it was cut off because it used more than %d MiB of memory", MaxMemory>>20)
	}
	return nil
}

// grown reports whether the program has grown too much. What is only garbage does not count, so that is removed before the answer is yes.
func (m *meter) grown() bool {
	now := inUse()
	m.base = min(m.base, now)
	if now-m.base <= MaxMemory {
		return false
	}
	runtime.GC()
	now = inUse()
	m.base = min(m.base, now)
	return now-m.base > MaxMemory
}

// inUse is how many bytes objects and stacks take.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}
