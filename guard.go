package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"groundcrew/runs/proc"
	"groundcrew/web"
)

// A guard answers no request that comes from a run, but for modules: a run executes what somebody pushed, on the machine where
// much is trusted that comes from the machine itself. The network can't keep it away, because Landlock knows
// ports and not hosts, and the port may be one that runs need elsewhere.
//
// Finding out who holds the other end of a connection costs milliseconds, so nobody is asked while no job is at work.
type guard struct {
	account account
	atWork  *atomic.Int64 // jobs of this server
	settled time.Time     // when the jobs of the server before have been found again, surely
	logs    string        // folder of the runs' logs
	log     *slog.Logger
	told    sync.Map // job folders whose log says so already
}

type originKey struct{}

// connContext remembers a connection, to be looked at when its first request comes.
func (g *guard) connContext(ctx context.Context, c net.Conn) context.Context {
	local, remote := c.LocalAddr(), c.RemoteAddr()
	return context.WithValue(ctx, originKey{}, sync.OnceValue(func() proc.Caller {
		if g.atWork.Load() == 0 && time.Now().After(g.settled) {
			return proc.Caller{}
		}
		from, errFrom := netip.ParseAddrPort(remote.String())
		to, errTo := netip.ParseAddrPort(local.String())
		if errFrom != nil || errTo != nil {
			return proc.Caller{}
		}
		caller, err := proc.CallerOf(to, from, g.account.includes, g.account.own())
		if err != nil {
			g.log.Error("it can't be told whether a request comes from a run; it is refused", "from", remote, "error", err)
			return proc.Caller{Job: true}
		}
		return caller
	}))
}

// wrap refuses the requests of runs, but for the addresses where they get modules: there their own token decides.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := r.Context().Value(originKey{}).(func() proc.Caller)
		if !ok || !caller().Job {
			next.ServeHTTP(w, r)
			return
		}
		if web.ForRuns(r) {
			run := ""
			if dir := caller().Dir; dir != "" {
				run = filepath.Base(filepath.Dir(dir))
			}
			next.ServeHTTP(w, r.WithContext(web.FromRun(r.Context(), run)))
			return
		}
		g.log.Warn("a run dialed this server and was refused", "from", r.RemoteAddr, "job", caller().Dir)
		g.tell(caller().Dir)
		http.Error(w, "Groundcrew does not answer its own runs.", http.StatusForbidden)
	})
}

// tell says in the log of a run, once for each of its jobs, that it was refused.
func (g *guard) tell(dir string) {
	if dir == "" {
		return
	}
	if _, told := g.told.LoadOrStore(dir, true); told {
		return
	}
	path, err := newest(filepath.Join(g.logs, filepath.Base(filepath.Dir(dir)), "*.log"))
	if err == nil {
		err = appendLine(path, "\x1b[33mBlocked: a process of this run dialed Groundcrew itself. Runs get no answer from it.\x1b[0m")
	}
	if err != nil {
		g.log.Error("the log of a run can't say that it was refused", "job", dir, "error", err)
	}
}

// newest is the file of a pattern that was written last.
func newest(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	var path string
	var last os.FileInfo
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && (last == nil || info.ModTime().After(last.ModTime())) {
			path, last = f, info
		}
	}
	if path == "" {
		return "", fmt.Errorf("there is no %s", pattern)
	}
	return path, nil
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("\n" + line + "\n"); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
