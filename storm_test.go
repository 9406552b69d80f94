package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
)

// stormTime is how long the storm lasts; GROUNDCREW_STORM=10s is a short one.
func stormTime(t *testing.T) time.Duration {
	d, err := time.ParseDuration(cmp.Or(os.Getenv("GROUNDCREW_STORM"), "1m"))
	if err != nil {
		t.Fatalf("GROUNDCREW_STORM: %v", err)
	}
	return d
}

// TestStorm kills the server with SIGKILL every two seconds under a stream of pushes from several branches, with
// merge requests that open and close in between. Nothing that was accepted may be lost or happen twice, and every commit
// that was ever the head of a branch ends with a final status.
func TestStorm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link().stack("network", "infra", nil)
	r.stack("edge", "edge", nil)
	r.quiet()

	branches := []string{"feature/a", "feature/b", "feature/c", "feature/d"}
	heads := map[string][]string{}
	mrs := map[string]int64{}
	kills := 0
	end := time.Now().Add(stormTime(t))
	lastKill := time.Now()
	for i := 0; time.Now().Before(end); i++ {
		b := branches[i%len(branches)]
		dir := []string{"infra", "edge"}[i/2%2]
		heads[b] = append(heads[b], r.push(b, fmt.Sprint("Push ", i), map[string]string{dir + "/main.tf": resource("x", strconv.Itoa(i))}))
		if i == 5 || i == 6 {
			mrs[b] = r.openMR(b, "Merge "+b)
		}
		time.Sleep(300 * time.Millisecond) // the pace of the pushes: part of what is tested
		if time.Since(lastKill) > 2*time.Second {
			r.kill()
			kills++
			r.spawn()
			lastKill = time.Now()
		}
	}
	t.Logf("%d kills, %d pushes", kills, len(slices.Concat(heads["feature/a"], heads["feature/b"], heads["feature/c"], heads["feature/d"])))
	closed := ""
	for b, iid := range mrs {
		if closed == "" {
			closed = b
			if err := r.sim.CloseMergeRequest(r.project.ID, iid, r.author.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.sim.WaitHooks()
	// A delivery that found nobody listening is GitLab's to send again: here a person presses "Resend".
	for _, d := range r.unanswered() {
		if err := r.sim.Redeliver(d.ID); err != nil {
			t.Fatal(err)
		}
	}
	r.sim.WaitHooks()
	var left []string
	defer func() {
		if t.Failed() {
			t.Log("left: ", strings.Join(left, "; "))
		}
	}()
	// All in one look: what a comparison with GitLab finds after the last start comes as a delivery of its own, and late.
	until(t, "the end of all deliveries, runs, reports and statuses", func() bool {
		left = r.stormStatuses(heads, closed)
		return len(left) == 0 && len(r.items("/deliveries?state=waiting")) == 0 && len(r.items("/reports?state=waiting")) == 0 &&
			len(r.items("/runs?limit=200&state=queued,preparing,initializing,planning")) == 0
	})
	r.checkStorm()
}

// stormStatuses says which commits do not show a final status, and which heads no plan.
func (r *rig) stormStatuses(heads map[string][]string, closed string) (left []string) {
	for branch, shas := range heads {
		for i, sha := range shas {
			statuses := r.sim.Statuses(r.project.ID, sha)
			if len(statuses) == 0 {
				left = append(left, fmt.Sprintf("%s: commit %d of %d has no status", branch, i+1, len(shas)))
			}
			for _, s := range statuses {
				if s.Retried {
					continue
				}
				head := i == len(shas)-1 && branch != closed
				if s.State != "success" && (head || s.State != "canceled") {
					left = append(left, fmt.Sprintf("%s: commit %d of %d shows %s %q", branch, i+1, len(shas), s.State, s.Description))
				}
			}
		}
	}
	return left
}

// unanswered are the deliveries that got no answer, in whatever repetition.
func (r *rig) unanswered() []sim.HookDelivery {
	answered := map[string]bool{}
	last := map[string]sim.HookDelivery{}
	for _, d := range r.sim.HookDeliveries(r.project.ID) {
		answered[d.IdempotencyKey] = answered[d.IdempotencyKey] || d.Status == 200
		last[d.IdempotencyKey] = d
	}
	var out []sim.HookDelivery
	for key, d := range last {
		if !answered[key] {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b sim.HookDelivery) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// checkStorm looks for what happened twice or went wrong.
func (r *rig) checkStorm() {
	t := r.t
	t.Helper()
	for _, d := range r.everything("/deliveries") {
		if d["state"] != "done" {
			t.Errorf("a delivery is %v: %v", d["state"], d["verdict"])
		}
	}
	seen := map[string]string{}
	for _, run := range r.everything("/runs") {
		key := fmt.Sprint(run["stack"], " ", run["commit"])
		if id, twice := seen[key]; twice {
			t.Errorf("%s has the runs %s and %v", key, id, run["id"])
		}
		seen[key] = run["id"].(string)
		if s := run["state"]; s != "finished" && s != "canceled" && s != "stopped" {
			t.Errorf("run %v is %v: %v\n%s", run["id"], s, run["reason"], r.logs(run["id"].(string)))
		}
	}
	until(t, "the end of the last process", func() bool { return len(processesOf(t, r.dir)) == 0 })
}

// processesOf lists the processes of runs whose workspaces are below dir: those whose command line, working folder or
// environment names it. The server itself, which does too, is left out.
func processesOf(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range list {
		cmdline, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || len(cmdline) == 0 || filepath.Base(p) == strconv.Itoa(os.Getpid()) || bytes.Contains(cmdline, []byte("\x00serve\x00")) {
			continue // it ended, or it is a zombie that only waits to be reaped
		}
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		work := filepath.Join(dir, "work")
		if strings.HasPrefix(cwd, work) || bytes.Contains(cmdline, []byte(work)) || bytes.Contains(env, []byte(work)) {
			out = append(out, filepath.Base(p)+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return out
}

// A crowdFigures is what sixty merge requests at once took, sorted, from the moment each was opened.
type crowdFigures struct {
	first, final []time.Duration            // until GitLab showed the first status, and the last one
	finalOf      map[string][]time.Duration // the latter by stack
	peakMB       float64                    // proportional memory of server, shims and tools together
}

// quantile is the value below which the share q of a sorted list lies.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (f crowdFigures) String() string {
	line := func(l []time.Duration) string {
		return fmt.Sprintf("p50 %v, p90 %v, max %v", quantile(l, 0.5).Round(time.Millisecond), quantile(l, 0.9).Round(time.Millisecond), l[len(l)-1].Round(time.Millisecond))
	}
	return fmt.Sprintf("first status %s; final status %s, median %.2f of the slowest; memory %.0f MB",
		line(f.first), line(f.final), quantile(f.final, 0.5).Seconds()/f.final[len(f.final)-1].Seconds(), f.peakMB)
}

// sixty opens merge requests of sixty branches, which are there already, over six stacks, all at once, and waits for the end.
// The last of the stacks has so many more resources than the others; both tools take much longer for those.
func (r *rig) sixty(bulk int) crowdFigures {
	t := r.t
	t.Helper()
	shas := make([]string, 60)
	for i := range shas {
		b := fmt.Sprint("change-", i)
		code := resource("x", b)
		if i%6 == 5 && bulk > 0 {
			code += fmt.Sprintf("resource \"terraform_data\" \"bulk\" {\n  for_each = toset([for i in range(%d) : tostring(i)])\n}\n", bulk)
		}
		shas[i] = r.push(b, b, map[string]string{fmt.Sprint("s", i%6) + "/main.tf": code})
	}
	for i := range 6 {
		r.stack(fmt.Sprint("stack-", i), fmt.Sprint("s", i), nil)
	}
	r.quiet()
	peak := make(chan float64, 1)
	halt := make(chan struct{})
	go func() { peak <- treePeakMB(r.proc.Process.Pid, halt) }()
	opened := make([]time.Time, len(shas))
	for i := range shas {
		opened[i] = time.Now()
		r.openMR(fmt.Sprint("change-", i), fmt.Sprint("change-", i))
	}
	f := crowdFigures{finalOf: map[string][]time.Duration{}}
	for i, sha := range shas {
		stack := fmt.Sprint("stack-", i%6)
		st := r.status(sha, "groundcrew/"+stack, "success")
		final := st.History[len(st.History)-1].At.Sub(opened[i])
		f.first = append(f.first, st.History[0].At.Sub(opened[i]))
		f.final = append(f.final, final)
		f.finalOf[stack] = append(f.finalOf[stack], final)
	}
	close(halt)
	f.peakMB = <-peak
	slices.Sort(f.first)
	slices.Sort(f.final)
	return f
}

// treePeakMB watches the proportional memory of a process and all below it until halt is closed.
func treePeakMB(root int, halt <-chan struct{}) (peak float64) {
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for {
		peak = max(peak, treeMB(root))
		select {
		case <-halt:
			return peak
		case <-tick.C:
		}
	}
}

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)

func treeMB(root int) (mb float64) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[string][]string{}
	for _, f := range stats {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		children[fields[1]] = append(children[fields[1]], filepath.Base(filepath.Dir(f)))
	}
	for todo := []string{strconv.Itoa(root)}; len(todo) > 0; todo = todo[1:] {
		todo = append(todo, children[todo[0]]...)
		raw, err := os.ReadFile(filepath.Join("/proc", todo[0], "smaps_rollup"))
		if m := pssLine.FindSubmatch(raw); err == nil && m != nil {
			kb, _ := strconv.ParseFloat(string(m[1]), 64)
			mb += kb / 1000
		}
	}
	return mb
}

func TestSixtyMergeRequestsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link()
	f := r.sixty(160)
	t.Log(f)
	if f.peakMB > 300*heavier {
		t.Errorf("server, shims and tools took %.0f MB together", f.peakMB)
	}
	last := f.final[len(f.final)-1]
	if first := quantile(f.first, 0.9); first > last/2 {
		t.Errorf("GitLab showed nothing of a merge request for %v, while all took %v", first, last)
	}
	quick := time.Duration(0)
	for stack, took := range f.finalOf {
		if stack != "stack-5" {
			quick = max(quick, slices.Max(took))
		}
	}
	before := 0
	for _, took := range f.finalOf["stack-5"] {
		if took < quick {
			before++
		}
	}
	if before > 6 { // taking turns they would be nine
		t.Errorf("the quick stacks waited for %d of the slow one's runs", before)
	}
	for stack, took := range f.finalOf { // ten each, and each stack has its share all the time
		if slices.Min(took) > last/2 {
			t.Errorf("%s had its first turn after %v of %v", stack, slices.Min(took), last)
		}
	}
	r.quiet()
	r.unrefused()
	until(t, "the end of the last process", func() bool { return len(processesOf(t, r.dir)) == 0 })
}

// TestSixtyMergeRequestsAskPolicies: several processes beside each other ask about pushes and plans, and all of it stays small.
func TestSixtyMergeRequestsAskPolicies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	r.link()
	r.policy("No documents", "push", `ignore contains "only documents" if { count(input.push.files) > 0; every f in input.push.files { endswith(f, ".md") } }`)
	r.policy("Names", "plan", `deny contains rc.address if { some rc in input.plan.resource_changes; startswith(rc.name, "bad") }`)
	f := r.sixty(40)
	t.Log(f)
	if f.peakMB > 300*heavier {
		t.Errorf("server, shims, tools and policies took %.0f MB together", f.peakMB)
	}
	for _, slug := range []string{"no-documents", "names"} {
		for _, s := range r.items("/policies/" + slug + "/samples") {
			if o := s["outcome"]; o != "allow" && o != "undecided" {
				t.Errorf("%s said %v: %v", slug, o, s["messages"])
			}
		}
	}
	r.quiet()
	r.unrefused()
}

// BenchmarkSixtyMergeRequests gives the figures on the built program.
func BenchmarkSixtyMergeRequests(b *testing.B) {
	b.Run("equal", func(b *testing.B) { benchSixty(b, 0) })
	b.Run("unequal", func(b *testing.B) { benchSixty(b, 200) })
}

func benchSixty(b *testing.B, bulk int) {
	for range b.N {
		r := newRig(b)
		r.exe = built(b)
		r.spawn()
		r.link()
		idle := treeMB(r.proc.Process.Pid)
		f := r.sixty(bulk)
		b.Log(f)
		b.ReportMetric(quantile(f.first, 0.5).Seconds(), "first-status-s")
		b.ReportMetric(quantile(f.final, 0.5).Seconds(), "median-s")
		b.ReportMetric(f.final[len(f.final)-1].Seconds(), "slowest-s")
		b.ReportMetric(f.peakMB, "peak-MB")
		b.ReportMetric(idle, "idle-MB")
		b.ReportMetric(0, "ns/op")
		r.kill()
	}
}
