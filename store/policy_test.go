package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

func addPolicy(t testing.TB, s *Store, name string, of runs.PolicyType, change func(*runs.Policy)) (p runs.Policy) {
	t.Helper()
	update(t, s, func(tx *Tx) (err error) {
		p = runs.Policy{Name: name, Type: of, Body: "package groundcrew"}
		if change != nil {
			change(&p)
		}
		p, err = tx.AddPolicy(p)
		return err
	})
	return p
}

func TestPolicySlugs(t *testing.T) {
	s := open(t, quick)
	p := addPolicy(t, s, "No destroys", runs.PolicyPlan, nil)
	if p.Slug != "no-destroys" || p.CreatedAt.IsZero() {
		t.Errorf("%+v", p)
	}
	again := runs.Policy{Name: "no DESTROYS", Type: runs.PolicyPush, Body: "package groundcrew"}
	if err := s.Update(func(tx *Tx) error { _, err := tx.AddPolicy(again); return err }); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("the same address again: %v", err)
	}
	p.Stacks = []string{"none"}
	err := s.Update(func(tx *Tx) error { return tx.PutPolicy(p) })
	if e, ok := errors.AsType[*runs.Error](err); !ok || e.Field != "stacks" || !strings.Contains(err.Error(), "no stack “none”") {
		t.Errorf("a stack that is not there: %v", err)
	}
	for _, fn := range []func(tx *Tx) error{
		func(tx *Tx) error { _, err := tx.Policy("none"); return err },
		func(tx *Tx) error { return tx.DeletePolicy("none") },
		func(tx *Tx) error { _, err := tx.Sample(p.Slug, "none"); return err },
	} {
		if err := s.Update(fn); !errors.Is(err, runs.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	}
}

// Which policies are asked about a stack, in which order; a stack that is deleted is attached nowhere.
func TestPoliciesOfAStack(t *testing.T) {
	s := open(t, quick)
	addStack(t, s, "Network")
	addStack(t, s, "Edge")
	update(t, s, func(tx *Tx) error {
		st, err := tx.Stack("network")
		st.Labels = []string{"prod"}
		return errors.Join(err, tx.PutStack(st))
	})
	addPolicy(t, s, "A trigger", runs.PolicyTrigger, func(p *runs.Policy) { p.Labels = []string{"autoattach:*"} })
	addPolicy(t, s, "Z plan", runs.PolicyPlan, func(p *runs.Policy) { p.Labels = []string{"autoattach:prod"} })
	addPolicy(t, s, "B plan", runs.PolicyPlan, func(p *runs.Policy) { p.Stacks = []string{"edge", "network"} })
	addPolicy(t, s, "Push", runs.PolicyPush, func(p *runs.Policy) { p.Stacks = []string{"network"} })
	addPolicy(t, s, "Off", runs.PolicyPush, func(p *runs.Policy) { p.Stacks, p.Off = []string{"network"}, true })
	addPolicy(t, s, "Nowhere", runs.PolicyPush, nil)
	asked := func(stack string) (slugs []string) {
		view(t, s, func(tx *Tx) error {
			st, err := tx.Stack(stack)
			if err != nil {
				return err
			}
			list, err := tx.PoliciesOf(st)
			for _, p := range list {
				slugs = append(slugs, p.Slug)
			}
			return err
		})
		return slugs
	}
	if diff := cmp.Diff([]string{"push", "b-plan", "z-plan", "a-trigger"}, asked("network")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b-plan", "a-trigger"}, asked("edge")); diff != "" {
		t.Error(diff)
	}
	update(t, s, func(tx *Tx) error { return tx.DeleteStack("network") })
	view(t, s, func(tx *Tx) error {
		for slug, want := range map[string][]PolicyUse{"b-plan": {{Stack: "edge"}}, "push": nil, "a-trigger": {{Stack: "edge", Label: "*"}}, "z-plan": nil} {
			p, err := tx.Policy(slug)
			if err != nil {
				return err
			}
			uses, err := tx.PolicyUses(p)
			if diff := cmp.Diff(want, uses); diff != "" || err != nil {
				t.Errorf("%s: %v %s", slug, err, diff)
			}
		}
		return nil
	})
}

func samples(t *testing.T, s *Store, policy string) (list []Sample) {
	t.Helper()
	view(t, s, func(tx *Tx) (err error) {
		list, err = tx.Samples(policy)
		return err
	})
	return list
}

