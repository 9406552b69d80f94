package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/runs/proc"
	"groundcrew/runs/tofu"
	"groundcrew/store"
)

// A finding is one line of the doctor: what was looked at, how it is, and what to do.
type finding struct {
	mark, what, text string
}

const (
	good    = "ok"
	warning = "warn"
	bad     = "fail"
)

// A doctor looks at everything a server with these settings needs and changes nothing of it.
type doctor struct {
	c     config
	dir   string // data folder, absolute
	found []finding
}

func (d *doctor) say(mark, what, format string, args ...any) {
	d.found = append(d.found, finding{mark, what, fmt.Sprintf(format, args...)})
}

// examine prints the findings. It fails when one of them keeps the server from its work.
func examine(ctx context.Context, c config, stdout io.Writer) error {
	dir, err := filepath.Abs(c.dataDir)
	if err != nil {
		return err
	}
	d := &doctor{c: c, dir: dir}
	d.folder()
	d.secrecy()
	running := d.running(ctx)
	d.tools(ctx)
	d.isolation()
	d.clock()
	if running {
		d.say(good, "GitLab", "not asked: the running server shows its connection under Settings › VCS providers")
	} else {
		d.data(ctx)
	}
	failed := 0
	for _, f := range d.found {
		fmt.Fprintf(stdout, "%-4s  %-12s %s\n", f.mark, f.what, f.text)
		if f.mark == bad {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(d.found))
	}
	return nil
}

// folder looks whether the data folder, or where it will be made, can be written and has room.
func (d *doctor) folder() {
	dir := d.dir
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			d.say(bad, "data folder", "%s is no folder; choose another with --data-dir", dir)
			return
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			d.say(bad, "data folder", "%v", err)
			return
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	switch {
	case err != nil:
		d.say(bad, "data folder", "%s can't be written by this user (%d): %v", dir, os.Geteuid(), err)
	case dir != d.dir:
		d.say(good, "data folder", "%s is not there yet; the first start makes it", d.dir)
	default:
		d.say(good, "data folder", "%s can be written", d.dir)
	}
	d.room(dir)
}

// room looks whether the disk of a folder has room for runs. A limit that was changed in the settings is not known here.
func (d *doctor) room(dir string) {
	free, err := store.Free(dir)
	if err != nil {
		d.say(bad, "disk", "%v", err)
		return
	}
	switch r := (runs.Room{Free: free, Least: d.c.limits.minFree}); {
	case r.Short():
		d.say(bad, "disk", "%s", r.Words())
	case r.Little():
		d.say(warning, "disk", "%s", r.Words())
	default:
		d.say(good, "disk", "%s free for states, plans, logs and workspaces", runs.RoughSize(free))
	}
}

// secrecy looks whether others of this machine could read what they must not.
func (d *doctor) secrecy() {
	for _, one := range [][2]string{{"master key", keyFile(d.c)}, {"database", filepath.Join(d.dir, "groundcrew.db")}} {
		what, path := one[0], one[1]
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.say(good, what, "%s is not there yet; the first start makes it", path)
		case err != nil:
			d.say(bad, what, "%v", err)
		case info.Mode().Perm()&0o077 != 0:
			d.say(bad, what, "others may read or write %s (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
		default:
			d.say(good, what, "%s is this user's alone", path)
		}
	}
	if info, err := os.Stat(d.dir); err == nil && info.Mode().Perm()&0o022 != 0 {
		d.say(bad, "data folder", "others may write %s (mode %04o): chmod go-w %s", d.dir, info.Mode().Perm(), d.dir)
	}
}

