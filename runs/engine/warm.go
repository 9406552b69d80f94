package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// A larder keeps what init made, for runs with the same recipe (see [tofu.Recipe]):
//
//	warm/entries/<recipe>.json   an entry
//	warm/packages/<digest>/      a provider, named by its content, never written again
//	warm/new/<run>/              the copy a shim made of what a run's init left, until it is taken in
//
// No run can put anything there: nothing of warm is ever among the folders that a run may write. Only tracked runs of the
// tracked branch are kept from, and what is kept is the copy that their shim made after init and before any code of
// the run was executed. A recipe names the stack, so that no stack ever gets what was made for another. A file
// appears by rename, and a package before the entry that names it. All of it may be deleted at any time.
//
// Where runs are executed as the server's own user, Landlock keeps them from writing, but not from chmod: one can make a
// package unreadable, which leads to inits in full and to a package anew, and to nothing worse.
type larder struct {
	st  *store.Store
	max uint64     // bytes of packages
	mu  sync.Mutex // guards the folder; a run's own copy of its entry is written under it too, so that tidying sees it
}

// An entry is what one run's init made.
type entry struct {
	Run  string    `json:"run"`
	At   time.Time `json:"at"`
	Made tofu.Made `json:"made"`
}

// A note lies in the folder of a run, out of its reach: what takes the place of its init, and what is to be kept of it.
type note struct {
	Recipe string `json:"recipe"`
	Lock   []byte `json:"lock,omitempty"`   // the lock file of the commit, nil = none
	Reused *entry `json:"reused,omitempty"` // what was laid out; nil = init is run
}

func (l *larder) path(parts ...string) string {
	return l.st.Path(append([]string{"warm"}, parts...)...)
}
func (l *larder) entry(recipe string) string { return l.path("entries", recipe+".json") }
func (l *larder) copyOf(run string) string   { return l.path("new", run) }

// noteOf reads a run's note; the zero one when there is none.
func (l *larder) noteOf(s space) note {
	var n note
	raw, err := os.ReadFile(s.note())
	if err != nil || json.Unmarshal(raw, &n) != nil {
		return note{}
	}
	return n
}

func (s space) note() string { return filepath.Join(s.dir, "init.json") }

// find takes down in the run's folder what is known of its init, with the entry that fits when there is one.
func (l *larder) find(s space, n note, fits func(tofu.Made) bool) (note, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e entry
	raw, err := os.ReadFile(l.entry(n.Recipe))
	if err == nil && json.Unmarshal(raw, &e) == nil && fits(e.Made) {
		n.Reused = &e
		now := time.Now()
		_ = os.Chtimes(l.entry(n.Recipe), now, now) // when it was last of use; without it, it goes earlier
	}
	raw, err = json.Marshal(n)
	if err != nil {
		return n, err
	}
	return n, os.WriteFile(s.note(), raw, 0o600)
}

// drop forgets an entry that did not fit.
func (l *larder) drop(recipe string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return os.RemoveAll(l.entry(recipe))
}

// add takes in the copy of what a run's init left.
func (l *larder) add(recipe string, e entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.MkdirAll(l.path("packages"), 0o711); err != nil {
		return err
	}
	for name, at := range e.Made.Packages {
		if !strings.HasPrefix(at, l.path("new")+string(filepath.Separator)) {
			continue // it stays where it is: in the mirror
		}
		to, err := l.shelve(at)
		if err != nil {
			return err
		}
		e.Made.Packages[name] = to
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.path("entries"), 0o700); err != nil {
		return err
	}
	return l.st.WriteFile(raw, "warm", "entries", recipe+".json")
}

// shelve moves a package to where its content belongs, unless it is there already.
func (l *larder) shelve(dir string) (string, error) {
	digest, err := seal(dir)
	if err != nil {
		return "", err
	}
	to := l.path("packages", digest)
	if is, err := seal(to); err == nil && is == digest {
		return to, nil
	}
	return to, errors.Join(os.RemoveAll(to), os.Rename(dir, to)) // what was there had been changed
}

