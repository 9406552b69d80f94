package main

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/proc"
)

// A limits are the bounds of one run, as set for the server.
type limits struct {
	time, silence             time.Duration // of one phase
	memory, fileSize, logSize byteSize
	logAge, logTotal, minFree int64 // as in [runs.Limits]
	openFiles, processes      uint64
	ports                     ports
	user                      string // "" = automatic, "root", a name or a number
}

// Generous for the tools and their providers, too small for a bomb.
var defaultLimits = limits{
	time: 70 * time.Minute, silence: 15 * time.Minute,
	memory: 4 << 30, fileSize: 4 << 30, logSize: 256 << 20, openFiles: 4096, processes: 4096,
	logAge: int64(365 * 24 * time.Hour), logTotal: runs.Off, minFree: 1 << 30,
}

func (l *limits) flags(fs *flag.FlagSet) {
	*l = defaultLimits
	fs.DurationVar(&l.time, "run-time", l.time, "longest time of one phase of a run")
	fs.DurationVar(&l.silence, "silence", l.silence, "longest time a run may print nothing")
	fs.Var(&l.memory, "run-memory", "most memory of a run, all its processes together")
	fs.Var(&l.fileSize, "run-file-size", "largest file a run may write")
	fs.Var(&l.logSize, "run-log-size", "largest log of one phase; what exceeds it is dropped, ten times as much stops the run")
	fs.Uint64Var(&l.openFiles, "run-open-files", l.openFiles, "most files one process of a run may have open")
	fs.Uint64Var(&l.processes, "run-processes", l.processes, "most processes of a run, threads counted")
	for _, d := range runs.LimitDefs() {
		switch d.Name {
		case "log_age":
			fs.Var(limitFlag{d, &l.logAge}, flagOf(d), "how long logs are kept, like 90d, or off for ever")
		case "log_total":
			fs.Var(limitFlag{d, &l.logTotal}, flagOf(d), "most bytes of all logs on the disk, beyond which the oldest go, or off")
		case "min_free":
			fs.Var(limitFlag{d, &l.minFree}, flagOf(d), "free space of the data folder's disk below which no run begins, or off")
		}
	}
	fs.Var(&l.ports, "run-ports", "TCP ports that runs may connect to, like 443,22 (default: all)")
	fs.StringVar(&l.user, "run-user", "", "user that runs are executed as, when the server is root: a name, a number, or root (default: a user without rights for each run)")
}

func (l limits) check() error {
	bad := func(format string, args ...any) error { return usageError{exitUsage, fmt.Sprintf(format, args...)} }
	var wrong *runs.Error
	if errors.As(l.bounds().Check(), &wrong) {
		return bad("--%s: %s", strings.ReplaceAll(wrong.Field, "_", "-"), wrong.Message)
	}
	if len(l.ports) > 0 {
		if err := proc.CanLimitPorts(); err != nil {
			return bad("--run-ports can't be used: %v", err)
		}
	}
	_, err := l.account()
	return err
}

// A byteSize is a number of bytes, written like 512MiB.
type byteSize uint64

func (b byteSize) String() string { return runs.SizeText(int64(b)) }

// Set reads a size; see [flag.Value].
func (b *byteSize) Set(s string) error {
	n, err := runs.ParseSize(s)
	*b = byteSize(n)
	return err
}

// A limitFlag is a limit as a flag.
type limitFlag struct {
	def runs.LimitDef
	at  *int64
}

// flagOf is the name of a limit's flag.
func flagOf(d runs.LimitDef) string { return strings.ReplaceAll(d.Name, "_", "-") }

func (f limitFlag) String() string {
	if f.at == nil {
		return ""
	}
	return f.def.Text(*f.at)
}

// Set reads a limit; see [flag.Value].
func (f limitFlag) Set(s string) error {
	v, err := f.def.Read(s)
	if err == nil && v == 0 {
		err = errors.New("it is empty")
	}
	*f.at = v
	return err
}

// bounds are the limits as the engine and the settings know them.
func (l limits) bounds() runs.Limits {
	return runs.Limits{
		Workers: 1, Time: int64(l.time), Silence: int64(l.silence), Memory: int64(l.memory), FileSize: int64(l.fileSize), LogSize: int64(l.logSize),
		OpenFiles: int64(l.openFiles), Processes: int64(l.processes), LogAge: l.logAge, LogTotal: l.logTotal, MinFree: l.minFree,
	}
}

