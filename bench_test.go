package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
	"groundcrew/store"
)

func percentile(d []time.Duration, p float64) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*p))]
}

// built is the program as it is delivered: the test binary is larger and starts slower, and runs start it often.
func built(b *testing.B) string {
	b.Helper()
	exe := filepath.Join(b.TempDir(), "groundcrew")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return exe
}

const connections = 32

// fan runs do from 32 goroutines b.N times in all and reports calls per second and the 99th percentile.
func fan(b *testing.B, do func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			var mine []time.Duration
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				t := time.Now()
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
				mine = append(mine, time.Since(t))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "acks/s")
	b.ReportMetric(float64(percentile(took, 0.99).Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

const hookBody = `{"object_kind":"push","event_name":"push","before":"%040d","after":"%040d","ref":"refs/heads/x","project_id":999999,"commits":[],"padding":%q}`

// BenchmarkAcknowledge is a webhook over HTTP: answered when it is on disk, at 32 connections.
func BenchmarkAcknowledge(b *testing.B) {
	r := newRig(b)
	r.spawn()
	defer r.kill()
	r.link()
	secret := r.secret()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	padding := strings.Repeat("x", 4800)
	fan(b, func(i int64) error {
		req, err := http.NewRequest("POST", r.url+"/webhooks/gitlab", strings.NewReader(fmt.Sprintf(hookBody, i, i+1, padding)))
		if err != nil {
			return err
		}
		req.Header.Set("X-Gitlab-Token", secret)
		req.Header.Set("X-Gitlab-Event", "Push Hook")
		req.Header.Set("Idempotency-Key", fmt.Sprintf("bench-%d-%d", b.N, i))
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		_, err = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		return err
	})
}

// BenchmarkAcknowledgeBareBatch is what the disk allows: bbolt's own Batch with values of the same size.
func BenchmarkAcknowledgeBareBatch(b *testing.B) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("bare"))
		return err
	}); err != nil {
		b.Fatal(err)
	}
	db.MaxBatchDelay = time.Millisecond // as the store has it
	value := bytes.Repeat([]byte("x"), 5000)
	fan(b, func(i int64) error {
		return db.Batch(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("bare")).Put(fmt.Appendf(nil, "%020d", i), value)
		})
	})
}

// BenchmarkDelivery measures a push to a merge request's branch: from the delivery to the first status in GitLab, and to
// the final one. After each, the same init, plan and show is done by hand, so that the ratio is taken side by side.
// Every push changes the code and nothing that init reads.
//
// Cold is a stack's first runs: each does its own init. Warm is after a tracked run whose init was kept: what is compared
// is the same, a fresh folder with an init of its own. With policies, two are asked of each plan.
func BenchmarkDelivery(b *testing.B) {
	b.Run("cold", func(b *testing.B) { benchDelivery(b, false, nil) })
	b.Run("warm", func(b *testing.B) { benchDelivery(b, true, nil) })
	policies := []string{
		`deny contains msg if { some rc in input.plan.resource_changes; "delete" in rc.change.actions; msg := sprintf("%s would be destroyed", [rc.address]) }`,
		`warn contains "much at once" if input.delta.add + input.delta.change > 5`,
	}
	b.Run("cold with policies", func(b *testing.B) { benchDelivery(b, false, policies) })
	b.Run("warm with policies", func(b *testing.B) { benchDelivery(b, true, policies) })
}

func benchDelivery(b *testing.B, warm bool, policies []string) {
	r := newRig(b)
	r.exe = built(b)
	r.spawn()
	defer r.kill()
	r.link().stack("network", "infra", nil)
	for i, body := range policies {
		r.policy(fmt.Sprint("policy ", i), "plan", body)
	}
	if warm {
		r.push("main", "Code", map[string]string{"infra/main.tf": resource("a", "seed")})
		r.run("tracked", "unconfirmed")
		until(b, "what init made", func() bool {
			kept, err := filepath.Glob(filepath.Join(r.dir, "warm", "entries", "*.json"))
			return err == nil && len(kept) == 1
		})
	}
	r.quiet()
	var first, last, bare []time.Duration
	phases := map[string][]time.Duration{}
	for i := range b.N {
		code := resource("a", strconv.Itoa(i))
		f, l := r.pushed("bench-"+strconv.Itoa(i), code)
		first, last = append(first, f), append(last, l)
		bare = append(bare, byHand(b, code))
		r.phases(phases)
	}
	for name, took := range phases {
		b.ReportMetric(milliseconds(percentile(took, 0.5)), name+"-ms")
	}
	b.ReportMetric(milliseconds(percentile(first, 0.5)), "first-status-ms")
	b.ReportMetric(milliseconds(percentile(last, 0.5)), "final-status-ms")
	b.ReportMetric(milliseconds(percentile(bare, 0.5)), "bare-tool-ms")
	b.ReportMetric(float64(percentile(last, 0.5))/float64(percentile(bare, 0.5)), "ratio")
	b.ReportMetric(0, "ns/op")
}

