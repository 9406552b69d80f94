package policy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
)

// endless would compute for ever; a plan policy may for ten seconds.
const endless = `deny contains "never" if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == -1 }`

// occupy lets processes that would compute for ever take places until the returned function ends them.
func occupy(t *testing.T, c Court, inputs ...json.RawMessage) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(inputs))
	for i, input := range inputs {
		go func() {
			_, err := c.Ask(ctx, with(runs.PolicyPlan, endless), input)
			ended <- err
		}()
		for !taken(c.deciding, i+1) {
			time.Sleep(time.Millisecond)
		}
	}
	return func() {
		t.Helper()
		cancel()
		for range inputs {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("it ended before it was told to: %v", err)
			}
		}
	}
}

func taken(b *bench, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy == n
}

// As many decide beside each other as the court is told at that moment, and not one more; what people try has a place of its own.
func TestCourtDecidesBesideEachOther(t *testing.T) {
	places := 2
	c := court(t)
	c.beside = func() int { return places }
	little := json.RawMessage(`{"a":true}`)
	decides := func(want bool) {
		t.Helper()
		ctx := t.Context()
		if !want {
			var stop func()
			ctx, stop = context.WithTimeout(ctx, time.Second)
			defer stop()
		}
		a, err := c.Ask(ctx, with(runs.PolicyPush, "track if input.a"), little)
		if want && (err != nil || !a.Track) || !want && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beside others: %v %v, want an answer: %v", a, err, want)
		}
	}
	end := occupy(t, c, little)
	decides(true)
	places = 1
	decides(false)
	if _, err := c.Try(t.Context(), with(runs.PolicyPush, "track if input.a"), little); err != nil {
		t.Errorf("trying waits for what decides: %v", err)
	}
	end()
	decides(true)
	places = 0 // somebody has to
	decides(true)
}

// Of large inputs, which need much memory, one is looked at at a time; small ones do not wait for it.
func TestCourtLooksAtOneLargeInputAtATime(t *testing.T) {
	c := court(t)
	c.beside = func() int { return 3 }
	big := json.RawMessage(`{"a":true,"b":"` + strings.Repeat("x", large) + `"}`)
	end := occupy(t, c, big)
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := c.Ask(ctx, with(runs.PolicyPush, "track if input.a"), big); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two large ones at once: %v", err)
	}
	if a, err := c.Ask(t.Context(), with(runs.PolicyPush, "track if input.a"), json.RawMessage(`{"a":true}`)); err != nil || !a.Track {
		t.Errorf("a small one beside a large one: %v %v", a, err)
	}
	end()
	if a, err := c.Ask(t.Context(), with(runs.PolicyPush, "track if input.a"), big); err != nil || !a.Track {
		t.Errorf("after the large one: %v %v", a, err)
	}
}
