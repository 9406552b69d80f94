package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where the kernel and who manages it let the server, each job has a control group of its own (cgroups(7), version 2): the
// kernel then holds all of its processes together to their limits, and ends all of them at once. Nothing depends on it:
// what can't be had is done by looking, as ever, and said.
//
// No process but those of jobs is ever moved. A group that has processes hands no controllers on, so limits need a server
// in a group beside that of the jobs: systemd's DelegateSubgroup=server puts it there. A server that made way by itself
// could not be started again while one of its jobs lives.

const (
	serverGroup = "server"     // of the server, when what it was given is the group above
	jobGroups   = "groundcrew" // holds those of the jobs
	jobWeight   = "25"         // of processor and disk for all jobs, beside 100 of the server
)

// groupFile is the file of a job's folder that says which control group is the job's.
const groupFile = "cgroup"

// controllers are those we use.
var controllers = []string{"pids", "memory", "cpu", "io"}

// A place is where the groups of jobs can be made.
type place struct {
	dir string // of the group that holds them, in the file system
	top string // the group above, which is there
	own bool   // top is also the server's own group, which has processes
}

// findPlace finds where this process may make groups. The error says in words why there is none.
func findPlace() (place, error) {
	mounts, errMounts := os.ReadFile("/proc/self/mountinfo")
	groups, errGroups := os.ReadFile("/proc/self/cgroup")
	if err := errors.Join(errMounts, errGroups); err != nil {
		return place{}, err
	}
	self, err := groupDir(string(mounts), string(groups))
	if err != nil {
		return place{}, err
	}
	return placeOf(self)
}

// placeOf is the place for a server whose own group is self.
func placeOf(self string) (place, error) {
	p := place{top: self, own: exists(filepath.Join(self, "cgroup.events"))} // the root, which has none, hands on controllers with processes too
	if filepath.Base(self) == serverGroup {
		p = place{top: filepath.Dir(self)}
	}
	p.dir = filepath.Join(p.top, jobGroups)
	for _, at := range []string{p.top, filepath.Join(p.top, "cgroup.procs")} {
		if err := unix.Access(at, unix.W_OK); err != nil {
			return p, fmt.Errorf("the server may not write %s", at)
		}
	}
	if p.own && !exists(filepath.Join(self, "cgroup.kill")) {
		return p, errors.New("the kernel is older than Linux 5.14")
	}
	return p, nil
}

// groupDir is the folder of this process's group, from /proc/self/mountinfo and /proc/self/cgroup.
func groupDir(mounts, groups string) (string, error) {
	own := ""
	for line := range strings.Lines(groups) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own = p
		}
	}
	if own == "" || strings.Contains(own, "..") {
		return "", errors.New("the server is in no group of version 2")
	}
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line) // proc_pid_mountinfo(5): 3 is the root, 4 the mount point, the type follows a lone hyphen
		i := slices.Index(f, "-")
		if i < 6 || i+1 >= len(f) || f[i+1] != "cgroup2" {
			continue
		}
		root, at := unescape.Replace(f[3]), unescape.Replace(f[4])
		if rel, err := filepath.Rel(root, own); err == nil && filepath.IsLocal(rel) {
			return path.Join(at, rel), nil
		}
	}
	return "", errors.New("version 2 of control groups is not mounted")
}

// unescape undoes what the kernel does to names in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// groupsLack says in words what control groups can't do for jobs here; nothing when they do all.
func groupsLack() []string {
	p, err := findPlace()
	if err != nil {
		return []string{fmt.Sprintf("Runs have no control groups (%v), so what a run takes together is looked at twice a second, and what it leaves behind is found by its parents.", err)}
	}
	return p.lacks()
}

func (p place) lacks() []string {
	if p.own {
		return []string{fmt.Sprintf("The control groups of runs end all their processes, but hold them to no limits, because the server itself is in %s: what a run takes together is looked at twice a second. A systemd service with Delegate=yes and DelegateSubgroup=%s can.", p.top, serverGroup)}
	}
	there := words(filepath.Join(p.top, "cgroup.controllers"))
	missing := slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return slices.Contains(there, c) })
	if len(missing) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("The control groups of runs end all their processes, but lack the controllers %s: what a run takes of that is looked at twice a second, or bounded for each process.", strings.Join(missing, ", "))}
}

// A group is the control group of one job, or below it that of one of its commands; nil for none.
type group struct {
	dir  string
	made int // groups of commands
}

