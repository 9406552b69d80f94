package main

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// floodSize is how many deliveries come at once: GROUNDCREW_FLOOD=1000 is the long test.
func floodSize(t *testing.T) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("GROUNDCREW_FLOOD"), "120"))
	if err != nil {
		t.Fatalf("GROUNDCREW_FLOOD: %v", err)
	}
	return n
}

// TestFloodOfDeliveries sends very many pushes of a real branch each at once, from as many 32 as GitLab would,
// and looks that each is accepted at once, has its verdict soon and its run in the end, within little memory. Every tenth
// push concerns a stack; the others are ignored with their reason.
func TestFloodOfDeliveries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spawn()
	n := floodSize(t)
	var bodies [][]byte
	concerned := map[string]bool{}
	for i := range n {
		file, sha := "docs/x.md", fmt.Sprintf("%040x", i+1)
		if i%10 == 0 {
			file = "infra/main.tf"
			sha = r.push(fmt.Sprint("flood-", i), "Change", map[string]string{file: resource("x", strconv.Itoa(i))})
			concerned[sha] = true
		}
		bodies = append(bodies, fmt.Appendf(nil, `{"object_kind":"push","event_name":"push","ref":"refs/heads/flood-%d","before":%q,"after":%q,"checkout_sha":%q,
			"project_id":%d,"project":{"id":%d,"path_with_namespace":%q,"default_branch":"main"},"total_commits_count":1,
			"commits":[{"id":%q,"message":"Push %d","added":[%q],"modified":[],"removed":[]}]}`,
			i, strings.Repeat("0", 40), sha, sha, r.project.ID, r.project.ID, projectAt, sha, i, file))
	}
	r.link().stack("network", "infra", nil) // so GitLab delivered none of these itself
	r.quiet()
	secret := r.secret()
	peak, halt := make(chan float64, 1), make(chan struct{})
	go func() { peak <- treePeakMB(r.proc.Process.Pid, halt) }()
	began := time.Now()
	var wg sync.WaitGroup
	work := make(chan []byte)
	for range connections {
		wg.Go(func() {
			for body := range work {
				if got := r.deliver("Push Hook", secret, body); got != 200 {
					t.Errorf("a delivery was answered %d", got)
				}
			}
		})
	}
	for _, b := range bodies {
		work <- b
	}
	close(work)
	wg.Wait()
	accepted := time.Since(began)
	until(t, "all verdicts", func() bool { return len(r.items("/deliveries?state=waiting")) == 0 })
	verdicts := time.Since(began)
	for sha := range concerned {
		r.status(sha, "groundcrew/network", "success")
	}
	all := time.Since(began)
	close(halt)
	mb := <-peak
	t.Logf("%d deliveries: accepted after %v, all verdicts after %v, %d runs and their statuses after %v, memory %.0f MB",
		n, accepted.Round(time.Millisecond), verdicts.Round(time.Millisecond), len(concerned), all.Round(time.Millisecond), mb)
	if mb > 300*heavier {
		t.Errorf("server, shims and tools took %.0f MB together", mb)
	}
	seen, started := 0, 0
	for _, d := range r.everything("/deliveries") {
		if d["event"] != "Push Hook" || d["state"] != "done" {
			t.Errorf("%v", d)
		}
		seen++
		started += len(d["runs"].([]any))
	}
	if seen != n || started != len(concerned) {
		t.Errorf("%d deliveries, %d runs", seen, started)
	}
	r.unrefused()
}

// everything reads all pages of a list.
func (r *rig) everything(path string) (all []map[string]any) {
	r.t.Helper()
	for cursor := ""; ; {
		page := r.must("GET", path+"?limit=200&cursor="+cursor, nil, 200)
		for _, it := range page["items"].([]any) {
			all = append(all, it.(map[string]any))
		}
		if cursor, _ = page["next_cursor"].(string); cursor == "" {
			return all
		}
	}
}
