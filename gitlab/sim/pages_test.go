package sim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// page gets a page of the project and fails unless every text is in it.
func (w *world) page(path string, texts ...string) string {
	w.t.Helper()
	got := w.do(w.request("GET", w.url+"/"+w.project.Path+path, nil))
	if got.status != http.StatusOK {
		w.t.Fatalf("%s: %d %s", path, got.status, got.raw)
	}
	for _, text := range texts {
		if !strings.Contains(got.raw, text) {
			w.t.Errorf("%s lacks %s:\n%s", path, text, got.raw)
		}
	}
	return got.raw
}

// click posts a form and returns the answer.
func (w *world) click(path string, form url.Values, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", w.url+"/"+w.project.Path+path, strings.NewReader(form.Encode()))
	w.check(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return w.do(req)
}

func TestPages(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RelativeRoot = "/scm" })
	rc := w.receiver("push_events")
	sha := w.push("feature", map[string]string{"a.tf": "one\n"})
	rc.next(t, "Push Hook")
	iid := w.openMR("feature")
	w.post(201, "developer", sha, "running", map[string]any{"name": "groundcrew/net", "description": "Planning", "target_url": "https://gc.example.com/runs/1"})
	_, err := w.s.AddNote(w.project.ID, iid, w.users["developer"].ID, "| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script>")
	w.check(err)
	deploy := map[string]any{"environment": "production/net", "sha": sha, "ref": "feature", "tag": false, "status": "success"}
	w.want(201, "developer", "POST", w.in("/deployments"), deploy)
	w.s.WaitHooks()

	mr := "/-/merge_requests/" + itoa(iid)
	w.page("", `data-testid="merge-request" data-iid="1" data-state="opened"`, `data-testid="branch" data-name="feature"`, "/scm/acme/platform/infra-stack/-/pipelines")
	body := w.page(mr, `data-testid="job" data-name="groundcrew/net" data-status="running"`, "Planning", `href="https://gc.example.com/runs/1"`,
		`data-testid="note"`, "<table>", `value="a.tf" data-testid="push-path"`, "\none\n</textarea>", `data-testid="merge-button">Merge`, "&lt;script&gt;", "&#43;one")
	if strings.Contains(body, "<script") {
		t.Error("a script of a comment is in the page")
	}
	w.page("/-/environments", `data-testid="environment" data-name="production/net"`, `data-testid="deployment" data-status="success" data-sha="`+sha)
	w.page("/-/pipelines", `data-testid="pipeline"`)
	w.page("/-/pipelines/3301", `data-testid="job"`)
	w.page("/-/hooks", `data-testid="delivery" data-status="200" data-event="Push Hook"`)
	w.page("/-/commit/"+sha, "&#43;one", "Change feature")
	w.page("/-/merge_requests?refresh=2", `http-equiv="refresh" content="2"`)
	if strings.Contains(w.page("/-/merge_requests"), "http-equiv") {
		t.Error("a page refreshes though nobody asked")
	}
	for _, path := range []string{"/-/pipelines/9", "/-/merge_requests/99", "/-/nothing", "x"} {
		if got := w.do(w.request("GET", w.url+"/"+w.project.Path+path, nil)); got.status != 404 {
			t.Errorf("%s: %d, want 404", path, got.status)
		}
	}
	if got := w.do(w.request("GET", w.url+"/", nil)); !strings.Contains(got.raw, `data-testid="project" data-path="acme/platform/infra-stack"`) {
		t.Errorf("the list of projects: %s", got.raw)
	}
	if got := w.do(w.request("GET", w.url+"/-/style.css", nil)); !strings.HasPrefix(got.header.Get("Content-Type"), "text/css") {
		t.Errorf("style sheet: %v", got.header)
	}
	if len(w.s.Refused()) != 0 {
		t.Errorf("missing pages count as refused: %v", w.s.Refused())
	}
}