// newGroup makes the group of a job.
func (p place) newGroup(name string) (*group, error) {
	g := &group{dir: filepath.Join(p.dir, name)}
	for _, dir := range []string{p.dir, g.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if !p.own {
			handOn(filepath.Dir(dir))
		}
	}
	return g, setAll(p.dir, map[string]string{"cpu.weight": jobWeight, "io.weight": jobWeight})
}

// limit sets the limits whose controllers are there.
func (g *group) limit(l Limits) error {
	if g == nil {
		return nil
	}
	bounds := map[string]string{"memory.swap.max": "0", "memory.oom.group": "1"}
	if l.Processes > 0 {
		bounds["pids.max"] = strconv.FormatUint(l.Processes, 10)
	}
	if l.MemoryBytes > 0 {
		bounds["memory.max"] = strconv.FormatUint(l.MemoryBytes, 10)
	}
	return setAll(g.dir, bounds)
}

// command makes the group of one command. The name is of this shim: another may just find that the job is taken.
func (g *group) command() (*group, error) {
	if g == nil {
		return nil, nil
	}
	g.made++
	c := &group{dir: filepath.Join(g.dir, fmt.Sprintf("%d-%d", os.Getpid(), g.made))}
	return c, os.Mkdir(c.dir, 0o755)
}

// handOn lets the groups below this one use what it has. What it refuses is then missing below, and no limit is set.
func handOn(dir string) {
	there, on := words(filepath.Join(dir, "cgroup.controllers")), words(filepath.Join(dir, "cgroup.subtree_control"))
	for _, c := range controllers {
		if slices.Contains(there, c) && !slices.Contains(on, c) {
			_ = set(filepath.Join(dir, "cgroup.subtree_control"), "+"+c)
		}
	}
}

// setAll writes values whose files are there.
func setAll(dir string, values map[string]string) (err error) {
	for name, value := range values {
		if file := filepath.Join(dir, name); exists(file) {
			err = errors.Join(err, set(file, value))
		}
	}
	return err
}

func set(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func words(file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // what can't be read has nothing
	}
	return strings.Fields(string(b))
}

// kill ends every process of the group, also those that are just being made. It is not waited for.
func (g *group) kill() {
	if g != nil {
		_ = set(filepath.Join(g.dir, "cgroup.kill"), "1") // who calls looks for what is left
	}
}

// excess says which limit the kernel has held the group to by ending it or by refusing it processes; "" for none.
func (g *group) excess() string {
	switch {
	case g == nil:
		return ""
	case g.count("memory.events", "oom_kill") > 0:
		return CauseMemory
	case g.count("pids.events", "max") > 0:
		return CauseProcesses
	default:
		return ""
	}
}

// count is a number in a file of names and numbers; 0 where it is not there.
func (g *group) count(file, name string) int {
	list := words(filepath.Join(g.dir, file))
	if i := slices.Index(list, name); i >= 0 && i+1 < len(list) {
		n, _ := strconv.Atoi(list[i+1]) // the kernel writes numbers
		return n
	}
	return 0
}

// remove removes the group and those of commands once nothing lives in them. What stays is removed at a next start.
func (g *group) remove() error {
	if g == nil {
		return nil
	}
	for until := time.Now().Add(lingering); ; time.Sleep(5 * time.Millisecond) {
		err := g.removeNow()
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(until) {
			return err
		}
	}
}

func (g *group) removeNow() error {
	list, err := os.ReadDir(g.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if e.IsDir() {
			err = errors.Join(err, gone(os.Remove(filepath.Join(g.dir, e.Name()))))
		}
	}
	return errors.Join(err, gone(os.Remove(g.dir)))
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// endGroup ends and removes the group that a job's folder names, if it names one. It is for a job whose shim was killed.
func endGroup(jobDir string) error {
	var dir string
	if named, err := readJSON(filepath.Join(jobDir, groupFile), &dir); err != nil || !named {
		return err
	}
	g := &group{dir: dir}
	g.kill()
	return g.remove()
}

// ClearGroups removes the control groups of jobs in which nothing lives any more, as they are left when the server's
// machine or a shim was ended.
func ClearGroups() error {
	p, err := findPlace()
	if err != nil {
		return nil // then there are none, and Isolation says so
	}
	return p.clear()
}

func (p place) clear() error {
	list, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		if busy := (&group{dir: filepath.Join(p.dir, e.Name())}).removeNow(); !errors.Is(busy, syscall.EBUSY) {
			err = errors.Join(err, busy)
		}
	}
	return err
}