// seal makes a folder one that is only read, brings it to the disk, and digests it.
func seal(dir string) (string, error) {
	h := sha256.New()
	var folders []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			folders = append(folders, path)
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s of a package is a %s", rel, d.Type())
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o444)
		if info.Mode()&0o111 != 0 {
			mode = 0o555
		}
		fmt.Fprintf(h, "%q %o %d\n", rel, mode, info.Size())
		_, err = io.Copy(h, f)
		return errors.Join(err, f.Chmod(mode), f.Sync())
	})
	for _, f := range folders {
		err = errors.Join(err, os.Chmod(f, 0o755)) // writable by the server alone, which has to remove it some day
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// unusedFor is how long an entry is kept without being of use.
const unusedFor = 30 * 24 * time.Hour

// tidy removes entries that were of no use for long or too many, packages that neither an entry nor a workspace names, and
// copies of runs that are not among the living.
func (l *larder) tidy(living []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, err := l.entries()
	if err != nil {
		return err
	}
	inUse := map[string]bool{}
	for _, run := range living {
		if n := l.noteOf(space{dir: l.st.Path("work", run)}); n.Reused != nil {
			for _, at := range n.Reused.Made.Packages {
				inUse[at] = true
			}
		}
	}
	var total uint64
	sizes := map[string]uint64{}
	for _, e := range list { // the one used last comes first
		var more uint64
		for _, at := range e.packages {
			if _, counted := sizes[at]; !counted {
				sizes[at] = treeSize(at)
				more += sizes[at]
			}
		}
		if time.Since(e.used) > unusedFor || total+more > l.max {
			err = errors.Join(err, os.Remove(e.path))
			for _, at := range e.packages {
				if !inUse[at] {
					delete(sizes, at)
				}
			}
			continue
		}
		total += more
		for _, at := range e.packages {
			inUse[at] = true
		}
	}
	return errors.Join(err, l.removeBut("packages", func(name string) bool { return inUse[l.path("packages", name)] }),
		l.removeBut("new", func(name string) bool { return slices.Contains(living, strings.TrimSuffix(name, ".tmp")) }))
}

// A kept is an entry as tidying sees it.
type kept struct {
	path     string
	used     time.Time
	packages []string // those that lie here
}

// entries lists the entries, the one used last first. One that can't be read is as if it had never been used.
func (l *larder) entries() ([]kept, error) {
	files, err := os.ReadDir(l.path("entries"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []kept
	for _, f := range files {
		k := kept{path: l.path("entries", f.Name())}
		var e entry
		raw, readErr := os.ReadFile(k.path)
		info, statErr := f.Info()
		if readErr == nil && statErr == nil && json.Unmarshal(raw, &e) == nil {
			k.used = info.ModTime()
		}
		for _, at := range e.Made.Packages {
			if filepath.Dir(at) == l.path("packages") {
				k.packages = append(k.packages, at)
			}
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b kept) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.path, b.path)) })
	return list, err
}

// removeBut removes what lies in a folder of warm and is not to be kept.
func (l *larder) removeBut(folder string, keep func(name string) bool) error {
	names, err := os.ReadDir(l.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, n := range names {
		if !keep(n.Name()) {
			err = errors.Join(err, os.RemoveAll(l.path(folder, n.Name())))
		}
	}
	return err
}

// treeSize is what a folder takes; what can't be seen takes nothing.
func treeSize(dir string) (n uint64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += uint64(info.Size())
		}
		return nil
	})
	return n
}

// warm lays out, in the place of init, what an earlier run's init made of the same, and says which run that was; "" when
// init is to be run. The log says why where it must be.
func (t *task) warm(w *tofu.Work, state []byte, log io.Writer) (from string, err error) {
	if t.e.o.InitCache == 0 || t.job.Phase != runs.PhasePlan || t.run.Type == runs.Test {
		return "", nil
	}
	recipe, err := tofu.Recipe(*w, t.vars)
	if err != nil {
		fmt.Fprintf(log, "Init is run in full, because %s\n", t.hide.String(err.Error()))
		return "", t.space.unnoted()
	}
	lock, err := w.LockFile()
	if err != nil {
		return "", err
	}
	fits := func(m tofu.Made) bool { return !t.run.Afresh && m.Whole() == nil && m.Covers(state) }
	n, err := t.e.larder.find(t.space, note{Recipe: recipe, Lock: lock}, fits)
	if err != nil {
		return "", err
	}
	if n.Reused == nil {
		if t.keeps() {
			w.KeepInit = t.e.larder.copyOf(t.run.ID)
			return "", errors.Join(os.MkdirAll(filepath.Dir(w.KeepInit), 0o700), os.RemoveAll(w.KeepInit))
		}
		return "", nil
	}
	w.Made = &n.Reused.Made
	if err := n.Reused.Made.LayOut(*w); err != nil {
		return "", err
	}
	return n.Reused.Run, t.sayReused(*n.Reused)
}

