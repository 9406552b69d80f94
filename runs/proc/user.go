package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A User is who commands are executed as when the server is root. It needs no account on the machine.
type User struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// handOver makes the user the owner of all that lies in the folders that commands may write. Files with
// further names (hard links) are left as they are: the other name may be anywhere.
func handOver(u User, dirs []string) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return give(u, path)
		})
		if err != nil {
			return fmt.Errorf("handing the workspace over to user %d: %w", u.UID, err)
		}
	}
	return nil
}

func give(u User, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", path)
	}
	if int(st.Uid) == u.UID && int(st.Gid) == u.GID || info.Mode().IsRegular() && st.Nlink > 1 {
		return nil
	}
	return os.Lchown(path, u.UID, u.GID)
}

// turnInto makes this process the user's, with no group and no capability left of what it was. The output
// becomes the user's too, so that a script may open /dev/stderr.
func (u User) turnInto() error {
	for _, fd := range []int{1, 2} {
		if err := unix.Fchown(fd, u.UID, u.GID); err != nil {
			return fmt.Errorf("handing over the output: %w", err)
		}
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(u.GID, u.GID, u.GID), syscall.Setresuid(u.UID, u.UID, u.UID)); err != nil {
		return fmt.Errorf("becoming user %d: %w (inside a container only some ids exist; choose one with --run-user)", u.UID, err)
	}
	return nil
}

// Enterable makes sure that the user can get from the root of the file system into an absolute folder. It names the first
// folder that keeps the user out.
func (u User) Enterable(path string) error {
	dir := string(filepath.Separator)
	for _, name := range append([]string{""}, strings.Split(filepath.Clean(path), dir)...) {
		dir = filepath.Join(dir, name)
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !u.mayEnter(info) {
			return fmt.Errorf("runs are executed as user %d, which may not enter %s. Allow it (chmod o+x %s), move the data folder, or choose another user with --run-user", u.UID, dir, dir)
		}
	}
	return nil
}

func (u User) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return false
	case int(st.Uid) == u.UID:
		return st.Mode&0o100 != 0
	case int(st.Gid) == u.GID:
		return st.Mode&0o010 != 0
	default:
		return st.Mode&0o001 != 0
	}
}

// Capabilities that root needs to execute commands as somebody else; see capabilities(7).
const (
	capChown  = 0
	capSetgid = 6
	capSetuid = 7
)

// CanRunAs says why this process cannot execute commands as the users first to last; nil if it can. Root of a
// container may lack the right, or the ids.
func CanRunAs(first, last int) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, text, _ := strings.Cut(string(status), "\nCapEff:\t")
	text, _, _ = strings.Cut(text, "\n")
	effective, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return fmt.Errorf("the capabilities of this process can't be read: %w", err)
	}
	for _, c := range []int{capChown, capSetgid, capSetuid} {
		if effective&(1<<c) == 0 {
			return errors.New("the server is root without the capabilities CHOWN, SETUID and SETGID, so it can't execute runs as other users. Grant them, start the server as a user of its own, or say --run-user root")
		}
	}
	for _, table := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(table)
		if err != nil {
			return err
		}
		if !mapped(string(b), first, last) {
			return fmt.Errorf("the ids %d to %d are not there in this container. Say --run-user with one that is, or start the server as a user of its own", first, last)
		}
	}
	return nil
}

// mapped reports whether one line of an id map holds all of the ids; see user_namespaces(7).
func mapped(table string, first, last int) bool {
	for line := range strings.Lines(table) {
		var from, to, n int
		if _, err := fmt.Sscan(line, &from, &to, &n); err == nil && first >= from && last < from+n {
			return true
		}
	}
	return false
}