// ports is a list of TCP ports, written with commas.
type ports []uint16

func (p ports) String() string {
	var list []string
	for _, n := range p {
		list = append(list, strconv.Itoa(int(n)))
	}
	return strings.Join(list, ",")
}

// Set reads a list; see [flag.Value].
func (p *ports) Set(s string) error {
	*p = nil
	for one := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(one), 10, 16)
		if err != nil || n == 0 {
			return errors.New("write ports like 443,22")
		}
		*p = append(*p, uint16(n))
	}
	return nil
}

// An account says who runs are executed as: nobody else than the server, one user, or one of a range for each run.
type account struct {
	fixed *proc.User
	each  bool
	first int // of the range
}

// The range of automatic users: neither distributions, nor systemd, nor subordinate ids use it. In a container that
// has only the usual 65,536 ids it is another one, which nobody uses there either.
const (
	firstRunUser   = 66000
	firstInnerUser = 30000
	runUsers       = 30000
)

// account finds the user of runs. Only root can execute as another.
func (l limits) account() (account, error) {
	root := os.Geteuid() == 0
	switch {
	case l.user == "root" || l.user == "" && !root:
		return account{}, nil
	case l.user == "":
		return eachItsOwn()
	case !root:
		return account{}, usageError{exitUsage, "--run-user needs a server that runs as root. This one does not, so its runs are executed as its own user."}
	}
	uid, err := strconv.ParseUint(l.user, 10, 31)
	if err == nil && uid > 0 {
		return fixedUser(int(uid), int(uid))
	}
	u, err := user.Lookup(l.user)
	if err != nil {
		return account{}, usageError{exitUsage, fmt.Sprintf("--run-user %s: there is no such user on this machine. A number needs no account.", l.user)}
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 31)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 31)
	if errUID != nil || errGID != nil || uid == 0 {
		return account{}, usageError{exitUsage, fmt.Sprintf("--run-user %s: that user has the id %s, which can't be used. Say root if you mean root.", l.user, u.Uid)}
	}
	return fixedUser(int(uid), int(gid))
}

// eachItsOwn is the account of a server that is root and was told nothing else.
func eachItsOwn() (account, error) {
	for _, first := range []int{firstRunUser, firstInnerUser} {
		if proc.CanRunAs(first, first+runUsers-1) == nil {
			return account{each: true, first: first}, nil
		}
	}
	return account{}, usageError{exitUsage, proc.CanRunAs(firstInnerUser, firstInnerUser+runUsers-1).Error()}
}

// fixedUser is the account of one user for all runs.
func fixedUser(uid, gid int) (account, error) {
	if err := proc.CanRunAs(uid, uid); err != nil {
		return account{}, usageError{exitUsage, err.Error()}
	}
	return account{fixed: &proc.User{UID: uid, GID: gid}}, nil
}

// own reports whether runs are executed as another user than the server.
func (a account) own() bool { return a.fixed != nil || a.each }

// of is the user of a run, the same for all its phases; nil = the server's.
func (a account) of(run string) *proc.User {
	if !a.each {
		return a.fixed
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(run)) // a hash never fails
	id := a.first + int(h.Sum32()%runUsers)
	return &proc.User{UID: id, GID: id}
}

// includes reports whether a process with this user id is a run's.
func (a account) includes(uid int) bool {
	return a.fixed != nil && uid == a.fixed.UID || a.each && uid >= a.first && uid < a.first+runUsers
}

// open lets the users of runs pass through the data folder: into what they are given, with nothing else to be
// read or listed. What has to be read on the way is theirs to read, like the provider mirror.
func (a account) open(dataDir string, readOnly, readWrite []string) error {
	if !a.own() {
		return nil
	}
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return err
	}
	for _, path := range append(readOnly[:len(readOnly):len(readOnly)], readWrite...) {
		for dir := filepath.Dir(path); inside(dir, dataDir); dir = filepath.Dir(dir) {
			if err := allow(dir, 0o001); err != nil {
				return err
			}
		}
	}
	for _, path := range readOnly {
		if info, err := os.Stat(path); err == nil && info.IsDir() && inside(path, dataDir) {
			if err := allow(path, 0o005); err != nil {
				return err
			}
		}
	}
	return nil
}

func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func allow(dir string, bits os.FileMode) error {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&bits == bits {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()|bits)
}
