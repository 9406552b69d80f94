package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"groundcrew/runs"
)

var updateGolden = flag.Bool("update", false, "write golden files for new fields and a golden database for a new schema")

// stored names what each bucket holds: a type of JSON, or nil for keys, hashes and raw bytes. A bucket that is not
// named here fails TestBuckets.
var stored = map[string]any{
	"meta": nil, "settings": Settings{}, "integration": Integration{}, "users": User{}, "user_names": nil, "sessions": Session{}, "api_keys": APIKey{},
	"stacks": runs.Stack{}, "project_stacks": nil, "variables": runs.Variable{}, "runs": runs.Run{}, "stack_runs": nil, "project_runs": nil, "mr_runs": nil, "active": nil,
	"run_keys": nil, "jobs": Job{}, "deliveries": Delivery{}, "delivery_keys": nil, "bodies": nil, "inbox": nil, "reports": Report{}, "due": nil, "parked": nil,
	"merge_requests": MergeRequest{}, "heads": nil, "tags": nil, "watches": Watch{}, "hooks": Hook{}, "projects": Project{}, "notices": Notice{}, "states": StateVersion{}, "audit": AuditEntry{}, "onces": Once{},
	"channels": Channel{}, "notifications": Notification{}, "latest": nil, "proposals": nil, "ended": nil, "typed": nil, "hours": Hour{},
	"modules": runs.Module{}, "project_modules": nil, "module_versions": runs.ModuleVersion{}, "checks": runs.Check{}, "module_checks": nil, "check_keys": nil, "open_checks": nil, "module_uses": runs.ModuleUse{},
	"contexts": runs.Context{}, "attachments": runs.Attachment{}, "context_stacks": nil, "files": runs.File{}, "file_contents": nil,
	"reviews": runs.Review{}, "policies": runs.Policy{}, "policy_samples": Sample{}, "follows": Follow{},
}

// storedFiles are types that are kept as files.
var storedFiles = map[string]any{"changes": runs.Changes{}}

func TestBuckets(t *testing.T) {
	s := open(t, quick)
	rows := dump(t, s)
	for name := range rows {
		if _, known := stored[name]; !known {
			t.Errorf("bucket %s is new: say in this test what it holds, so that a golden file guards it", name)
		}
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stored {
		if _, there := rows[name]; !there {
			t.Errorf("there is no bucket %s", name)
		}
		if !strings.Contains(string(doc), "\t"+name+" ") && !strings.Contains(string(doc), "   "+name+" ") {
			t.Errorf("doc.go does not draw bucket %s", name)
		}
	}
}

// TestStoredJSON compares every stored type, all its fields filled, with its golden file. Fields may be added (then
// -update writes them) and never renamed or removed: that fails with -update too.
func TestStoredJSON(t *testing.T) {
	for name, v := range stored {
		if v != nil {
			t.Run(name, func(t *testing.T) { guard(t, name, v) })
		}
	}
	for name, v := range storedFiles {
		t.Run(name, func(t *testing.T) { guard(t, name, v) })
	}
}

func guard(t *testing.T, name string, v any) {
	filled := reflect.New(reflect.TypeOf(v))
	fill(filled.Elem(), name)
	got, err := json.MarshalIndent(filled.Interface(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name+".golden.json")
	want, err := os.ReadFile(path)
	if err != nil && (!errors.Is(err, os.ErrNotExist) || !*updateGolden) {
		t.Fatal(err)
	}
	if lost := without(t, want, got); len(lost) > 0 {
		t.Fatalf("stored fields were renamed or removed, and data in the field has them: %v", lost)
	}
	if *updateGolden {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the stored form changed; if a field was added, run with -update (-golden +now):\n%s", diff)
	}
	read := reflect.New(reflect.TypeOf(v)) // and it is read back as it was written
	d := json.NewDecoder(bytes.NewReader(want))
	d.DisallowUnknownFields()
	if err := d.Decode(read.Interface()); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(read.Interface(), "", "  ")
	if err != nil || string(again)+"\n" != string(want) {
		t.Errorf("read and written again it differs (%v):\n%s", err, cmp.Diff(string(want), string(again)+"\n"))
	}
}

// fill sets every field of v to something that is not its zero value.
func fill(v reflect.Value, name string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)))
		return
	case runs.Secret: // never stored: a secret that turns up in a golden file is a leak
		v.SetString("must not be stored")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(elem, name)
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), elem)
	case reflect.String:
		v.SetString(strings.ToLower(name))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(name)))
	case reflect.Uint64:
		v.SetUint(uint64(len(name)))
	default:
		panic("fill does not know " + v.Type().String())
	}
}