// running reports whether a server has the data folder, and says how it does.
func (d *doctor) running(ctx context.Context) bool {
	f, err := os.Open(filepath.Join(d.dir, "groundcrew.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		d.say(bad, "database", "%v", err)
		return false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return false // the lock, if it was given, goes with the file
	}
	if err := ask(ctx, d.c, "/readyz"); err != nil {
		d.say(bad, "server", "one has this data folder, but does not say on %s that it is ready: %v (was it started with another --listen?)", d.c.listen, err)
		return true
	}
	d.say(good, "server", "runs on %s and is ready", d.c.listen)
	return true
}

func (d *doctor) tools(ctx context.Context) {
	list, err := (&tofu.Prober{}).Probe(ctx, []string{filepath.Join(d.dir, "bin")}, d.c.toolPath)
	if err != nil {
		d.say(bad, "tools", "%v", err)
		return
	}
	usable := 0
	for _, b := range list {
		if b.Problem != "" {
			d.say(warning, "tools", "%s", b.Problem)
			continue
		}
		usable++
		d.say(good, "tools", "%s %s at %s", b.Tool, b.Version, b.Path)
	}
	if usable == 0 {
		d.say(bad, "tools", "neither tofu nor terraform is in %s or on the PATH; only custom stacks can run", filepath.Join(d.dir, "bin"))
	}
	d.say(good, "source", "commits are fetched without a git program")
}

// isolation says what runs will be kept apart with.
func (d *doctor) isolation() {
	a, err := d.c.limits.account()
	if err != nil {
		d.say(bad, "run user", "%v", err)
		return
	}
	switch {
	case a.fixed != nil:
		d.say(good, "run user", "runs are executed as user %d", a.fixed.UID)
	case a.each:
		d.say(good, "run user", "each run is executed as a user of its own (%d to %d)", a.first, a.first+runUsers-1)
	default:
		d.say(good, "run user", "runs are executed as user %d, as the server is; --run-processes counts everything of that user", os.Geteuid())
	}
	if _, err := os.Stat(d.dir); err == nil && a.own() {
		if err := a.of("any").Enterable(filepath.Dir(d.dir)); err != nil {
			d.say(bad, "run user", "%v", err)
		}
	}
	lacks := proc.Isolation(a.own())
	for _, l := range lacks {
		d.say(warning, "isolation", "%s", l)
	}
	if len(lacks) == 0 {
		d.say(good, "isolation", "this kernel gives everything a run is kept apart with")
	}
	if proc.CanLimitPorts() == nil && len(d.c.limits.ports) == 0 {
		d.say(good, "network", "runs may connect to all TCP ports; --run-ports narrows that")
	}
}

// clock looks for a clock that was never set: tokens, sessions and TLS need one.
func (d *doctor) clock() {
	now := time.Now()
	if now.Year() < 2026 {
		d.say(bad, "clock", "it is %s by this machine's clock; set it", now.Format(time.RFC3339))
		return
	}
	d.say(good, "clock", "%s", now.Format(time.RFC3339))
}

// data opens a copy of the database, because a newer binary would change the original, and asks GitLab with the
// token in it.
func (d *doctor) data(ctx context.Context) {
	if _, err := os.Stat(filepath.Join(d.dir, "groundcrew.db")); err != nil {
		return // said already
	}
	if _, err := os.Stat(keyFile(d.c)); err != nil {
		d.say(bad, "master key", "the data is sealed with a key that is not there: %v", err)
		return
	}
	dir, err := os.MkdirTemp("", "groundcrew-doctor-")
	if err != nil {
		d.say(bad, "database", "no copy could be made to look into: %v", err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left of a copy in the temporary folder harms nobody
	if err := copyTo(filepath.Join(d.dir, "groundcrew.db"), filepath.Join(dir, "groundcrew.db")); err != nil {
		d.say(bad, "database", "no copy could be made to look into: %v", err)
		return
	}
	st, err := store.Open(store.Options{Dir: dir, MasterKeyFile: keyFile(d.c)})
	if err != nil {
		d.say(bad, "database", "%v", err)
		return
	}
	defer func() { _ = st.Close() }()
	if err := st.Check(); err != nil {
		d.say(bad, "database", "%v", err)
		return
	}
	d.say(good, "database", "whole, of this version or an older one, and the master key fits")
	d.gitLab(ctx, st)
}

func copyTo(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// gitLab makes the checks of the settings page.
func (d *doctor) gitLab(ctx context.Context, st *store.Store) {
	linked := false
	err := st.View(func(tx *store.Tx) error {
		in, ok, err := tx.Integration()
		linked = ok && in.Linked
		return err
	})
	if err != nil || !linked {
		d.say(warning, "GitLab", "not set up yet: Settings › VCS providers")
		return
	}
	source, err := gitlab.NewSource(st.Path("sources"))
	if err != nil {
		d.say(bad, "GitLab", "%v", err)
		return
	}
	e, err := engine.New(engine.Options{Store: st, Source: source, Runner: runner{}, Log: slog.New(slog.DiscardHandler), Version: version})
	if err != nil {
		d.say(bad, "GitLab", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	checks, err := e.TestIntegration(ctx)
	for _, c := range checks {
		mark := good
		if !c.OK {
			mark = bad
		}
		d.say(mark, "GitLab", "%s: %s", c.Name, c.Message)
	}
	if err != nil && len(checks) == 0 {
		d.say(bad, "GitLab", "%v", err)
	}
}
