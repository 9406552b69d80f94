package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"groundcrew/runs"
)

// The test binary is its own second process: these variables make it a writer instead of running tests.
const (
	writerDir  = "STORE_TEST_WRITER"    // the data folder to write to until killed
	writerFull = "STORE_TEST_FULL_DISK" // the data folder to write to until no file may grow any more
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(writerDir) != "":
		fail(writeForever(os.Getenv(writerDir)))
	case os.Getenv(writerFull) != "":
		fail(writeUntilFull(os.Getenv(writerFull)))
	default:
		os.Exit(m.Run())
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writeForever stores deliveries and runs from several goroutines, and prints a line for each after the store said
// that it is on disk.
func writeForever(dir string) error {
	s, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	lines, failed := make(chan string), make(chan error)
	deliver := func(size int) {
		for i := 0; ; i++ {
			body := bytes.Repeat([]byte("x"), size)
			d, _, err := s.AddDelivery(Delivery{Key: fmt.Sprintf("%d-%d-%d", os.Getpid(), size, i), Event: "Push Hook"}, body)
			if err != nil {
				failed <- err
				return
			}
			lines <- "delivery " + d.ID
		}
	}
	ask := func() {
		for {
			var r runs.Run
			err := s.Update(func(tx *Tx) (err error) {
				r, err = tx.Apply(tx.NewID(), runs.Requested{Run: runs.Run{Stack: "network", Project: 7, Type: runs.Tracked, Commit: runs.Commit{SHA: "abc"}}})
				return err
			})
			if err == nil {
				lines <- "run " + r.ID + " queued"
				err = s.Update(func(tx *Tx) error { _, err := tx.Apply(r.ID, runs.Discard{}); return err })
			}
			if err != nil {
				failed <- err
				return
			}
			lines <- "run " + r.ID + " discarded"
		}
	}
	save := func() {
		for i := 1; ; i++ {
			m := mountOf(fmt.Sprint("f", i%20), strings.Repeat(fmt.Sprintf("%d;", i), 500), i%2 == 0)
			err := s.Update(func(tx *Tx) error {
				if err := tx.PutFile("context:saved", m); err != nil {
					return err
				}
				return tx.PutVariable("context:saved", runs.Variable{Name: strings.ToUpper(m.Path), Value: fmt.Sprint(i), Secret: true})
			})
			if err != nil {
				failed <- err
				return
			}
			lines <- fmt.Sprint("file ", m.Path, " ", i)
		}
	}
	for range 3 {
		go deliver(100)
	}
	go deliver(inlineBody + 1)
	go ask()
	go save()
	for {
		select {
		case line := <-lines:
			fmt.Println(line)
		case err := <-failed:
			return err
		}
	}
}

// TestKilledWhileWriting kills the writing process several times over the same folder; whatever it said is stored, is.
func TestKilledWhileWriting(t *testing.T) {
	s := open(t)
	addStack(t, s, "Network")
	addContext(t, s, "Saved")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for _, lines := range []int{1, 40, 150, 300} {
		said := killedAfter(t, s.Dir(), lines)
		acknowledged = append(acknowledged, said...)
		again, err := Open(Options{Dir: s.Dir()})
		if err != nil {
			t.Fatal(err)
		}
		allThere(t, again, acknowledged)
		filesWhole(t, again, said)
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged writes, all there", len(acknowledged))
}

// killedAfter starts a writer, kills it -9 once it acknowledged that many writes, and returns all it acknowledged.
func killedAfter(t *testing.T, dir string, lines int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err != nil { // a line cut off by the kill was not said
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		got = append(got, strings.TrimSuffix(line, "\n"))
		if len(got) == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || len(got) < lines {
		t.Fatalf("the writer ended with %v after %d lines", err, len(got))
	}
	return got
}

func allThere(t *testing.T, s *Store, acknowledged []string) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		for _, line := range acknowledged {
			f := strings.Fields(line)
			switch f[0] {
			case "delivery":
				d, err := tx.Delivery(f[1])
				if err != nil {
					t.Fatalf("acknowledged and gone: %v", err)
				}
				if body, err := tx.DeliveryBody(d); err != nil || len(body) != d.Size || d.Size == 0 {
					t.Errorf("body of %s: %d of %d bytes, %v", d.ID, len(body), d.Size, err)
				}
				if !has(tx, "inbox", d.ID) {
					t.Errorf("%s does not wait to be processed", d.ID)
				}
			case "run":
				r, err := tx.Run(f[1])
				if err != nil || f[2] == "discarded" && r.State != runs.Discarded {
					t.Fatalf("acknowledged %q, stored %s: %v", line, r.State, err)
				}
			}
		}
		(&world{t: t, s: s}).check(tx)
		return nil
	})
}

// filesWhole makes sure that what was acknowledged last of each file is there, or something newer, that no file is half of one and half
// of another, and that the variable stored with it is of the same moment.
func filesWhole(t *testing.T, s *Store, said []string) {
	t.Helper()
	last := map[string]int{}
	for _, line := range said {
		if f := strings.Fields(line); f[0] == "file" {
			last[f[1]], _ = strconv.Atoi(f[2])
		}
	}
	view(t, s, func(tx *Tx) error {
		vars, err := tx.RevealVariables("context:saved")
		if err != nil {
			return err
		}
		files, err := tx.Files("context:saved")
		if len(files) != len(vars) {
			t.Errorf("%d files, %d variables", len(files), len(vars))
		}
		for i, f := range files {
			m, err := tx.File("context:saved", f.Path)
			if err != nil {
				return err
			}
			number, _, _ := strings.Cut(string(m.Content), ";")
			n, _ := strconv.Atoi(number)
			if string(m.Content) != strings.Repeat(number+";", 500) || n < last[f.Path] || m.Size != len(m.Content) || vars[i].Value != number {
				t.Errorf("%s: acknowledged %d, stored %.20q…, variable %s", f.Path, last[f.Path], m.Content, vars[i].Value)
			}
		}
		return err
	})
}

// writeUntilFull lets no file grow beyond a megabyte, which looks to the store as a full disk does, and writes until
// that is felt; then it makes room and writes again.
func writeUntilFull(dir string) error {
	s, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	room := limit.Cur
	limit.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	stored := 0
	for ; ; stored++ {
		if _, _, err = s.AddDelivery(Delivery{}, make([]byte, inlineBody)); err != nil {
			break
		}
	}
	fmt.Println("stored", stored)
	fmt.Println("refused", err)
	if _, _, err := s.AddDelivery(Delivery{}, make([]byte, 2<<20)); err != nil {
		fmt.Println("refused", err)
	}
	limit.Cur = room
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if _, _, err := s.AddDelivery(Delivery{}, make([]byte, inlineBody)); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	return s.Close()
}

// TestFullDisk: what does not fit is refused in words, nothing is lost, and with room again the store goes on.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerFull+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stored int
	if _, err := fmt.Sscanf(string(out), "stored %d", &stored); err != nil || stored == 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Count(string(out), "refused nothing was stored: ") != 2 || strings.Count(string(out), "Check that the disk is not full") != 2 {
		t.Errorf("what was said:\n%s", out)
	}
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows := dump(t, s)
	for _, bucket := range []string{"deliveries", "bodies", "inbox"} {
		if len(rows[bucket]) != stored+1 {
			t.Errorf("%d rows in %s, want %d", len(rows[bucket]), bucket, stored+1)
		}
	}
	if left, err := os.ReadDir(s.Path("deliveries")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