// unnoted removes the note of an earlier attempt.
func (s space) unnoted() error {
	if err := os.Remove(s.note()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keeps reports whether what this run's init makes may serve others: code of the tracked branch alone has been accepted.
func (t *task) keeps() bool {
	return t.run.Type == runs.Tracked && t.run.Branch == t.stack.Branch && t.run.MR == nil
}

func (t *task) sayReused(e entry) error {
	return t.sayInit(fmt.Sprintf("Reused what the init of run %s made at %s: code that init reads, lock file, tool and mirror are the same.", e.Run, e.At.UTC().Format("2006-01-02 15:04 MST")))
}

// sayInit adds a line to the log of the run's init.
func (t *task) sayInit(line string) error {
	log, err := t.openLog(runs.Initializing)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(log, line)
	return errors.Join(err, log.Close())
}

// again lays out what takes the place of init for the apply of a plan that was made so: it must be there still. When it is
// not, init is run once more; the saved plan holds which providers it was made with, and the tool takes no others.
func (t *task) again(w *tofu.Work) error {
	if t.run.Reused == "" {
		return nil
	}
	n := t.e.larder.noteOf(t.space)
	if n.Reused != nil && n.Reused.Made.Whole() == nil {
		w.Made = &n.Reused.Made
		return nil
	}
	w.InitAgain = true
	return errors.Join(w.ClearInit(), t.sayInit("What the plan reused of an earlier init is gone, so init is run before the apply."))
}

// takeIn keeps what the run's init made. That it can't be kept is no failure: the next init is run in full.
func (t *task) takeIn() {
	copied := t.e.larder.copyOf(t.run.ID)
	if _, err := os.Stat(copied); err != nil {
		return
	}
	err := func() error {
		n := t.e.larder.noteOf(t.space)
		if n.Recipe == "" || n.Reused != nil || !t.keeps() {
			return errors.New("nobody asked for it")
		}
		made, err := tofu.ReadMade(t.toolWork(tofu.Binary{}), copied, n.Lock)
		if err != nil {
			return err
		}
		return errors.Join(t.e.larder.add(n.Recipe, entry{Run: t.run.ID, At: t.e.now(), Made: made}), t.e.tidyWarm())
	}()
	if err != nil {
		t.e.log.Info("what init made is not kept", "run", t.run.ID, "stack", t.stack.Slug, "reason", err)
	}
	if err := os.RemoveAll(copied); err != nil {
		t.e.log.Error("the copy of what init made could not be removed", "run", t.run.ID, "error", err)
	}
}

// stale ends an attempt to which init was not run, and whose error init may mend: the run begins again, once, with an init
// of its own.
//
// A run that does not keep anything can't remove anything either: what it printed may be said by its code.
func (t *task) stale() (runs.Run, error) {
	if t.keeps() {
		if err := t.e.larder.drop(t.e.larder.noteOf(t.space).Recipe); err != nil {
			return t.run, err
		}
	}
	return t.close(func(m runs.Meta) runs.Event { return runs.Stale{Meta: m} }, "what was reused of an earlier init does not fit any more, so the run starts again with an init of its own")
}

// tidyWarm tidies the larder.
func (e *Engine) tidyWarm() error {
	dirs, err := os.ReadDir(e.st.Path("work"))
	if err != nil {
		return err
	}
	var living []string
	for _, d := range dirs {
		living = append(living, d.Name())
	}
	return e.larder.tidy(living)
}
