package policy

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
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

// A lane lets one evaluation at a time work.
type lane chan struct{}

// In this process only one works, so that growth of the program is that evaluation's. Of the processes of a [Court] one decides, and
// beside it one tries what people write, so that nobody's trying holds up what is decided.
var (
	inside   = make(lane, 1)
	deciding = make(lane, 1)
	trying   = make(lane, 1)
)

// wait waits for the lane.
func (l lane) wait(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
