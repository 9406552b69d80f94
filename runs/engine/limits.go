package engine

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// Workers is how many runs are at work at once.
func (e *Engine) Workers() int { return int(e.Limits().Workers) }

// Busy returns how many of the workers have a job.
func (e *Engine) Busy() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.desk.busy()
}

// StartLimits are the limits the server was started with, which hold where no setting says otherwise.
func (e *Engine) StartLimits() runs.Limits {
	l := e.o.Limits
	l.Workers = cmp.Or(int64(e.o.Workers), l.Workers)
	l.Time = cmp.Or(int64(e.o.RunTime), l.Time)
	l.Silence = cmp.Or(int64(e.o.Silence), l.Silence)
	return l
}

// Limits are the limits as they are now; a run is held to those of the moment its phase begins.
func (e *Engine) Limits() runs.Limits {
	l := e.StartLimits()
	_ = e.st.View(func(tx *store.Tx) error { l = e.limitsIn(tx); return nil }) // a closed store runs nothing
	return l
}

func (e *Engine) limitsIn(tx *store.Tx) runs.Limits {
	s, err := tx.Settings()
	if err != nil { // an unreadable setting leaves what the server was started with
		return e.StartLimits()
	}
	return e.LimitsOf(s)
}

// changedLimits are those that settings changed.
func changedLimits(s store.Settings) runs.Limits {
	l := s.Limits
	l.Workers = int64(s.Workers)
	return l
}

func (e *Engine) runTime() time.Duration { return time.Duration(e.Limits().Time) }
func (e *Engine) silence() time.Duration { return time.Duration(e.Limits().Silence) }

// ChangeLimits changes limits in settings by their names, in the words of [runs.LimitDef.Read]: "" goes back to what the
// server was started with. On an error nothing is changed. It answers what is different now, in words, "" for nothing.
func (e *Engine) ChangeLimits(s *store.Settings, changes map[string]string) (string, error) {
	l := changedLimits(*s)
	if err := readLimits(&l, changes); err != nil {
		return "", err
	}
	said := differences(changedLimits(*s).Or(e.StartLimits()), l.Or(e.StartLimits()))
	s.Workers, s.Limits = int(l.Workers), l
	s.Limits.Workers = 0
	return said, nil
}

// LimitsOf are the limits with these settings.
func (e *Engine) LimitsOf(s store.Settings) runs.Limits { return changedLimits(s).Or(e.StartLimits()) }

// readLimits puts what was written into l. A name that is none is an ErrInvalid.
func readLimits(l *runs.Limits, changes map[string]string) error {
	known := 0
	for _, d := range runs.LimitDefs() {
		text, ok := changes[d.Name]
		if !ok {
			continue
		}
		v, err := d.Read(text)
		if err != nil {
			return err
		}
		*d.At(l) = v
		known++
	}
	if known < len(changes) {
		return runs.Invalidf("", "There is no such limit. Limits are %s.", strings.Join(limitNames(), ", "))
	}
	return nil
}

func limitNames() []string {
	var out []string
	for _, d := range runs.LimitDefs() {
		out = append(out, d.Name)
	}
	return out
}

// differences says what is other in b than in a.
func differences(a, b runs.Limits) string {
	var out []string
	for _, d := range runs.LimitDefs() {
		if x, y := *d.At(&a), *d.At(&b); x != y {
			out = append(out, strings.ToLower(d.Label)+" "+d.Text(x)+" → "+d.Text(y))
		}
	}
	return strings.Join(out, ", ")
}

// SetWorkers changes how many runs are at work at once, without a restart.
func (e *Engine) SetWorkers(n int, by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		s, err := tx.Settings()
		if err != nil {
			return err
		}
		said, err := e.ChangeLimits(&s, map[string]string{"workers": strconv.Itoa(n)})
		if err != nil {
			return err
		}
		if err := tx.PutSettings(s); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "settings.change", Note: said})
	})
}
