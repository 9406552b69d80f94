package web

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"groundcrew/runs"
	"groundcrew/runs/logs"
	"groundcrew/store"
)

// TestEarlierStretches walks from the end of a log to its beginning: nothing is left out but the rest of very long lines, and
// nothing comes twice.
func TestEarlierStretches(t *testing.T) {
	var many bytes.Buffer
	for i := range 20_000 {
		fmt.Fprintf(&many, "line %d %s\n", i, strings.Repeat("x", i%97))
	}
	long := strings.Repeat("y", 3*tailBytes)
	for name, text := range map[string]string{
		"lines": many.String(), "no end": many.String() + "end", "one": long, "one line": long + "\n",
		"between":  many.String() + long + "\n" + many.String(),
		"last":     many.String() + long,
		"enormous": "first\n" + strings.Repeat("z", 2*farthest+17) + "\nlast\n" + many.String(), "empty lines": strings.Repeat("\n", 3*tailBytes),
	} {
		read, left, ends, steps := 0, int64(0), 0, 0
		for at := int64(len(text)); at > 0; steps++ {
			e, err := earlier(strings.NewReader(text), at)
			must(t, err)
			if want := text[e.start : e.start+int64(len(e.text))]; string(e.text) != want || e.start+int64(len(e.text))+e.gap > at || len(e.text) > tailBytes {
				t.Fatalf("%s before %d: %d bytes from %d and a gap of %d", name, at, len(e.text), e.start, e.gap)
			}
			if e.start >= at {
				t.Fatalf("%s does not go on at %d", name, at)
			}
			read, left, ends, at = read+len(e.text), left+e.gap, ends+e.ends, e.start
		}
		if whole := strings.Count(text, "\n"); ends != whole {
			t.Errorf("%s: %d line ends of %d", name, ends, whole)
		}
		if lost := int64(len(text)-read) - left; lost < 0 || lost > 3 { // the end of a long line stands in no piece
			t.Errorf("%s: %d bytes read, %d left out of %d", name, read, left, len(text))
		}
		if (name == "lines" || name == "no end" || name == "empty lines") && left != 0 {
			t.Errorf("%s: %d bytes were left out", name, left)
		}
		t.Log(name, steps, "steps")
	}
}

// longLog makes a run with a log of very many lines.
func (s *site) longLog(n int) (runs.Run, string) {
	s.stack("a")
	r := s.request("a", runs.Proposed, "c1")
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "line <%d> of the plan\n", i+1)
	}
	s.writeLog(r.ID, runs.Planning, text.String())
	s.apply(r.ID, runs.Discard{Meta: now()})
	return r, text.String()
}

var (
	moreAt = regexp.MustCompile(`data-(?:earlier|more)="([^"]*)"`)
	oneRow = regexp.MustCompile(`<li id="planning-L(\d+)">line &lt;(\d+)&gt; of the plan</li>`)
)

// TestEarlierLines reads a whole log as the page's control does, also once the log is compressed.
func TestEarlierLines(t *testing.T) {
	s := newSite(t)
	const n = 20_000
	r, _ := s.longLog(n)
	b := s.signedIn(store.Reader)
	for _, packed := range []bool{false, true} {
		if packed {
			must(t, logs.Compress(s.eng.LogFile(r.ID, runs.Planning)))
		}
		body := s.get(b, "/runs/"+r.ID).body
		next := n
		for {
			rows := oneRow.FindAllStringSubmatch(body, -1)
			for i := len(rows) - 1; i >= 0; i-- {
				if rows[i][1] != strconv.Itoa(next) || rows[i][2] != rows[i][1] {
					t.Fatalf("line %s has the id %s, want %d", rows[i][2], rows[i][1], next)
				}
				next--
			}
			m := moreAt.FindStringSubmatch(body)
			if m == nil || m[1] == "" {
				break
			}
			got := s.get(b, html.UnescapeString(m[1]))
			if got.status != 200 || len(got.body) > 8*tailBytes {
				t.Fatalf("%s: %d, %d bytes", m[1], got.status, len(got.body))
			}
			body = got.body
		}
		if next != 0 {
			t.Errorf("packed %v: the first %d lines did not come", packed, next)
		}
	}
	raw := "/runs/" + r.ID + "/logs/planning/earlier"
	for path, want := range map[string]int{
		raw: 422, raw + "?before=x&line=1": 422, raw + "?before=-5&line=1": 422, raw + "?before=5&line=0": 422, raw + "?before=9999999999999&line=1": 200,
		"/runs/" + r.ID + "/logs/applying/earlier?before=5&line=1": 404, "/runs/" + r.ID + "/logs/evil/earlier?before=5&line=1": 404, "/runs/X/logs/planning/earlier?before=5&line=1": 404,
	} {
		if got := s.get(b, path); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
}

// TestLoadEarlierLines clicks until a real browser shows the whole log.
func TestLoadEarlierLines(t *testing.T) {
	s := newSite(t)
	const n = 8000
	r, _ := s.longLog(n)
	ctx, trouble := hostileBrowser(t, s.srv.URL)
	jar := s.signedIn(store.Reader).Jar.Cookies(mustURL(t, s.srv.URL))
	if _, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: jar[0].Name, Value: jar[0].Value, URL: s.srv.URL}); err != nil {
		t.Fatal(err)
	}
	step, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	must(t, chromedp.Do(step, chromedp.Navigate(s.srv.URL+"/runs/"+r.ID), chromedp.WaitReady("body")))
	_, err := chromedp.Run(step, chromedp.Poll[bool](`(() => {
		const b = document.querySelector("[data-earlier]");
		b.closest("details").open = true;
		if (!b.disabled && !b.parentElement.hidden) b.click();
		return b.parentElement.hidden;
	})()`))
	must(t, err)
	shown, err := chromedp.Run(step, chromedp.Evaluate[string](`[document.querySelectorAll("#log-planning li").length, document.querySelector("#log-planning ol").start,
		document.querySelector("#log-planning li").textContent, document.querySelector("#log-planning li:last-child").id].join("|")`))
	if want := fmt.Sprintf("%d|1|line <1> of the plan|planning-L%d", n, n); err != nil || shown != want {
		t.Errorf("it shows %q, want %q; %v", shown, want, err)
	}
	for _, bad := range trouble() {
		t.Error(bad)
	}
}
