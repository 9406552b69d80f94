package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// patience is how long a delivery waits for GitLab to say which files changed before all stacks of the
// project are taken to be concerned: when in doubt, concerned.
const patience = 10 * time.Minute

// process brings one delivery to its verdict, or returns how long to wait before it is tried again.
func (e *Engine) process(ctx context.Context, id string) (time.Duration, error) {
	d, hook, err := e.open(id)
	v := verdict{delivery: d}
	switch {
	case errors.Is(err, errNotUnderstood):
		return 0, e.judge(v, store.DeliveryFailed, err.Error())
	case errors.Is(err, runs.ErrNotFound):
		return 0, e.bodyGone(v)
	case err != nil:
		return 0, err
	case d.State != store.DeliveryWaiting:
		return 0, nil // its verdict came while it was chosen
	}
	v.delivery.Project, v.delivery.ProjectID = hook.ProjectPath, hook.ProjectID
	if d.Signed {
		if err := e.heardSigned(hook.ProjectID); err != nil {
			return 0, err
		}
	}
	if d.Echo && d.Attempts == 0 {
		return 0, e.judge(v, store.DeliveryDone, "test: it arrived; a test starts nothing")
	}
	e.learn(ctx, hook)
	err = e.react(ctx, &v, hook)
	if err == nil {
		return 0, nil
	}
	if errors.Is(err, store.ErrNotStored) {
		e.log.Error("delivery could not be processed and is tried again", "delivery", d.ID, "error", err)
		return e.wait(d), nil
	}
	kind := gitlab.KindOf(err)
	if hook.Note != nil && forGood(err) {
		return 0, e.judge(v, store.DeliveryDone, "refused: "+message(err))
	}
	if kind != "" && e.now().Sub(d.Asked()) < patienceFor(hook) {
		return e.wait(d), nil
	}
	e.log.Error("delivery could not be processed", "delivery", d.ID, "error", err)
	return 0, e.judge(v, store.DeliveryFailed, "failed: "+message(err))
}

// patienceFor is how long a delivery waits for GitLab: a command that nobody can vouch for is not carried out. What GitLab
// refuses for good is not waited for (see [forGood]).
func patienceFor(h gitlab.Hook) time.Duration {
	if h.Note != nil {
		return commandPatience
	}
	return patience
}

// forGood reports whether GitLab would say the same again however long a command waits. It waits for GitLab that is away, for
// another token, and for a project to be seen again, which a bot that lost its role does not see.
func forGood(err error) bool {
	switch kind := gitlab.KindOf(err); {
	case kind == "", kind.Temporary(), away(kind):
		return false
	default:
		return kind != gitlab.KindNotFound || gitlab.Absent(err)
	}
}

// bodyGone gives its verdict to a delivery whose body is lost, unless the delivery is gone with it.
func (e *Engine) bodyGone(v verdict) error {
	if v.delivery.ID == "" {
		return nil
	}
	return e.judge(v, store.DeliveryFailed, "failed: its body is not kept any more. Send it again from GitLab")
}

// wait is the pause before a delivery that needs GitLab is tried again: a tenth of the time since that was asked for.
func (e *Engine) wait(d store.Delivery) time.Duration {
	return min(max(e.now().Sub(d.Asked())/10, time.Second), 30*time.Second)
}

func header(h map[string]string) http.Header {
	out := http.Header{}
	for k, v := range h {
		out.Set(k, v)
	}
	return out
}

// A verdict is what is said of a delivery, gathered while it is processed.
type verdict struct {
	delivery store.Delivery
	about    string // what was asked for and by whom, where somebody asked
	lines    []string
	runs     []runs.Run
}

func (v *verdict) say(format string, args ...any) {
	v.lines = append(v.lines, fmt.Sprintf(format, args...))
}

// trigger is what asked for the runs of the delivery.
func (v *verdict) trigger() runs.Trigger {
	if v.delivery.Made {
		return runs.ByComparison
	}
	return runs.ByWebhook
}

// note is what a run's first transition says beside what started it.
func (v *verdict) note(text string) string {
	if !v.delivery.Made {
		return text
	}
	if text != "" {
		text += ", "
	}
	return text + "missed by the hook, found by comparison"
}

// text is the verdict in one line.
func (v *verdict) text() string {
	var parts []string
	if v.delivery.Made {
		parts = append(parts, "GitLab did not deliver this; it was found by comparing ("+v.delivery.Headers["What"]+")")
	}
	if n := len(v.runs); n > 0 {
		parts = append(parts, fmt.Sprintf("started %d %s", n, plural(n, "run")))
	}
	text := strings.Join(append(parts, v.lines...), "; ")
	if v.about != "" {
		return v.about + ": " + text
	}
	return text
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// judge stores the verdict of a delivery that led to nothing.
func (e *Engine) judge(v verdict, state, text string) error {
	return e.st.Batch(func(tx *store.Tx) error {
		v.lines = []string{text}
		return v.store(tx, state)
	})
}

// store writes the verdict in the transaction that did what it says.
func (v *verdict) store(tx *store.Tx, state string) error {
	d := v.delivery
	d.State, d.Verdict, d.Attempts = state, v.text(), d.Attempts+1
	d.Runs = nil
	for _, r := range v.runs {
		d.Runs = append(d.Runs, r.ID)
	}
	return tx.PutDelivery(d)
}

// react does what an event asks for. Errors of package gitlab mean that GitLab could not be asked.
func (e *Engine) react(ctx context.Context, v *verdict, h gitlab.Hook) error {
	used := false
	err := e.st.View(func(tx *store.Tx) error {
		sources, err := tx.SourcesOf(h.ProjectID)
		used = len(sources) > 0
		return err
	})
	switch {
	case err != nil:
		return err
	case !used:
		return e.judge(*v, store.DeliveryDone, "ignored: no stack or module uses this project")
	case h.Push != nil && h.Kind == gitlab.HookPush:
		return e.reactPush(ctx, v, h)
	case h.Push != nil && h.Kind == gitlab.HookTagPush:
		return e.reactTag(ctx, v, h)
	case h.MR != nil:
		return e.reactMergeRequest(ctx, v, h)
	case h.Note != nil:
		return e.reactNote(ctx, v, h)
	default:
		return e.judge(*v, store.DeliveryDone, fmt.Sprintf("ignored: a “%s” event starts nothing", orWord(h.EventName, "unknown")))
	}
}

func orWord(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Replay processes a delivery again, as if it had just come.
func (e *Engine) Replay(id, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		d, err := tx.Delivery(id)
		if err != nil {
			return err
		}
		if d.State == store.DeliveryRefused {
			return runs.Conflictf("The delivery was refused, so its body was not kept. Send it again from GitLab.")
		}
		if _, err := tx.DeliveryBody(d); errors.Is(err, runs.ErrNotFound) {
			return runs.Conflictf("The body of this delivery is not kept any more.")
		} else if err != nil {
			return err
		}
		d.State, d.ReplayedAt = store.DeliveryWaiting, tx.Now()
		if err := tx.PutDelivery(d); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "delivery.replay", Target: id})
	})
}
