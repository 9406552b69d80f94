package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
)

// Policy returns a policy by its slug, or ErrNotFound.
func (tx *Tx) Policy(slug string) (runs.Policy, error) {
	var p runs.Policy
	ok, err := get(tx, "policies", slug, &p)
	if err == nil && !ok {
		err = notFound("policy", slug)
	}
	return p, err
}

// Policies returns all policies by slug. What their fields point to is shared and must not be changed.
func (tx *Tx) Policies() (out []runs.Policy, err error) {
	list, err := tx.s.cached.policies.rows(tx)
	for _, p := range list {
		out = append(out, *p)
	}
	return out, err
}

func (tx *Tx) storePolicy(p runs.Policy) error {
	if err := tx.s.cached.policies.changed(tx, p.Slug); err != nil {
		return err
	}
	return put(tx, "policies", p.Slug, p)
}

// AddPolicy stores a new policy under the slug of its name; a taken slug is an ErrConflict. That its text compiles is the caller's
// to see to.
func (tx *Tx) AddPolicy(p runs.Policy) (runs.Policy, error) {
	if err := tx.validPolicy(p); err != nil {
		return p, err
	}
	p.Slug = runs.Slug(p.Name)
	if has(tx, "policies", p.Slug) {
		return p, &runs.Error{Kind: runs.ErrConflict, Field: "name", Message: fmt.Sprintf("A policy with the address “%s” exists already. Choose another name.", p.Slug)}
	}
	p.CreatedAt, p.UpdatedAt = tx.now, tx.now
	tx.changed.Policies = true
	return p, tx.storePolicy(p)
}

// PutPolicy stores changed fields of a policy that is there.
func (tx *Tx) PutPolicy(p runs.Policy) error {
	if err := tx.validPolicy(p); err != nil {
		return err
	}
	p.UpdatedAt = tx.now
	tx.changed.Policies = true
	return tx.storePolicy(p)
}

// validPolicy checks the policy's own fields, and that the stacks it is attached to are there.
func (tx *Tx) validPolicy(p runs.Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	for _, slug := range p.Stacks {
		if !has(tx, "stacks", slug) {
			return runs.Invalidf("stacks", "There is no stack “%s”. Give the addresses of stacks, with commas between them.", slug)
		}
	}
	return nil
}

// DeletePolicy removes a policy with its samples. The caller removes the folder samples/<slug> after the commit.
func (tx *Tx) DeletePolicy(slug string) error {
	if _, err := tx.Policy(slug); err != nil {
		return err
	}
	if err := tx.dropPrefix("policy_samples", slug+"/"); err != nil {
		return err
	}
	tx.changed.Policies = true
	if err := tx.s.cached.policies.changed(tx, slug); err != nil {
		return err
	}
	return unmark(tx, "policies", slug)
}

// PoliciesOf returns the policies that are asked about a stack's runs: those attached to it that are not switched off, by type in
// the order of [runs.PolicyTypes], then by slug.
func (tx *Tx) PoliciesOf(st runs.Stack) ([]runs.Policy, error) {
	list, err := tx.Policies()
	list = slices.DeleteFunc(list, func(p runs.Policy) bool {
		_, concerns := p.Concerns(st)
		return p.Off || !concerns
	})
	slices.SortStableFunc(list, func(a, b runs.Policy) int {
		return slices.Index(runs.PolicyTypes, a.Type) - slices.Index(runs.PolicyTypes, b.Type)
	})
	return list, err
}

// A PolicyUse is a stack that a policy is attached to, and why.
type PolicyUse struct {
	Stack string // slug
	Label string // “*” for all stacks, "" for an attachment by hand
}

// PolicyUses returns the stacks a policy is attached to, by slug.
func (tx *Tx) PolicyUses(p runs.Policy) (out []PolicyUse, err error) {
	if len(p.AutoLabels()) == 0 {
		for _, slug := range p.Stacks {
			out = append(out, PolicyUse{Stack: slug})
		}
		return out, nil
	}
	stacks, err := tx.Stacks()
	for i := range stacks { // by index: a stack is large, and there may be ten thousand
		if label, ok := p.Concerns(*stacks[i]); ok {
			out = append(out, PolicyUse{stacks[i].Slug, label})
		}
	}
	return out, err
}

// detachPolicies takes a stack out of all policies.
func (tx *Tx) detachPolicies(stack string) error {
	list, err := tx.Policies()
	for _, p := range list {
		i := slices.Index(p.Stacks, stack)
		if err != nil || i < 0 {
			continue
		}
		p.Stacks = slices.Delete(slices.Clone(p.Stacks), i, i+1)
		err = tx.storePolicy(p)
	}
	if err != nil {
		return err
	}
	return tx.dropSamplesOf(stack)
}

// dropSamplesOf forgets what policies said of a stack that is deleted: another one may have its address one day, and other readers.
func (tx *Tx) dropSamplesOf(stack string) error {
	list, err := all[Sample](tx, "policy_samples", "")
	for _, sm := range list {
		if err == nil && sm.Stack == stack {
			err = unmark(tx, "policy_samples", sm.Policy+"/"+sm.ID)
		}
	}
	return err
}