// without returns the paths of fields that old has and now lacks.
func without(t *testing.T, old, now []byte) []string {
	t.Helper()
	if len(old) == 0 {
		return nil
	}
	have := paths(t, now)
	return slices.DeleteFunc(paths(t, old), func(p string) bool { return slices.Contains(have, p) })
}

func paths(t *testing.T, raw []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(string, any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				out = append(out, at+"."+k)
				walk(at+"."+k, e)
			}
		case []any:
			for _, e := range v {
				walk(at+"[]", e)
			}
		}
	}
	walk("", v)
	slices.Sort(out)
	return out
}

func TestNoSecretInGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden.json")
	if err != nil || len(files) < len(storedFiles)+1 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil || strings.Contains(string(raw), "must not be stored") || strings.Contains(string(raw), "[secret]") {
			t.Errorf("%s holds a secret (%v)", f, err)
		}
	}
}

// TestGoldenDatabases opens a database of every schema there ever was, brings it to the present one and finds in it
// what was written. They were written once by -update and are never written again.
func TestGoldenDatabases(t *testing.T) {
	present := filepath.Join("testdata", fmt.Sprintf("v%d.db", len(migrations)))
	if _, err := os.Stat(present); errors.Is(err, os.ErrNotExist) && *updateGolden {
		writeGolden(t, present)
	}
	for v := 1; v <= len(migrations); v++ {
		t.Run(fmt.Sprint("v", v), func(t *testing.T) {
			dir := t.TempDir()
			for from, to := range map[string]string{fmt.Sprintf("v%d.db", v): "groundcrew.db", "golden.key": "master.key"} {
				raw, err := os.ReadFile(filepath.Join("testdata", from))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, to), raw, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // migrated once, opened again
				s, err := Open(Options{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				lookAround(t, s)
				if have, err := s.schema(); err != nil || have != len(migrations) {
					t.Errorf("schema %d, %v", have, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// lookAround reads everything that writeGolden wrote, through the store's own functions.
func lookAround(t *testing.T, s *Store) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		st, err := tx.Stack("network")
		if err != nil || st.Project != 7 || st.Branch != "main" || st.Tool != runs.Terraform {
			t.Errorf("stack %+v, %v", st, err)
		}
		vars, err := tx.RevealVariables("network")
		if err != nil || len(vars) != 2 || vars[0].Value != "plain" || vars[1].Value != "sealed value" {
			t.Errorf("variables %+v, %v", vars, err)
		}
		in, ok, err := tx.Integration()
		if err != nil || !ok || in.Token.Reveal() != "the token" || in.Secret.Reveal() != "the secret" || in.APIURL != "https://gitlab.example" {
			t.Errorf("integration %+v, %v", in, err)
		}
		tracked, _, err := tx.LatestRun("network", runs.Tracked)
		if err != nil || tracked.State != runs.Finished || len(tracked.Transitions) != 8 || tracked.Delta.Add != 1 || tracked.NewVersion != 1 {
			t.Errorf("tracked run %+v, %v", tracked, err)
		}
		proposed, _, err := tx.LatestRun("network", runs.Proposed)
		if err != nil || proposed.State != runs.Planning || proposed.MR == nil || proposed.MR.IID != 3 {
			t.Errorf("proposed run %+v, %v", proposed, err)
		}
		if active, err := tx.Active("network"); err != nil || len(active) != 1 || active[0].ID != proposed.ID {
			t.Errorf("active %+v, %v", active, err)
		}
		if j, ok, err := tx.Job(proposed.ID); err != nil || !ok || !j.Claimed {
			t.Errorf("job %+v, %v", j, err)
		}
		if r, _, err := tx.NewestRunOf("network", runs.Tracked, "abc"); err != nil || r.ID != tracked.ID {
			t.Errorf("newest run of abc: %s, %v", r.ID, err)
		}
		ids, err := tx.Inbox(100)
		if err != nil || len(ids) != 1 {
			t.Fatalf("inbox %v, %v", ids, err)
		}
		d, err := tx.Delivery(ids[0])
		if err != nil || d.Key != "delivery-1" || d.Event != "Push Hook" {
			t.Errorf("delivery %+v, %v", d, err)
		}
		if body, err := tx.DeliveryBody(d); err != nil || string(body) != `{"ref":"refs/heads/main"}` {
			t.Errorf("body %q, %v", body, err)
		}
		if due, err := tx.DueReports(); err != nil || len(due) != 4 {
			t.Errorf("%d reports are due, %v", len(due), err)
		}
		u, ok, err := tx.UserByName("ALICE")
		if err != nil || !ok || u.Role != Admin {
			t.Errorf("user %+v, %v", u, err)
		}
		if keys, err := tx.APIKeys(); err != nil || len(keys) != 1 || keys[0].Name != "ci" {
			t.Errorf("keys %+v, %v", keys, err)
		}
		if v, err := tx.StateVersion("network", 1); err != nil || v.Serial != 5 {
			t.Errorf("state %+v, %v", v, err)
		}
		if mr, ok, err := tx.MergeRequest(7, 3); err != nil || !ok || mr.Head != "def" {
			t.Errorf("merge request %+v, %v", mr, err)
		}
		if log, _, err := tx.AuditLog("", 100); err != nil || len(log) != 12 {
			t.Errorf("%d entries in the audit log, %v", len(log), err)
		}
		if list, err := tx.Follows(); err != nil || len(list) > 1 || len(list) == 1 && (list[0].Run != proposed.ID || !list[0].At.IsZero()) {
			t.Errorf("follows %+v, %v", list, err)
		}
		settings, err := tx.Settings()
		if err != nil || settings.Workers != 3 || tx.Head(7, "main") != "abc" || len(dumpBucket(tx, "sessions")) != 1 {
			t.Errorf("settings %+v, head %q, %v", settings, tx.Head(7, "main"), err)
		}
		return nil
	})
}

func dumpBucket(tx *Tx, name string) []string {
	var out []string
	_ = each(tx, name, "", func(k string, _ []byte) (bool, error) { // the function returns no error
		out = append(out, k)
		return true, nil
	})
	return out
}

// writeGolden makes the golden database of the present schema, with a row in every bucket.
func writeGolden(t *testing.T, path string) {
	s := open(t, func(o *Options) { o.MasterKeyFile = filepath.Join("testdata", "golden.key") })
	update(t, s, func(tx *Tx) error {
		return tx.PutIntegration(Integration{APIURL: "https://gitlab.example", Linked: true, Token: "the token", Secret: "the secret", CreatedAt: tx.Now()})
	})
	addStack(t, s, "Network")
	r := request(t, s, "network", runs.Tracked, "abc")
	apply(t, s, r.ID, toUnconfirmed()...)
	apply(t, s, r.ID, runs.Confirm{Meta: runs.Meta{By: "alice"}}, runs.Claimed{}, runs.Done{NewVersion: 1})
	p := request(t, s, "network", runs.Proposed, "def", func(r *runs.Run) { r.MR = &runs.MergeRequest{IID: 3, Title: "Add a subnet"} })
	update(t, s, func(tx *Tx) error {
		j, _, err := tx.Job(p.ID)
		return errors.Join(err, tx.ClaimJob(j))
	})
	apply(t, s, p.ID, toUnconfirmed()[:3]...)
	if _, _, err := s.AddDelivery(Delivery{Key: "delivery-1", Event: "Push Hook", ProjectID: 7}, []byte(`{"ref":"refs/heads/main"}`)); err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error {
		u, err := tx.PutUser(User{Name: "Alice", Role: Admin})
		_, err2 := tx.AddSession(Session{User: u.ID, ExpiresAt: tx.Now().Add(time.Hour)})
		_, _, err3 := tx.AddAPIKey(APIKey{Name: "ci", Role: Writer})
		_, err4 := tx.AddStateVersion("network", StateVersion{Serial: 5, Lineage: "l", SHA256: "x", File: "states/network/x.sealed"})
		_, _, err5 := tx.BeginOnce("alice", "key", "digest")
		return errors.Join(err, err2, err3, err4, err5,
			tx.PutVariable("network", runs.Variable{Name: "A", Value: "plain"}), tx.PutVariable("network", runs.Variable{Name: "B", Value: "sealed value", Secret: true}),
			tx.PutMergeRequest(MergeRequest{Project: 7, MergeRequest: runs.MergeRequest{IID: 3}, State: "opened", Head: "def"}),
			tx.PutTag(7, "v1", "abc"), tx.PutWatch(Watch{Project: 7, TagsKnown: true}), tx.PutHook(Hook{Project: 7, ID: 9}), tx.PutProject(Project{ID: 7, PrunedMR: 2}), tx.PutNotice(Notice{Key: "hook/7", Kind: "warn"}),
			tx.PutChannel(Channel{ID: "01CHANNEL", Name: "chat", Kind: ChannelChat, URL: "https://chat.example/hooks/secret"}),
			tx.PutNotification(Notification{ID: "01NEWS", Channel: "01CHANNEL", Topic: runs.OnFailed, State: NotificationWaiting}),
			tx.PutReport(Report{Kind: ReportNote, Target: "note/7/9/network", Project: 7, MR: 9, Stack: "network", State: ReportParked}),
			tx.PutReview(runs.Review{Stack: "network", Fingerprint: "f", Person: runs.Person{User: u.ID}, Name: "Alice", Decision: runs.Approve}),
			tx.PutFollow(Follow{Run: p.ID}),
			tx.PutHead(7, "main", "abc"), tx.PutSettings(Settings{Workers: 3}))
	})
	update(t, s, func(tx *Tx) error {
		m, err := tx.AddModule(runs.Module{Name: "vpc", Provider: "aws", Namespace: "platform", Project: 7, ProjectPath: "platform/terraform-aws-vpc", Branch: "main", Release: runs.ReleaseByTag, Tool: runs.Terraform})
		return errors.Join(err, tx.PutModuleVersion(runs.ModuleVersion{Module: m.Slug, Number: "1.0.0", State: runs.VersionActive, Digest: "d", Commit: runs.Commit{SHA: "abc"}}),
			put(tx, "checks", "01C", runs.Check{ID: "01C", Module: m.Slug, State: runs.CheckReading}), mark(tx, "module_checks", m.Slug+"/01C"), mark(tx, "check_keys", m.Slug+"/abc"), mark(tx, "open_checks", "01C"),
			tx.PutModuleUses("network", []runs.ModuleUse{{Module: m.Slug, Stack: "network", Version: "1.0.0"}}))
	})
	update(t, s, func(tx *Tx) error {
		c, err := tx.AddContext(runs.Context{Name: "AWS", Labels: []string{"autoattach:prod"}})
		return errors.Join(err, tx.Attach(runs.Attachment{Stack: "network", Context: "aws", Priority: 3}),
			tx.PutVariable(c.Scope(), runs.Variable{Name: "C", Value: "shared", Secret: true}),
			tx.PutFile("network", runs.Mount{File: runs.File{Path: "ca.pem", Secret: true}, Content: []byte("the key")}))
	})
	update(t, s, func(tx *Tx) error {
		_, err := tx.AddPolicy(runs.Policy{Name: "No destroys", Type: runs.PolicyPlan, Body: "package groundcrew\n\ndeny contains \"no\" if input.delta.destroy > 0", Stacks: []string{"network"}})
		return err
	})
	if err := s.AddSample(Sample{Policy: "no-destroys", Stack: "network", Result: runs.PolicyResult{Policy: "no-destroys", Type: runs.PolicyPlan, Outcome: runs.OutcomeAllow}}, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for bucket, rows := range dump(t, s) {
		if len(rows) == 0 {
			t.Errorf("no row in %s", bucket)
		}
	}
	small, err := bolt.Open(path, 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(bolt.Compact(small, s.db, 0), small.Close()); err != nil {
		t.Fatal(err)
	}
}
