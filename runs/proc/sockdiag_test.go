package proc

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

// TestTheKernelAndItsTablesAgree asks for both ends of connections in either way.
func TestTheKernelAndItsTablesAgree(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		l, err := net.Listen(network, "localhost:0")
		if err != nil {
			t.Logf("%s: %v", network, err) // a machine without it
			continue
		}
		defer l.Close()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ours, theirs := unmapped(netip.MustParseAddrPort(c.LocalAddr().String())), unmapped(netip.MustParseAddrPort(c.RemoteAddr().String()))
		asked, found, err := askSocket(ours, theirs)
		if err != nil {
			t.Skipf("this kernel can't be asked: %v", err)
		}
		looked, there, err := lookUpSocket(ours, theirs)
		if err != nil || !found || !there || asked != looked || asked.uid != os.Geteuid() || asked.inode == 0 {
			t.Errorf("%s: asked %+v %v, looked up %+v %v, %v", network, asked, found, looked, there, err)
		}
		if _, found, err := askSocket(netip.AddrPortFrom(ours.Addr(), 1), theirs); err != nil || found {
			t.Errorf("%s: a socket that is not there: %v, %v", network, found, err)
		}
	}
	if _, _, err := readDiag([]byte("short")); err == nil {
		t.Error("a short answer was understood")
	}
}
