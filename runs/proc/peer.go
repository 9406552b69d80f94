package proc

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Hide keeps other processes of this user from reading the memory and the environment of this one.
func Hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding this process from others of its user: %w", err)
	}
	return nil
}

// A Caller is who holds the other end of a TCP connection on this machine.
type Caller struct {
	Job bool   // a process of a job, or one that is gone already
	Dir string // the job's folder, where it can be told
}

// CallerOf finds out whether a connection that this process accepted comes from one of its jobs. jobUser
// reports whether a user id is one that jobs run as; apart says that it never is that of this process. Connections of other machines are nobody's job; of those
// of this machine only what is certain to be something else is not taken for a job's.
func CallerOf(local, remote netip.AddrPort, jobUser func(uid int) bool, apart bool) (Caller, error) {
	local, remote = unmapped(local), unmapped(remote)
	if here, err := isHere(remote.Addr()); err != nil || !here {
		return Caller{}, err
	}
	s, found, err := findSocket(remote, local)
	if err != nil {
		return Caller{}, err
	}
	if !found || s.inode == 0 {
		return Caller{Job: true}, nil // whoever called did not wait for the answer
	}
	if !jobUser(s.uid) && (apart || s.uid != os.Geteuid()) {
		return Caller{}, nil
	}
	dir, err := jobHolding(s.inode)
	return Caller{Job: dir != "" || jobUser(s.uid), Dir: dir}, err
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// isHere reports whether an address is one of this machine's.
func isHere(a netip.Addr) (bool, error) {
	if a.IsLoopback() {
		return true, nil
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list, func(one net.Addr) bool {
		p, err := netip.ParsePrefix(one.String())
		return err == nil && p.Addr().Unmap() == a
	}), nil
}

// A socket is a line of /proc/net/tcp.
type socket struct {
	uid   int
	inode uint64 // 0 = nobody holds it any more
}

// findSocket finds the socket with this address at its own end and that at the other.
func findSocket(own, other netip.AddrPort) (socket, bool, error) {
	if s, found, err := askSocket(own, other); err == nil && found {
		return s, true, nil
	}
	return lookUpSocket(own, other)
}

// lookUpSocket looks through the kernel's tables of all sockets.
func lookUpSocket(own, other netip.AddrPort) (socket, bool, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return socket{}, false, err
		}
		for line := range bytes.Lines(b) {
			f := bytes.Fields(line)
			if len(f) < 10 || !tableAddr(f[1], own) || !tableAddr(f[2], other) {
				continue
			}
			uid, errUID := strconv.Atoi(string(f[7]))
			inode, errInode := strconv.ParseUint(string(f[9]), 10, 64)
			if errUID != nil || errInode != nil {
				return socket{}, false, fmt.Errorf("%s cannot be understood: %s", table, line)
			}
			return socket{uid, inode}, true, nil
		}
	}
	return socket{}, false, nil
}

// tableAddr reports whether an address as the kernel prints it, in words of four bytes in the machine's order,
// is a.
func tableAddr(text []byte, a netip.AddrPort) bool {
	addr, port, ok := bytes.Cut(text, []byte(":"))
	n, err := strconv.ParseUint(string(port), 16, 16)
	if !ok || err != nil || uint16(n) != a.Port() {
		return false
	}
	raw := make([]byte, hex.DecodedLen(len(addr)))
	if _, err := hex.Decode(raw, addr); err != nil {
		return false
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(raw)
	return ok && ip.Unmap() == a.Addr()
}

// jobHolding is the folder of the job that one of the holders of a socket belongs to, "" for none.
func jobHolding(inode uint64) (string, error) {
	all, err := allProcesses()
	if err != nil {
		return "", err
	}
	for _, s := range all {
		dir := shimDir(s)
		if dir == "" {
			continue
		}
		for _, pid := range below(s.pid, all) {
			if holds(pid, inode) {
				return dir, nil
			}
		}
	}
	return "", nil
}

// shimDir is the job's folder if a process is a shim. Shims lead their sessions.
func shimDir(s stat) string {
	if s.session != s.pid {
		return ""
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.pid), "cmdline"))
	args := bytes.Split(bytes.TrimRight(b, "\x00"), []byte{0}) // a spare's is longer than the folder it shows
	if err != nil || len(args) != 3 || string(args[1]) != "shim" {
		return ""
	}
	return string(args[2])
}

func holds(pid int, inode uint64) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // it is gone
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		return err == nil && to == want
	})
}