func inputs(t *testing.T, s *Store, policy string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(s.Path("samples", policy))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

func TestSamples(t *testing.T) {
	s := open(t, quick)
	p := addPolicy(t, s, "Plan", runs.PolicyPlan, nil)
	said := runs.PolicyResult{Policy: p.Slug, Name: p.Name, Type: p.Type, Outcome: runs.OutcomeDeny, Messages: []string{"no"}}
	if err := s.WriteFile([]byte("left by a crash"), "samples", p.Slug, "00000000000000000000000000.json"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range MaxSamples + 5 {
		wg.Go(func() {
			if err := s.AddSample(Sample{Policy: p.Slug, Stack: "network", Run: "01R", Result: said}, fmt.Appendf(nil, `{"the secret":%d}`, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list := samples(t, s, p.Slug)
	if len(list) != MaxSamples || len(inputs(t, s, p.Slug)) != MaxSamples {
		t.Fatalf("%d samples, files %v", len(list), inputs(t, s, p.Slug))
	}
	for i, sm := range list {
		if i > 0 && sm.ID >= list[i-1].ID {
			t.Error("the newest is not the first")
		}
		raw, err := s.SampleInput(sm)
		if err != nil || !bytes.Contains(raw, []byte("the secret")) || sm.Size != len(raw) || !sm.Kept || sm.At.IsZero() || !cmp.Equal(sm.Result, said) {
			t.Errorf("%+v: %s %v", sm, raw, err)
		}
		sealed, err := os.ReadFile(s.Path(sampleFile(p.Slug, sm.ID)...))
		if err != nil || bytes.Contains(sealed, []byte("the secret")) {
			t.Errorf("the input lies open: %s %v", sealed, err)
		}
	}

	if err := s.AddSample(Sample{Policy: p.Slug, Result: said}, make([]byte, MaxSampleInput+1)); err != nil {
		t.Fatal(err)
	}
	large := samples(t, s, p.Slug)[0]
	if _, err := s.SampleInput(large); large.Kept || !errors.Is(err, runs.ErrNotFound) || !strings.Contains(err.Error(), "1048577 bytes and was not kept") {
		t.Errorf("%+v: %v", large, err)
	}

	update(t, s, func(tx *Tx) error { return tx.DeletePolicy(p.Slug) })
	if list := samples(t, s, p.Slug); len(list) != 0 {
		t.Errorf("after the policy: %v", list)
	}
	if err := s.Remove("samples", p.Slug); err != nil {
		t.Fatal(err)
	}
	if err := s.AddSample(Sample{Policy: p.Slug, Result: said}, []byte("{}")); err != nil || len(samples(t, s, p.Slug)) != 0 || len(inputs(t, s, p.Slug)) != 0 {
		t.Errorf("of a policy that is gone: %v %v", err, inputs(t, s, p.Slug))
	}
}

// A sample that failed is noted on the policy, and one that did not takes the note away; neither is a change of the policy.
func TestLastErrorOfAPolicy(t *testing.T) {
	s := open(t, quick)
	p := addPolicy(t, s, "Plan", runs.PolicyPlan, nil)
	for _, tt := range []struct {
		outcome runs.PolicyOutcome
		want    string
	}{{runs.OutcomeError, "3:1: div: divide by zero"}, {runs.OutcomeAllow, ""}} {
		if err := s.AddSample(Sample{Policy: p.Slug, Result: runs.PolicyResult{Outcome: tt.outcome, Messages: []string{"3:1: div: divide by zero"}}}, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		view(t, s, func(tx *Tx) error {
			now, err := tx.Policy(p.Slug)
			if err != nil || now.LastError != tt.want || now.LastErrorAt.IsZero() != (tt.want == "") || !now.UpdatedAt.Equal(p.UpdatedAt) {
				t.Errorf("%s: %+v %v", tt.outcome, now, err)
			}
			return nil
		})
	}
}

// A sample that cannot be committed leaves no input behind.
func TestASampleThatIsRefused(t *testing.T) {
	refuse := errors.New("the power fails")
	var now error
	s := open(t, quick, func(o *Options) { o.Allow = func() error { return now } })
	p := addPolicy(t, s, "Plan", runs.PolicyPlan, nil)
	now = refuse
	if err := s.AddSample(Sample{Policy: p.Slug}, []byte("{}")); !errors.Is(err, refuse) || len(inputs(t, s, p.Slug)) != 0 {
		t.Errorf("%v, %v", err, inputs(t, s, p.Slug))
	}
}
