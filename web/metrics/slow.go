package metrics

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"groundcrew/runs/engine"
	"groundcrew/store"
)

// What takes longer than a glance is remembered: rows for slowAge while nothing of their kind changed or, if it did, for
// busyAge, so that scraping during an outage with thousands of waiting reports costs what it costs without; folders for sizeAge.
const (
	slowAge = time.Minute
	busyAge = 5 * time.Second
	sizeAge = 15 * time.Minute
)

// slowFacts are what was last read of many rows.
type slowFacts struct {
	at     time.Time
	oldest time.Time // when the oldest waiting report was marked
	hooks  map[string]int

	newsWaiting, newsFailed int
	newsOldest              time.Time
}

// slowly gives what has to be read row by row.
func (m *Metrics) slowly(gauge gaugeFunc, tx *store.Tx) error {
	m.mu.Lock()
	facts, age := m.slow, time.Since(m.slow.at)
	fresh := age < busyAge || age < slowAge && !m.links && !m.reports && !m.news
	if !fresh {
		m.links, m.reports, m.news = false, false, false
	}
	m.mu.Unlock()
	if !fresh {
		var err error
		if facts, err = readSlow(tx); err != nil {
			return err
		}
		m.mu.Lock()
		m.slow = facts
		m.mu.Unlock()
	}
	for state, n := range facts.hooks {
		gauge(descHooks, float64(n), state)
	}
	gauge(descNews, float64(facts.newsWaiting), store.NotificationWaiting)
	gauge(descNews, float64(facts.newsFailed), store.NotificationFailed)
	gauge(descNewsAge, ageOf(facts.newsOldest, tx.Now()))
	if tx.Count("due") == 0 || facts.oldest.IsZero() {
		gauge(descOldest, 0)
	} else {
		gauge(descOldest, ageOf(facts.oldest, tx.Now()))
	}
	return nil
}

// ageOf is in seconds; of the zero time, 0.
func ageOf(at, now time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(0, now.Sub(at).Seconds())
}

var hookStates = []string{
	engine.HookOK, engine.HookMissing, engine.HookDuplicate, engine.HookEvents, engine.HookURL, engine.HookSecret, engine.HookDisabled,
	engine.HookMoving, engine.HookUnknown,
}

func readSlow(tx *store.Tx) (slowFacts, error) {
	f := slowFacts{at: time.Now(), hooks: map[string]int{}}
	for _, s := range hookStates {
		f.hooks[s] = 0
	}
	var err error
	if f.oldest, err = tx.OldestDue(); err != nil {
		return f, err
	}
	if f.newsWaiting, f.newsFailed, f.newsOldest, err = tx.WaitingNews(); err != nil {
		return f, err
	}
	hooks, err := tx.Hooks()
	for _, h := range hooks {
		f.hooks[cmp.Or(h.State, engine.HookUnknown)]++
	}
	return f, err
}

// folders are added up in the background, begun by a scrape: who is not scraped walks nowhere.
var sized = []string{"logs", "states", "sources", "work", "deliveries"}

func (m *Metrics) folders(gauge gaugeFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, n := range m.sizes {
		gauge(descFolder, float64(n), name)
	}
	if m.sizing || m.closed || !m.sizedAt.IsZero() && time.Since(m.sizedAt) < sizeAge {
		return
	}
	m.sizing = true
	m.wg.Go(m.addUp)
}

// addUp adds up the folders. What vanishes meanwhile is no trouble.
func (m *Metrics) addUp() {
	sizes := map[string]int64{}
	for _, name := range sized {
		n, err := m.size(m.o.Store.Path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.o.Log.Warn("the size of a folder is not known", "folder", name, "error", err)
			continue
		}
		sizes[name] = n
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sizes, m.sizedAt, m.sizing = sizes, time.Now(), false
}

var errClosed = errors.New("closed")

// size adds up a folder some entries at a time: a list of 100,000 of them would be most of this program's memory.
func (m *Metrics) size(dir string) (total int64, err error) {
	select {
	case <-m.done:
		return 0, errClosed
	default:
	}
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if e.IsDir() {
				n, err := m.size(filepath.Join(dir, e.Name()))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return total, err
				}
				total += n
			} else if info, err := e.Info(); err == nil {
				total += info.Size()
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
