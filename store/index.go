package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

// A Latest names the newest run of a stack and how it stands, without reading the run.
type Latest struct {
	ID    string
	State runs.State
}

// indexRun keeps true what is found without reading runs: the newest run of each stack and type, the ended runs of
// each state, the runs of each type but the most frequent one, and the counts of each hour.
func indexRun(b *bolt.Tx, old, r runs.Run) error {
	key := []byte(r.Stack + "/" + string(r.Type))
	latest := b.Bucket([]byte("latest"))
	if readLatest(latest.Get(key)).ID <= r.ID {
		if err := latest.Put(key, []byte(r.ID+" "+string(r.State))); err != nil {
			return err
		}
	}
	if old.State == runs.None && r.Type != runs.Proposed {
		if err := b.Bucket([]byte("typed")).Put([]byte(string(r.Type)+"/"+r.ID), []byte{}); err != nil {
			return err
		}
	}
	if !r.State.Terminal() || old.State.Terminal() {
		return countHour(b, r.CreatedAt, old.State == runs.None, runs.None)
	}
	if err := b.Bucket([]byte("ended")).Put([]byte(string(r.State)+"/"+r.ID), []byte{}); err != nil {
		return err
	}
	return countHour(b, r.CreatedAt, old.State == runs.None, r.State)
}

// indexProject keeps the runs of each project, with how they stand.
func indexProject(b *bolt.Tx, old, r runs.Run) error {
	if old.State == r.State {
		return nil
	}
	return b.Bucket([]byte("project_runs")).Put([]byte(num(r.Project)+"/"+r.ID), []byte(r.State))
}

func readLatest(raw []byte) Latest {
	id, state, _ := strings.Cut(string(raw), " ")
	return Latest{id, runs.State(state)}
}

// Latest returns the newest run of the stack among the types (none given: of any type), without reading it.
func (tx *Tx) Latest(stack string, types ...runs.Type) (Latest, bool) {
	if len(types) == 0 {
		types = runs.Types
	}
	var newest Latest
	b := tx.b.Bucket([]byte("latest"))
	for _, t := range types {
		if l := readLatest(b.Get([]byte(stack + "/" + string(t)))); l.ID > newest.ID {
			newest = l
		}
	}
	return newest, newest.ID != ""
}

// EachLatestIn visits by slug every stack whose newest run among the types is in the state, with the id of that run, without
// reading runs. Deleted stacks are visited too.
func (tx *Tx) EachLatestIn(state runs.State, types []runs.Type, fn func(slug, id string)) {
	var slug, newest []byte // made strings only for fn: there may be ten thousand stacks, each with rows of several types
	done := func() {
		if id, ok := bytes.CutSuffix(newest, []byte(" "+string(state))); ok {
			fn(string(slug), string(id))
		}
	}
	c := tx.b.Bucket([]byte("latest")).Cursor()
	for k, raw := c.First(); k != nil; k, raw = c.Next() {
		of, t, _ := bytes.Cut(k, []byte("/"))
		if !bytes.Equal(of, slug) {
			done()
			slug, newest = of, nil
		}
		if slices.Contains(types, runs.Type(t)) && bytes.Compare(raw, newest) > 0 { // rows begin with the id
			newest = raw
		}
	}
	done()
}

// LatestRun returns the newest run of the stack among the types (none given: of any type), if it has one.
func (tx *Tx) LatestRun(stack string, types ...runs.Type) (runs.Run, bool, error) {
	l, ok := tx.Latest(stack, types...)
	if !ok {
		return runs.Run{}, false, nil
	}
	return tx.findRun(l.ID)
}

