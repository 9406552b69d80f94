package proc

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// What a command may read besides its own folders: programs, libraries, what name resolution and TLS need,
// and what says how the machine is built. Of /proc only its own entry: another process's shows that process's
// environment to a run of the same user.
var (
	systemDirs = []string{
		"/usr", "/lib", "/lib64", "/bin", "/sbin",
		"/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/crypto-policies",
		"/proc/self", "/proc/sys", "/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage",
	}
	systemFiles = []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/localtime",
		"/etc/gai.conf", "/etc/host.conf", "/etc/services", "/etc/protocols", "/etc/ca-certificates.conf", "/etc/ld.so.cache",
		"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version", "/proc/filesystems",
	}
	devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
)

// The versions of Landlock's interface at which it learned what we use (landlock(7)).
const (
	abiRefer     = 2 // renames between folders
	abiTruncate  = 3
	abiPorts     = 4 // TCP by port
	abiScopes    = 6 // signals and abstract sockets
	abiUnixPaths = 9 // connecting to sockets in the file system
)

// isolate takes from this process every right on files that the command does not need, and on other processes
// and their sockets, as far as this kernel can. The network stays open, but for TCP ports that are not among
// those named, if any are.
func isolate(program string, c sandboxed) error {
	rules, err := fileRules(program, c)
	if err != nil {
		return err
	}
	// In one step, because a second one would forbid renames between folders whatever the first allows.
	conf := landlock.Config{HandledAccessFS: landlock.V9.HandledAccessFS, Scoped: landlock.V9.Scoped}
	if len(c.Ports) > 0 {
		if err := CanLimitPorts(); err != nil {
			return err
		}
		conf.HandledAccessNet = llsys.AccessNetConnectTCP
		for _, p := range c.Ports {
			rules = append(rules, landlock.ConnectTCP(p))
		}
	}
	if err := conf.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("isolating the command: %w", err)
	}
	return nil
}

func fileRules(program string, c sandboxed) ([]landlock.Rule, error) {
	rules := []landlock.Rule{
		landlock.RODirs(systemDirs...).IgnoreIfMissing(),
		landlock.ROFiles(systemFiles...).IgnoreIfMissing(),
		landlock.RWFiles(devices...).IgnoreIfMissing(),
	}
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return nil, err
	}
	for _, p := range append([]string{filepath.Dir(program), filepath.Dir(real)}, c.ReadOnly...) {
		r, err := pathRule(p, landlock.RODirs, landlock.ROFiles)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	for _, p := range append([]string{c.Dir}, c.ReadWrite...) {
		r, err := pathRule(p, writableDir, landlock.RWFiles)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func pathRule(path string, dir, file func(...string) landlock.FSRule) (landlock.FSRule, error) {
	if !filepath.IsAbs(path) {
		return landlock.FSRule{}, fmt.Errorf("a path the command was to be given is not absolute: %q", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return landlock.FSRule{}, fmt.Errorf("a path the command was to be given: %w", err)
	}
	if info.IsDir() {
		return dir(path), nil
	}
	return file(path), nil
}

// writableDir allows renames between folders where the kernel knows that right; on the oldest one Landlock
// always refuses them, and asking for it would mean no isolation at all.
func writableDir(paths ...string) landlock.FSRule {
	r := landlock.RWDirs(paths...)
	if abi() >= abiRefer {
		r = r.WithRefer()
	}
	if abi() >= abiUnixPaths {
		r = r.WithResolveUnix()
	}
	return r
}

// abi is the version of the kernel's Landlock, 0 for none.
func abi() int {
	v, err := llsys.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return v
}

// Isolation says in words what this machine cannot give of the isolation between a run and everything else:
// one sentence each, nothing when all is there. ownUser says that commands run as another user than the server.
func Isolation(ownUser bool) []string {
	list := kernelLacks(abi())
	if os.Geteuid() == 0 && !ownUser {
		list = append(list, "Runs are executed as root. Leave out --run-user root, or start the server as a user of its own.")
	}
	list = append(list, ipcLacks()...)
	return append(list, groupsLack()...)
}

// CanProtect says why commands that run as the server's own user could change what they are only given to read; nil if
// they can't.
func CanProtect() error {
	if v := abi(); v < abiTruncate {
		return fmt.Errorf("the kernel has version %d of Landlock, and version %d (Linux 6.2) is needed", v, abiTruncate)
	}
	return nil
}

// CanLimitPorts says why [Spec].Ports cannot be enforced on this machine; nil if they can.
func CanLimitPorts() error {
	if v := abi(); v < abiPorts {
		return fmt.Errorf("TCP ports of runs cannot be limited here: the kernel has version %d of Landlock, and version %d (Linux 6.7) is needed", v, abiPorts)
	}
	return nil
}

func kernelLacks(version int) []string {
	if version == 0 {
		return []string{"This kernel has no Landlock, so runs can read and write every file that the server's user can. Linux 5.13 or newer with Landlock enabled isolates them."}
	}
	var list []string
	for _, lack := range []struct {
		since int
		text  string
	}{
		{abiTruncate, "runs can truncate files of the server's user that they cannot otherwise write (Linux 6.2 or newer prevents it)"},
		{abiScopes, "runs can send signals to processes of the server's user and connect to abstract sockets (Linux 6.12 or newer prevents it)"},
		{abiUnixPaths, "runs can connect to sockets in the file system that the server's user may use, such as a container engine's (newer kernels prevent it)"},
	} {
		if version < lack.since {
			list = append(list, fmt.Sprintf("With version %d of Landlock in this kernel %s.", version, lack.text))
		}
	}
	return list
}
