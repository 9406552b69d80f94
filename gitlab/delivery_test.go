package gitlab

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const payloadDir = "testdata/payloads"

// payloadHeaders are the headers GitLab sends with each payload file.
func payloadHeaders(t testing.TB) map[string]http.Header {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(payloadDir, "headers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]map[string]string
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	all := map[string]http.Header{}
	for name, headers := range raw {
		all[name] = http.Header{}
		for k, v := range headers {
			all[name].Set(k, v)
		}
	}
	return all
}

func payloads(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(payloadDir, "*.json"))
	if err != nil || len(names) < 42 {
		t.Fatalf("%d payloads, %v", len(names), err)
	}
	all := map[string][]byte{}
	for _, n := range names {
		if filepath.Base(n) == "headers.json" {
			continue
		}
		if all[filepath.Base(n)], err = os.ReadFile(n); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func readPayload(t *testing.T, name string) Hook {
	t.Helper()
	hook, err := ReadHook(payloadHeaders(t)[name], payloads(t)[name])
	must(t, err)
	return hook
}

func TestReadHookReadsEveryPayload(t *testing.T) {
	headers := payloadHeaders(t)
	for name, body := range payloads(t) {
		hook, err := ReadHook(headers[name], body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := HookOther
		for prefix, kind := range map[string]HookKind{"push_": HookPush, "tag_push_": HookTagPush, "merge_request_": HookMergeRequest, "note_": HookNote} {
			if strings.HasPrefix(name, prefix) {
				want = kind
			}
		}
		if hook.Kind != want || hook.EventName != headers[name].Get(headerEvent) || want != HookOther && (hook.ProjectID != 42 || hook.User.Username == "") {
			t.Errorf("%s: %+v", name, hook)
		}
		if (hook.Push != nil) != (want == HookPush || want == HookTagPush) || (hook.MR != nil) != (want == HookMergeRequest) || (hook.Note != nil) != (want == HookNote) {
			t.Errorf("%s: the wrong part is set: %+v", name, hook)
		}
	}
}

func TestReadHookPush(t *testing.T) {
	want := Hook{
		Kind: HookPush, EventName: "Push Hook", ProjectID: 42, ProjectPath: "acme/platform/infra-stack",
		ProjectURL: "https://gitlab.example.com/acme/platform/infra-stack", DefaultBranch: "main", User: HookUser{7, "jdoe", "Jane Doe"},
		Push: &Push{
			Ref: "refs/heads/main", Branch: "main", Before: "3a26d1c7a2f2db3d8051c152fe8646fdd8fd4580", After: "64f85095c7f77bb6aa31888cff62b382ae3e59f2",
			CheckoutSHA: "64f85095c7f77bb6aa31888cff62b382ae3e59f2", Total: 2, Complete: true,
			Files: []string{"stacks/network/nat.tf", "stacks/network/variables.tf"},
			Head: Commit{
				SHA: "64f85095c7f77bb6aa31888cff62b382ae3e59f2", Title: "Add a second NAT gateway", Message: "Add a second NAT gateway\n", Author: "Jane Doe",
				WebURL: "https://gitlab.example.com/acme/platform/infra-stack/-/commit/64f85095c7f77bb6aa31888cff62b382ae3e59f2",
				At:     time.Date(2026, 3, 2, 9, 20, 0, 0, time.UTC),
			},
		},
	}
	got := readPayload(t, "push_branch_update.json")
	want.Push.Files = got.Push.Files
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(got.Push.Files) == 0 {
		t.Error("no files")
	}
	for name, check := range map[string]func(*Push) bool{
		"push_branch_create.json":            func(p *Push) bool { return p.Created && !p.Complete && p.Branch == "feature/nat" && p.Head.Title != "" },
		"push_branch_create_no_commits.json": func(p *Push) bool { return p.Created && !p.Complete && p.Head.SHA == p.After && p.Head.Title == "" },
		"push_branch_delete.json":            func(p *Push) bool { return p.Deleted && p.CheckoutSHA == "" && !p.Created && !p.Complete },
		"push_more_than_20_commits.json":     func(p *Push) bool { return p.Total == 25 && !p.Complete && len(p.Files) > 0 },
		"tag_push_create_annotated.json": func(p *Push) bool {
			return p.Tag == "v1.1.0" && p.Branch == "" && p.After != p.CheckoutSHA && p.Head.SHA == p.CheckoutSHA
		},
		"tag_push_delete.json": func(p *Push) bool { return p.Deleted && p.Tag == "v1.0.0" },
	} {
		if hook := readPayload(t, name); !check(hook.Push) {
			t.Errorf("%s: %+v", name, hook.Push)
		}
	}
}

func TestReadHookPushOfLongIDs(t *testing.T) {
	zero, sha := strings.Repeat("0", 64), strings.Repeat("ab", 32)
	body := `{"object_kind":"push","ref":"refs/heads/x","before":"` + zero + `","after":"` + sha + `","checkout_sha":"` + sha + `","project_id":5,"commits":[],"total_commits_count":0}`
	hook, err := ReadHook(http.Header{}, []byte(body))
	if err != nil || !hook.Push.Created || hook.Push.CheckoutSHA != sha || hook.ProjectID != 5 || hook.EventName != "push" {
		t.Errorf("%+v, %v", hook.Push, err)
	}
}

// A branch that is moved back lists no commits and changes files all the same.
func TestPushThatMovesBackIsNotComplete(t *testing.T) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	for total, want := range map[string]bool{`,"total_commits_count":0`: false, "": false} {
		hook, err := ReadHook(http.Header{}, []byte(`{"object_kind":"push","ref":"refs/heads/x","before":"`+a+`","after":"`+b+`","project_id":5,"commits":[]`+total+`}`))
		if err != nil || hook.Push.Complete != want || hook.Push.CheckoutSHA != b {
			t.Errorf("%+v, %v", hook.Push, err)
		}
	}
}

func TestReadHookMergeRequest(t *testing.T) {
	hook := readPayload(t, "merge_request_open.json")
	head := "302d471040220613c01a423f6d5708bdb9aebb40"
	want := MergeRequest{
		IID: 12, Title: "NAT gateways", State: "opened", SourceBranch: "feature/nat", TargetBranch: "main", HeadSHA: head, SourceProject: 42, TargetProject: 42,
		WebURL: "https://gitlab.example.com/acme/platform/infra-stack/-/merge_requests/12",
	}
	if diff := cmp.Diff(want, hook.MR.MergeRequest); diff != "" {
		t.Error(diff)
	}
	for name, check := range map[string]func(*MergeRequestHook) bool{
		"merge_request_open.json": func(m *MergeRequestHook) bool {
			return m.Action == "open" && !m.Fork() && m.Head.SHA == head && m.Head.Title != ""
		},
		"merge_request_open_from_fork.json": func(m *MergeRequestHook) bool { return m.Fork() && m.SourceProject == 77 },
		"merge_request_open_draft.json":     func(m *MergeRequestHook) bool { return m.Draft },
		"merge_request_update_new_commit.json": func(m *MergeRequestHook) bool {
			return m.Action == "update" && isSHA(m.OldRev) && m.OldRev != m.HeadSHA
		},
		"merge_request_update_force_push.json":    func(m *MergeRequestHook) bool { return isSHA(m.OldRev) },
		"merge_request_update_labels.json":        func(m *MergeRequestHook) bool { return m.Action == "update" && m.OldRev == "" },
		"merge_request_update_empty_changes.json": func(m *MergeRequestHook) bool { return m.OldRev == "" },
		"merge_request_merge.json": func(m *MergeRequestHook) bool {
			return m.Action == "merge" && m.State == "merged" && isSHA(m.MergeCommitSHA)
		},
		"merge_request_close.json": func(m *MergeRequestHook) bool { return m.Action == "close" && m.State == "closed" },
	} {
		if hook := readPayload(t, name); !check(hook.MR) {
			t.Errorf("%s: %+v", name, hook.MR)
		}
	}
	gone := strings.Replace(string(payloads(t)["merge_request_open.json"]), `"source_project_id": 42`, `"source_project_id": null`, 1)
	if hook, err := ReadHook(http.Header{}, []byte(gone)); err != nil || !hook.MR.Fork() {
		t.Errorf("a fork that is gone: %+v, %v", hook.MR, err)
	}
}

func TestReadHookNote(t *testing.T) {
	note := readPayload(t, "note_on_merge_request.json").Note
	if !note.New || note.Discussion != "" || note.MR == nil || note.MR.IID != 12 || note.Text == "" || note.AuthorID == 0 || note.Action != "create" || note.NoteableType != "MergeRequest" || note.Internal {
		t.Errorf("%+v", note)
	}
	if note := readPayload(t, "note_on_merge_request_edited.json").Note; note.Action != "update" || note.New {
		t.Errorf("%+v", note)
	}
	if note := readPayload(t, "note_on_merge_request_in_thread.json").Note; note.Discussion != "46907a63b4959e3855ffbfbfaf93351f2208da7c" || !note.New {
		t.Errorf("%+v", note)
	}
	for name, isNew := range map[string]bool{"note_on_merge_request.json": true, "note_on_merge_request_edited.json": false} { // of a GitLab that says no action
		old := regexp.MustCompile(`"action": "[a-z]+"`).ReplaceAll(payloads(t)[name], []byte(`"action": null`))
		if hook, err := ReadHook(http.Header{}, old); err != nil || hook.Note.New != isNew {
			t.Errorf("%s: %+v, %v", name, hook.Note, err)
		}
	}
	if note := readPayload(t, "note_on_commit.json").Note; note.MR != nil || note.NoteableType != "Commit" {
		t.Errorf("%+v", note)
	}
	internal := strings.Replace(string(payloads(t)["note_on_merge_request.json"]), `"event_type": "note"`, `"event_type": "confidential_note"`, 1)
	if hook, err := ReadHook(http.Header{}, []byte(internal)); err != nil || !hook.Note.Internal {
		t.Errorf("%+v, %v", hook.Note, err)
	}
}

func TestReadHookRefuses(t *testing.T) {
	a := `"` + strings.Repeat("a", 40) + `"`
	push := `{"object_kind":"push","project_id":1,"ref":"refs/heads/x","before":` + a + `,"after":` + a
	for name, body := range map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "text": `"push"`, "a number": "5", "no JSON": "{", "two": `{} {}`,
		"wrong type":            `{"object_kind":5}`,
		"push with a wrong ref": strings.Replace(push, "refs/heads/x", "refs/notes/x", 1) + "}",
		"push without project":  strings.Replace(push, `"project_id":1,`, "", 1) + "}",
		"push of no commit":     strings.Replace(push, a, `"--upload-pack=x"`, 1) + "}",
		"push checkout":         push + `,"checkout_sha":"../x"}`,
		"push wrong type":       push + `,"commits":{}}`,
		"merge request alone":   `{"object_kind":"merge_request"}`,
		"no target":             `{"object_kind":"merge_request","object_attributes":{"iid":1}}`,
		"bad head":              `{"object_kind":"merge_request","object_attributes":{"iid":1,"target_project_id":1,"last_commit":{"id":"x"}}}`,
		"note alone":            `{"object_kind":"note"}`,
		"note without id":       `{"object_kind":"note","project_id":1}`,
		"note without MR":       `{"object_kind":"note","project_id":1,"object_attributes":{"id":1,"noteable_type":"MergeRequest"}}`,
	} {
		if hook, err := ReadHook(http.Header{}, []byte(body)); KindOf(err) != KindInvalid || len(err.Error()) < 20 {
			t.Errorf("%s: %+v, %v", name, hook, err)
		}
	}
	if hook, err := ReadHook(http.Header{headerEvent: {"Strange Hook"}}, []byte(`{"project_id":"five"}`)); err != nil || hook.Kind != HookOther || hook.EventName != "Strange Hook" {
		t.Errorf("an event nobody knows: %+v, %v", hook, err)
	}
}

func TestDeliveryKey(t *testing.T) {
	body := []byte(`{"x":1}`)
	with := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	id := DeliveryKey(with("webhook-id", "abc", "X-Gitlab-Event-UUID", "u1", "X-Gitlab-Webhook-UUID", "r1"), body)
	if id != "id:abc" || id != DeliveryKey(with("Idempotency-Key", "abc", "X-Gitlab-Webhook-UUID", "r2"), []byte("other")) {
		t.Errorf("by id: %q", id)
	}
	event := DeliveryKey(with(headerEvent, "Push Hook", "X-Gitlab-Event-UUID", "u1", "X-Gitlab-Webhook-UUID", "r1"), body)
	if event != DeliveryKey(with(headerEvent, "Push Hook", "X-Gitlab-Event-UUID", "u1", "X-Gitlab-Webhook-UUID", "r2"), body) {
		t.Error("the same delivery has two keys")
	}
	keys := map[string]bool{
		id: true, event: true,

		DeliveryKey(with(headerEvent, "Push Hook", "X-Gitlab-Event-UUID", "u1"), []byte(`{"x":2}`)): true,

		DeliveryKey(with(headerEvent, "Note Hook", "X-Gitlab-Event-UUID", "u1"), body): true,

		DeliveryKey(with(headerEvent, "Push Hook"), body): true,

		DeliveryKey(with(headerEvent, "Note Hook"), body): true,

		DeliveryKey(with(), body): true,

		DeliveryKey(with("webhook-id", "a b\n", headerEvent, "System Hook"), body): true,

		DeliveryKey(with("webhook-id", strings.Repeat("x", 2000), headerEvent, "Merge Request Hook"), body): true,
	}
	if len(keys) != 9 {
		t.Errorf("different deliveries share a key: %v", keys)
	}
}

func TestAuthentic(t *testing.T) {
	h := http.Header{"X-Gitlab-Token": {"right"}}
	for name, c := range map[string]struct {
		header  http.Header
		secrets []Token
		want    bool
	}{
		"right":            {h, []Token{"right"}, true},
		"second":           {h, []Token{"new", "right"}, true},
		"twice":            {h, []Token{"right", "right"}, true},
		"wrong":            {h, []Token{"wrong"}, false},
		"prefix":           {h, []Token{"righ"}, false},
		"longer":           {h, []Token{"right "}, false},
		"no secrets":       {h, nil, false},
		"no header":        {http.Header{}, []Token{"right"}, false},
		"both empty":       {http.Header{}, []Token{""}, false},
		"empty and header": {h, []Token{"", "right"}, true},
	} {
		if got := Authentic(c.header, c.secrets); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// captures are deliveries of real servers of many versions with every name, address and id replaced: what they have that
// the payloads lack is form.
func captures(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile("testdata/captures.json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestReadHookReadsCaptures: old forms are read like new ones.
func TestReadHookReadsCaptures(t *testing.T) {
	kinds := map[HookKind]int{}
	for name, body := range captures(t) {
		hook, err := ReadHook(http.Header{}, body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kinds[hook.Kind]++
		if hook.Kind == HookMergeRequest && (hook.MR.IID == 0 || hook.ProjectPath != "acme/infra") {
			t.Errorf("%s: %+v", name, hook.MR)
		}
	}
	if kinds[HookMergeRequest] < 10 || kinds[HookPush] < 1 || kinds[HookNote] < 3 {
		t.Errorf("kinds %v", kinds)
	}
}

// FuzzReadHook holds that nothing makes the reader panic, that a hook it returns can be relied on, and that keys are
// usable as keys.
func FuzzReadHook(f *testing.F) {
	headers := payloadHeaders(f)
	for name, body := range payloads(f) {
		f.Add(headers[name].Get(headerEvent), headers[name].Get("Idempotency-Key"), body)
	}
	for _, body := range captures(f) {
		f.Add("Merge Request Hook", "", []byte(body))
	}
	for _, body := range []string{"null", "[]", "{}", "", `{"object_kind":"push"}`} {
		f.Add("Push Hook", "", []byte(body))
	}
	f.Fuzz(func(t *testing.T, event, id string, body []byte) {
		h := http.Header{headerEvent: {event}, "Idempotency-Key": {id}}
		key := DeliveryKey(h, body)
		if key == "" || len(key) > 300 || key != DeliveryKey(h, body) || strings.ContainsAny(key, " \n") {
			t.Errorf("key %q", key)
		}
		hook, err := ReadHook(h, body)
		if err != nil {
			if KindOf(err) != KindInvalid || err.Error() == "" {
				t.Errorf("err = %v", err)
			}
			return
		}
		set := 0
		if hook.Push != nil {
			set++
			p := hook.Push
			if hook.ProjectID <= 0 || (p.Branch == "") == (p.Tag == "") || !isSHA(p.Before) || !isSHA(p.After) || !p.Deleted && !isSHA(p.CheckoutSHA) {
				t.Errorf("%+v", p)
			}
		}
		if hook.MR != nil {
			set++
			if hook.MR.IID <= 0 || hook.MR.TargetProject <= 0 || hook.MR.HeadSHA != "" && !isSHA(hook.MR.HeadSHA) {
				t.Errorf("%+v", hook.MR)
			}
		}
		if hook.Note != nil {
			set++
			if hook.ProjectID <= 0 || hook.Note.NoteableType == "MergeRequest" && hook.Note.MR == nil {
				t.Errorf("%+v", hook.Note)
			}
		}
		if (set == 1) == (hook.Kind == HookOther) || set > 1 {
			t.Errorf("%s with %d parts", hook.Kind, set)
		}
	})
}