// A Sample is one evaluation of a policy that is kept, so that people see what it said and can try a changed text on the same input.
type Sample struct {
	ID     string            `json:"id"`
	Policy string            `json:"policy"` // slug
	Stack  string            `json:"stack,omitempty"`
	Run    string            `json:"run,omitempty"` // "" where there is none yet, as for a push
	At     time.Time         `json:"at"`
	Size   int               `json:"size"`           // bytes of the input
	Kept   bool              `json:"kept,omitempty"` // the input is kept too
	Result runs.PolicyResult `json:"result"`
}

// What is kept of evaluations.
const (
	MaxSamples     = 20      // of one policy, the newest
	MaxSampleInput = 1 << 20 // bytes of an input; of a larger one only the result is kept
)

// AddSample keeps an evaluation with its input, forgets the oldest beyond MaxSamples, and notes on the policy whether it failed.
// The input is a sealed file, because it may hold what a plan holds. Of a policy that was deleted meanwhile nothing is kept, and that
// is no error.
func (s *Store) AddSample(sm Sample, input []byte) error {
	sm.ID, sm.Size, sm.Kept = s.NewID(), len(input), len(input) <= MaxSampleInput
	if sm.Kept {
		if err := s.Seal(input, sampleFile(sm.Policy, sm.ID)...); err != nil {
			return err
		}
	}
	oldest, there := "", false
	err := s.Update(func(tx *Tx) (err error) {
		if there = has(tx, "policies", sm.Policy); !there {
			return nil
		}
		sm.At = tx.now
		if err := put(tx, "policy_samples", sm.Policy+"/"+sm.ID, sm); err != nil {
			return err
		}
		if err := tx.notePolicy(sm); err != nil {
			return err
		}
		oldest, err = tx.trimSamples(sm.Policy)
		return err
	})
	if err != nil || !there {
		return errors.Join(err, s.Remove(sampleFile(sm.Policy, sm.ID)...))
	}
	return s.removeSamples(sm.Policy, oldest)
}

func sampleFile(policy, id string) []string { return []string{"samples", policy, id + ".json"} }

// notePolicy keeps on a policy why its last evaluation came to nothing, or that it did not.
func (tx *Tx) notePolicy(sm Sample) error {
	p, err := tx.Policy(sm.Policy)
	if err != nil {
		return err
	}
	switch {
	case sm.Result.Outcome == runs.OutcomeError:
		p.LastError, p.LastErrorAt, p.LastErrorOf = strings.Join(sm.Result.Messages, " "), sm.At, sm.Stack
	case p.LastError != "" && p.LastErrorOf == sm.Stack:
		p.LastError, p.LastErrorAt, p.LastErrorOf = "", time.Time{}, ""
	default:
		return nil
	}
	return tx.storePolicy(p)
}

// trimSamples removes the rows beyond the newest, and says which is the oldest that stays; "" while there is room.
func (tx *Tx) trimSamples(policy string) (oldest string, err error) {
	list, err := tx.Samples(policy)
	if err != nil || len(list) < MaxSamples {
		return "", err
	}
	for _, sm := range list[MaxSamples:] {
		if err := unmark(tx, "policy_samples", policy+"/"+sm.ID); err != nil {
			return "", err
		}
	}
	return list[MaxSamples-1].ID, nil
}

// removeSamples removes the inputs that are older than the oldest sample, those too that a crash left without a row.
func (s *Store) removeSamples(policy, oldest string) error {
	if oldest == "" {
		return nil
	}
	files, err := os.ReadDir(s.Path("samples", policy))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the folder of a policy's inputs cannot be read: %w", err)
	}
	var failed error
	for _, f := range files {
		if f.Name() < oldest && !strings.HasPrefix(f.Name(), ".") { // one that is being written has another name
			failed = errors.Join(failed, s.Remove("samples", policy, f.Name()))
		}
	}
	return failed
}

// Samples returns what is kept of a policy's evaluations, the newest first.
func (tx *Tx) Samples(policy string) ([]Sample, error) {
	list, err := all[Sample](tx, "policy_samples", policy+"/")
	slices.Reverse(list)
	return list, err
}

// Sample returns one of a policy's evaluations, or ErrNotFound.
func (tx *Tx) Sample(policy, id string) (Sample, error) {
	var sm Sample
	ok, err := get(tx, "policy_samples", policy+"/"+id, &sm)
	if err == nil && !ok {
		err = runs.NotFoundf("There is no evaluation %q of the policy %q any more: the newest %d are kept.", id, policy, MaxSamples)
	}
	return sm, err
}

// SampleInput reads the input of an evaluation. One that was too large to be kept is an ErrNotFound that says so.
func (s *Store) SampleInput(sm Sample) ([]byte, error) {
	if !sm.Kept {
		return nil, runs.NotFoundf("The input had %d bytes and was not kept; %d is the most.", sm.Size, MaxSampleInput)
	}
	raw, err := s.Unseal(filepath.Join(sampleFile(sm.Policy, sm.ID)...))
	if errors.Is(err, os.ErrNotExist) {
		return nil, runs.NotFoundf("The input is not kept any more: newer evaluations took its place.")
	}
	return raw, err
}