// An Hour counts the runs that began in one hour, by how they ended.
type Hour struct {
	Begun     int `json:"begun"`
	Finished  int `json:"finished,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Discarded int `json:"discarded,omitempty"`
	Other     int `json:"other,omitempty"` // stopped, canceled, skipped
}

// hourKey sorts by time.
func hourKey(t time.Time) []byte { return []byte(t.UTC().Format("2006010215")) }

func countHour(b *bolt.Tx, at time.Time, begun bool, ended runs.State) error {
	if !begun && ended == runs.None {
		return nil
	}
	hours := b.Bucket([]byte("hours"))
	var h Hour
	if raw := hours.Get(hourKey(at)); raw != nil {
		if err := json.Unmarshal(raw, &h); err != nil {
			return fmt.Errorf("row hours/%s is damaged: %w", hourKey(at), err)
		}
	}
	if begun {
		h.Begun++
	}
	h.ended(ended)
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return hours.Put(hourKey(at), raw)
}

// Hours returns the counts of n hours, the last of which is the present one; one without runs is zero.
func (tx *Tx) Hours(n int) ([]Hour, error) {
	out := make([]Hour, n)
	for i := range out {
		at := tx.now.Add(time.Duration(i-n+1) * time.Hour)
		if _, err := get(tx, "hours", string(hourKey(at)), &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AnyRun reports whether there is a run at all, of the projects or (nil) of any.
func (tx *Tx) AnyRun(projects []int64) bool {
	sources := (RunFilter{}).sources()
	if projects != nil {
		sources = projectSources(projects)
	}
	return slices.ContainsFunc(sources, func(src source) bool {
		k, _ := tx.b.Bucket([]byte(src.bucket)).Cursor().Seek([]byte(src.prefix))
		return k != nil && hasPrefix(k, src.prefix)
	})
}

// HoursOf counts as [Tx.Hours] does, the runs of projects alone, and reads atMost of them, the newest.
func (tx *Tx) HoursOf(n int, projects []int64, atMost int) ([]Hour, error) {
	out := make([]Hour, n)
	first := tx.now.Truncate(time.Hour).Add(-time.Duration(n-1) * time.Hour)
	m := tx.merge(projectSources(projects), "")
	for ; atMost > 0 && m.id() >= idAt(first); atMost-- {
		at, err := ulid.ParseStrict(m.id())
		if err != nil {
			return nil, fmt.Errorf("row project_runs/%s is damaged: %w", m.id(), err)
		}
		i := min(int(at.Timestamp().Sub(first)/time.Hour), n-1) // a clock that was set back
		out[i].Begun++
		out[i].ended(runs.State(m.value()))
		m.next()
	}
	return out, nil
}

// ended counts a run that ended in the state.
func (h *Hour) ended(in runs.State) {
	switch {
	case in == runs.Finished:
		h.Finished++
	case in == runs.Failed:
		h.Failed++
	case in == runs.Discarded:
		h.Discarded++
	case in.Terminal():
		h.Other++
	}
}

// A source is a row of keys that hold ids of runs, newest last.
type source struct{ bucket, prefix string }

// sources are where runs that meet the filter are found, with as few others as can be.
func (f RunFilter) sources() []source {
	switch {
	case f.MergeRequest != 0 && f.Project != 0:
		return []source{{"mr_runs", mrKey(f.Project, f.MergeRequest) + "/"}}
	case len(f.States) > 0 && !slices.ContainsFunc(f.States, runs.State.Terminal): // few, however many ended after them
		return stateSources(f.States)
	case f.Stack != "":
		return []source{{"stack_runs", f.Stack + "/"}}
	case f.Projects != nil && len(f.Projects) <= manyProjects:
		return projectSources(f.Projects)
	case len(f.States) > 0:
		return stateSources(f.States)
	case len(f.Types) > 0 && !slices.Contains(f.Types, runs.Proposed):
		var out []source
		for _, t := range f.Types {
			out = append(out, source{"typed", string(t) + "/"})
		}
		return out
	default:
		return []source{{"runs", ""}}
	}
}

// manyProjects is for how many projects their own rows are looked up; among the runs of more the page is soon full.
const manyProjects = 2000

func projectSources(projects []int64) []source {
	out := make([]source, 0, len(projects))
	for _, p := range projects {
		out = append(out, source{"project_runs", num(p) + "/"})
	}
	return out
}

func stateSources(states []runs.State) []source {
	var out []source
	active := false
	for _, s := range states {
		if s.Terminal() {
			out = append(out, source{"ended", string(s) + "/"})
		} else {
			active = true
		}
	}
	if active {
		out = append(out, source{"active", ""})
	}
	return out
}

// Runs lists runs newest first, at most limit of them, beginning below the cursor (the next of the page before, "" for
// the first page). next is "" on the last page. With AtMost a page may have less than limit and still a next.
func (tx *Tx) Runs(f RunFilter, cursor string, limit int) (page []runs.Run, next string, err error) {
	sieve, rows := newSieve(f), tx.b.Bucket([]byte("runs"))
	m := tx.merge(f.sources(), cursor)
	for looked := 1; f.reaches(m.id()); looked++ {
		id := m.id()
		raw := rows.Get([]byte(id))
		if raw == nil {
			return nil, "", notFound("run", id)
		}
		if sieve.passes(raw) {
			var r runs.Run
			if err := json.Unmarshal(raw, &r); err != nil {
				return nil, "", fmt.Errorf("row runs/%s is damaged: %w", id, err)
			}
			if f.match(r) {
				if len(page) == limit {
					return page, page[limit-1].ID, nil
				}
				page = append(page, r)
			}
		}
		if looked == f.AtMost {
			return page, id, nil
		}
		m.next()
	}
	return page, "", nil
}

// reaches reports whether runs as old as this id may be meant; ids sort by time. There is no run "".
func (f RunFilter) reaches(id string) bool {
	return id != "" && (f.Since.IsZero() || id >= idAt(f.Since))
}