func TestPageActions(t *testing.T) {
	w := newWorld(t)
	got := w.click("/-/merge_requests", url.Values{"branch": {"demo/one"}, "path": {"main.tf"}, "content": {"a\r\nb"}, "message": {"Try it"}})
	if got.status != http.StatusSeeOther || !strings.HasSuffix(got.header.Get("Location"), "/-/merge_requests/1") {
		t.Fatalf("propose: %d %v", got.status, got.header)
	}
	w.s.WaitHooks()
	mr := "/-/merge_requests/1"
	w.click(mr+"/push", url.Values{"path": {"main.tf"}, "content": {"c"}})
	raw := w.want(200, "developer", "GET", w.in("/repository/files/main.tf/raw?ref=demo/one"), nil).raw
	if raw != "c\n" {
		t.Errorf("the pushed file is %q", raw)
	}
	w.click(mr+"/note", url.Values{"body": {"Looks **good**"}})
	w.page(mr, "<strong>good</strong>")
	w.click(mr+"/close", nil)
	if got := w.click(mr+"/close", nil); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.raw, "only an open one can be closed") {
		t.Errorf("closing twice: %d %s", got.status, got.raw)
	}
	w.click(mr+"/reopen", nil)
	w.check(w.s.Configure(w.project.ID, func(s *Settings) { s.PipelineMustSucceed = true }))
	w.page(mr, `data-testid="merge-button" disabled`, "ci must pass")
	if got := w.click(mr+"/merge", nil); got.status != http.StatusUnprocessableEntity {
		t.Errorf("merging a blocked one: %d", got.status)
	}
	w.check(w.s.Configure(w.project.ID, func(s *Settings) { s.PipelineMustSucceed = false }))
	if got := w.click(mr+"/merge", nil, "Sec-Fetch-Site", "cross-site"); got.status != http.StatusForbidden {
		t.Errorf("a form of another site: %d, want 403", got.status)
	}
	w.click(mr+"/merge", nil)
	view, err := w.s.MergeRequest(w.project.ID, 1)
	w.check(err)
	if view.State != "merged" || w.s.Head(w.project.ID, "main") != view.MergeCommitSHA {
		t.Errorf("after Merge: %+v", view)
	}
	for _, form := range []url.Values{
		{"branch": {"main"}, "path": {"x"}, "content": {"x"}},
		{"branch": {"a..b"}, "path": {"x"}, "content": {"x"}},
		{"branch": {"ok"}, "path": {"../x"}, "content": {"x"}},
	} {
		if got := w.click("/-/merge_requests", form); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%v: %d, want 422", form, got.status)
		}
	}
	if got := w.click("/-/merge_requests/1/explode", nil); got.status != http.StatusNotFound {
		t.Errorf("an unknown action: %d", got.status)
	}
}

func TestMarkdown(t *testing.T) {
	for text, want := range map[string]string{
		"a **b**": "<p>a <strong>b</strong></p>\n",
		"<details><summary>Plan</summary>\n\n```\n+ x\n```\n\n</details>": "<details><summary>Plan</summary>\n<pre><code>+ x\n</code></pre>\n</details>",
		"<!-- marker -->\nx":                            "\n<p>x</p>\n",
		"<b onclick=x>y</b>":                            "<p>&lt;b onclick=x&gt;y&lt;/b&gt;</p>\n",
		"<details onclick=\"x\">y":                      "&lt;details onclick=&#34;x&#34;&gt;y",
		"[a](javascript:alert)":                         "<p><a href=\"\">a</a></p>\n",
		"|a|\n|-|\n|1|":                                 "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n</tr>\n</tbody>\n</table>\n",
		"line <br> two<sub>x</sub> <summary>s<i>i":      "<p>line <br> two&lt;sub&gt;x&lt;/sub&gt; <summary>s&lt;i&gt;i</p>\n",
		"<script>\nx\n</script>":                        "&lt;script&gt;\nx\n&lt;/script&gt;\n",
		"<!-- two\nlines --> <details open>x</details>": " <details open>x</details>",
	} {
		if got := string(renderMarkdown(text)); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}