// phases adds how long the newest proposed run was in each of its states.
func (r *rig) phases(to map[string][]time.Duration) {
	r.t.Helper()
	var before time.Time
	name := ""
	for _, one := range r.items("/runs?type=proposed&limit=1")[0]["transitions"].([]any) {
		step := one.(map[string]any)
		at, err := time.Parse(time.RFC3339Nano, step["at"].(string))
		if err != nil {
			r.t.Fatal(err)
		}
		if name != "" {
			to[name] = append(to[name], at.Sub(before))
		}
		name, before = step["state"].(string), at
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pushed pushes code and waits for its run: how long after the delivery the first and the final status came.
func (r *rig) pushed(branch, code string) (first, last time.Duration) {
	r.t.Helper()
	sha := r.push(branch, "Bench", map[string]string{"infra/main.tf": code})
	var sent time.Time
	until(r.t, "the delivery", func() bool {
		for _, d := range r.sim.HookDeliveries(r.project.ID) {
			if bytes.Contains(d.Body, []byte(sha)) {
				sent = d.At
				return true
			}
		}
		return false
	})
	r.status(sha, "groundcrew/network", "success")
	h := r.sim.Statuses(r.project.ID, sha)[0].History
	return h[0].At.Sub(sent), h[len(h)-1].At.Sub(sent)
}

// byHand is the same init, plan and show without us.
func byHand(b *testing.B, code string) time.Duration {
	b.Helper()
	exe, err := exec.LookPath(map[string]string{"terraform": "terraform", "opentofu": "tofu"}[tool(b)])
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(code), 0o600); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for _, args := range [][]string{{"init", "-input=false"}, {"plan", "-input=false", "-out=tfplan"}, {"show", "-json", "tfplan"}} {
		cmd := exec.Command(exe, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		// Runs give way to the server; on a machine that does something else too, so must what they are compared with.
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, 10); err != nil {
			b.Fatal(err)
		}
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("10"), 0) // where the kernel has it
		if err := cmd.Wait(); err != nil {
			b.Fatalf("%v: %s", err, &out)
		}
	}
	return time.Since(start)
}

// BenchmarkColdStart starts the built binary on a data folder with 100,000 runs and waits for its first answer. It
// reports the binary's size and its memory at rest too.
func BenchmarkColdStart(b *testing.B) {
	exe := built(b)
	info, err := os.Stat(exe)
	if err != nil {
		b.Fatal(err)
	}
	dir := dataDir(b)
	manyRuns(b, dir, 100_000)
	var starts []time.Duration
	var rss float64
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		cmd := exec.Command(exe, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), "GROUNDCREW_ADMIN_PASSWORD="+adminPW)
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		m := listens.FindStringSubmatch(line)
		if err != nil || m == nil {
			b.Fatalf("%v: %s", err, line)
		}
		resp, err := http.Get(m[1] + "/readyz")
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		starts = append(starts, time.Since(start))
		rss = residentMB(b, cmd.Process.Pid)
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	b.ReportMetric(float64(percentile(starts, 0.5).Microseconds())/1000, "start-ms")
	b.ReportMetric(rss, "idle-MB")
	b.ReportMetric(float64(info.Size())/1e6, "binary-MB")
	b.ReportMetric(0, "ns/op")
}

// manyRuns fills a data folder with finished runs.
func manyRuns(b *testing.B, dir string, n int) {
	b.Helper()
	st, err := store.Open(store.Options{Dir: dir, NoSync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	for done := 0; done < n; {
		err := st.Update(func(tx *store.Tx) error {
			for range 1000 {
				id := tx.NewID()
				meta := runs.Meta{At: tx.Now()}
				events := []runs.Event{
					runs.Requested{Meta: meta, Run: runs.Run{Stack: "s" + strconv.Itoa(done%50), Project: 1, Type: runs.Proposed, Commit: runs.Commit{SHA: fmt.Sprintf("%040d", done)}}},
					runs.Cancel{Meta: meta},
				}
				for _, ev := range events {
					if _, err := tx.Apply(id, ev); err != nil {
						return err
					}
				}
				due, err := tx.DueReports()
				if err != nil {
					return err
				}
				for _, r := range due { // GitLab was told of each
					r.State = store.ReportDelivered
					if err := tx.PutReport(r); err != nil {
						return err
					}
				}
				done++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// residentMB is a process's resident memory.
func residentMB(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(kb, " kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1000
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
