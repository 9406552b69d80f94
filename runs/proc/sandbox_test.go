package proc

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironmentIsExactlyTheSpecs(t *testing.T) {
	t.Setenv("SERVER_SECRET", "must not be seen")
	b := newBench(t, Command{Name: "env", Phase: "planning", Args: []string{"env"}})
	b.spec.Env = []string{"PATH=/usr/bin:/bin", "A=1", "B=two words"}
	b.run()
	_, env, _ := strings.Cut(b.log("planning"), "\n")
	if diff := cmp.Diff("PATH=/usr/bin:/bin\nA=1\nB=two words\n", env); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoOpenFilesButThree(t *testing.T) {
	// A file the server itself inherited without close-on-exec.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	b := newBench(t, Command{Name: "ls", Phase: "planning", Args: []string{"/bin/sh", "-c", "ls /proc/$$/fd; ulimit -c; umask; exec grep -E 'NoNewPrivs|SigIgn|SigBlk' /proc/self/status"}})
	b.run()
	_, got, _ := strings.Cut(b.log("planning"), "\n")
	// Signals 32 to 34 are the C library's own; what the test was started with shows through there, and Go can't change it.
	got = regexp.MustCompile(`SigIgn:\t0{7}[0-3][08]0{7}\n`).ReplaceAllString(got, "SigIgn:\t0000000000000000\n")
	if diff := cmp.Diff("0\n1\n2\n0\n0022\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nNoNewPrivs:\t1\n", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func needLandlock(t *testing.T) {
	t.Helper()
	if abi() == 0 {
		t.Skip("this kernel has no Landlock; TestKernelLacks covers what is said then")
	}
}

func TestLandlock(t *testing.T) {
	needLandlock(t)
	elsewhere := t.TempDir()
	for _, name := range []string{"secret", "shared", "given"} {
		if err := os.WriteFile(filepath.Join(elsewhere, name), []byte("text of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t)
	logs := b.spec.LogDir
	denied := map[string]string{
		"read elsewhere":        "cat " + elsewhere + "/secret",
		"list elsewhere":        "ls " + elsewhere,
		"write elsewhere":       "echo x > " + elsewhere + "/new",
		"write read-only":       "echo x > " + elsewhere + "/shared",
		"environment of a shim": "cat /proc/$PPID/environ",
		"environment of all":    "cat /proc/1/environ",
		"environment of us":     fmt.Sprintf("cat /proc/%d/environ", os.Getpid()),
		"memory of us":          fmt.Sprintf("cat /proc/%d/maps", os.Getpid()),
		"list processes":        "ls /proc",
		"job folder":            "cat " + b.job.Dir + "/shim.json",
		"stop file":             "touch " + b.job.Dir + "/stop",
		"own log":               "echo forged >> " + logs + "/planning.log",
		"shadow":                "cat /etc/shadow",
		"home":                  "ls /root",
		"tmp":                   "echo x > /tmp/groundcrew-test",
		"terminal":              "echo x > /dev/tty",
		"link to elsewhere":     "ln -s " + elsewhere + "/secret link && cat link",
		"change the tool":       "touch /usr/bin/new",
	}
	allowed := map[string]string{
		"workspace":     "mkdir -p a/b && echo x > a/f && mv a/f a/b/g && ln a/b/g a/h && cat a/h && rm -r a",
		"read given":    "cat " + elsewhere + "/shared",
		"write given":   "echo x > " + elsewhere + "/given",
		"devices":       "head -c 4 /dev/urandom > /dev/null",
		"own proc":      "cat /proc/$$/cmdline > /dev/null && cat /proc/meminfo > /dev/null",
		"names and TLS": "cat /etc/hosts /etc/passwd > /dev/null && ls /etc/ssl > /dev/null",
	}
	for name, script := range denied {
		b.spec.Commands = append(b.spec.Commands, shell(name, "if "+script+"; then echo ALLOWED: '"+name+"'; fi"))
	}
	for name, script := range allowed {
		b.spec.Commands = append(b.spec.Commands, shell(name, "{ "+script+"; } || echo DENIED: '"+name+"'"))
	}
	b.spec.Sandbox = true
	b.spec.ReadOnly = []string{filepath.Join(elsewhere, "shared")}
	b.spec.ReadWrite = []string{filepath.Join(elsewhere, "given")}
	res := b.run()
	if !res.OK {
		t.Errorf("result %+v", res)
	}
	for l := range strings.Lines(b.log("planning")) {
		if strings.HasPrefix(l, "ALLOWED") || strings.HasPrefix(l, "DENIED") || strings.Contains(l, "text of secret") || strings.Contains(l, "forged") && !strings.Contains(l, "$") {
			t.Error(l)
		}
	}
	if diff := cmp.Diff(Isolation(false), res.Blocked); diff != "" {
		t.Errorf("Blocked (-want +got):\n%s", diff)
	}
}

// Standard output goes to a file the command itself could replace by a link to anything.
func TestStdoutFollowsNoLinks(t *testing.T) {
	needLandlock(t)
	victim := filepath.Join(t.TempDir(), "groundcrew.db")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]string{
		"the file":   "mkdir aux && ln -s " + victim + " aux/groundcrew.db",
		"the folder": "ln -s " + filepath.Dir(victim) + " aux",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, shell("plant", plant), shell("show", "echo overwritten"))
			b.spec.Sandbox = true
			b.spec.Commands[1].Stdout = b.work("aux/groundcrew.db")
			if res := b.run(); res.OK || res.Command != "show" || !strings.HasPrefix(res.Cause, "start: ") {
				t.Errorf("result %+v", res)
			}
			if got := read(t, victim); got != "precious" {
				t.Errorf("the link was followed: %q", got)
			}
		})
	}
}

func TestSignalsAndAbstractSocketsStayInside(t *testing.T) {
	if abi() < abiScopes {
		t.Skip("this kernel's Landlock knows no scopes; TestKernelLacks covers what is said then")
	}
	address := fmt.Sprintf("@groundcrew-test-%d", os.Getpid())
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := newBench(t, shell("kill", fmt.Sprintf("kill -0 %d && echo REACHED; kill -0 $PPID && echo REACHED; kill -0 $$ && echo itself", os.Getpid())),
		Command{Name: "dial", Phase: "applying", Args: []string{exe(), "dial", address}})
	b.spec.Sandbox = true
	b.run()
	_, killed, _ := strings.Cut(b.log("planning"), "\n")
	if strings.Contains(killed, "REACHED") || !strings.HasSuffix(killed, "itself\n") {
		t.Errorf("signals: %q", killed)
	}
	if dialed := b.log("applying"); !strings.Contains(dialed, "refused: dial unix "+address) || !strings.Contains(dialed, "not permitted") {
		t.Errorf("socket: %q", dialed)
	}
}

func TestAMissingPathIsNamed(t *testing.T) {
	needLandlock(t)
	b := newBench(t, shell("work", "true"))
	b.spec.Sandbox = true
	b.spec.ReadOnly = []string{"/no/such/mirror"}
	if res := b.run(); !strings.Contains(res.Message, "/no/such/mirror: no such file or directory") {
		t.Errorf("result %+v", res)
	}
}

func TestKernelLacks(t *testing.T) {
	for version, want := range map[int]int{0: 1, 1: 3, 2: 3, 3: 2, 5: 2, 6: 1, 7: 1, 9: 0, 12: 0} {
		if got := kernelLacks(version); len(got) != want {
			t.Errorf("version %d: %q, want %d sentences", version, got, want)
		}
	}
}

func TestByHand(t *testing.T) {
	var errs strings.Builder
	if code := Shim(nil, strings.NewReader(""), &errs); code != exitUsage || !strings.Contains(errs.String(), "usage") {
		t.Errorf("shim: %d, %q", code, errs.String())
	}
	if code := Sandbox([]string{"x"}); code != exitUsage {
		t.Errorf("sandbox: %d", code)
	}
}
