package proc

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Of sock_diag(7): the sizes of what goes each way, and where in an answer its fields are.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	headBytes    = 16 // struct nlmsghdr
	askBytes     = 56 // struct inet_diag_req_v2
	answerBytes  = 72 // struct inet_diag_msg
	uidAt        = 64
	inodeAt      = 68
)

// askSocket asks the kernel for the one socket with these addresses. It takes microseconds, where the tables in
// /proc/net take as long as the machine has connections. An error means that it can't be asked.
func askSocket(own, other netip.AddrPort) (s socket, found bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return s, false, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return s, false, err
	}
	if err := unix.Sendto(fd, diagRequest(own, other), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return s, false, err
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return s, false, err
	}
	return readDiag(buf[:n])
}

// diagRequest asks for the TCP socket with exactly these addresses, in whatever state.
func diagRequest(own, other netip.AddrPort) []byte {
	b := make([]byte, headBytes+askBytes)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], diagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	ask := b[headBytes:]
	ask[0], ask[1] = unix.AF_INET, unix.IPPROTO_TCP
	if own.Addr().Is6() {
		ask[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(ask[4:], 0xffffffff) // all states
	binary.BigEndian.PutUint16(ask[8:], own.Port())
	binary.BigEndian.PutUint16(ask[10:], other.Port())
	copy(ask[12:28], own.Addr().AsSlice())
	copy(ask[28:44], other.Addr().AsSlice())
	for i := 48; i < askBytes; i++ {
		ask[i] = 0xff // no cookie
	}
	return b
}

func readDiag(b []byte) (socket, bool, error) {
	if len(b) < headBytes+4 {
		return socket{}, false, errors.New("the kernel's answer about a socket is cut off")
	}
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
		no := unix.Errno(-int32(binary.NativeEndian.Uint32(b[headBytes:])))
		if no == unix.ENOENT {
			return socket{}, false, nil
		}
		return socket{}, false, no
	}
	if len(b) < headBytes+answerBytes {
		return socket{}, false, errors.New("the kernel's answer about a socket is cut off")
	}
	msg := b[headBytes:]
	return socket{int(binary.NativeEndian.Uint32(msg[uidAt:])), uint64(binary.NativeEndian.Uint32(msg[inodeAt:]))}, true, nil
}
