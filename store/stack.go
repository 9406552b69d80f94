package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"groundcrew/runs"
)

func num(n int64) string { return fmt.Sprintf("%010d", n) }

// Stack returns a stack by its slug, or ErrNotFound.
func (tx *Tx) Stack(slug string) (runs.Stack, error) {
	var st runs.Stack
	ok, err := get(tx, "stacks", slug, &st)
	if err == nil && !ok {
		err = notFound("stack", slug)
	}
	return st, err
}

// Stacks returns all stacks by slug. Neither the list nor what it points to may be changed: they are shared.
func (tx *Tx) Stacks() ([]*runs.Stack, error) { return tx.s.cached.stacks.rows(tx) }

// FindStack finds a stack in a list by slug, as [Tx.Stacks] returns it, or where it would be.
func FindStack(list []*runs.Stack, slug string) (at int, there bool) {
	return slices.BinarySearchFunc(list, slug, func(st *runs.Stack, slug string) int { return strings.Compare(st.Slug, slug) })
}

// StacksOf returns the stacks of a project by slug.
func (tx *Tx) StacksOf(project int64) ([]runs.Stack, error) {
	prefix := num(project) + "/"
	var out []runs.Stack
	err := each(tx, "project_stacks", prefix, func(k string, _ []byte) (bool, error) {
		st, err := tx.Stack(strings.TrimPrefix(k, prefix))
		out = append(out, st)
		return true, err
	})
	return out, err
}

// FirstStackOf returns the first stack of a project by slug, if it has one.
func (tx *Tx) FirstStackOf(project int64) (st runs.Stack, ok bool, err error) {
	prefix := num(project) + "/"
	err = each(tx, "project_stacks", prefix, func(k string, _ []byte) (bool, error) {
		ok = true
		st, err = tx.Stack(strings.TrimPrefix(k, prefix))
		return false, err
	})
	return st, ok, err
}

// AddStack stores a new stack under the slug of its name; a taken slug is an ErrConflict, because the slug
// is the stack's name in GitLab and never changes.
func (tx *Tx) AddStack(st runs.Stack) (runs.Stack, error) {
	if err := st.Validate(); err != nil {
		return st, err
	}
	st.Slug = runs.Slug(st.Name)
	if has(tx, "stacks", st.Slug) {
		return st, &runs.Error{Kind: runs.ErrConflict, Field: "name", Message: fmt.Sprintf("A stack with the address “%s” exists already. Choose another name.", st.Slug)}
	}
	st.CreatedAt = tx.now
	if err := tx.PutStack(st); err != nil {
		return st, err
	}
	return st, tx.reportStack(st)
}

// PutStack writes a stack's row. A stack that moves to another project takes its index along.
func (tx *Tx) PutStack(st runs.Stack) error {
	var old runs.Stack
	known, err := get(tx, "stacks", st.Slug, &old)
	if err != nil {
		return err
	}
	if known && old.Project != st.Project {
		if err := unmark(tx, "project_stacks", num(old.Project)+"/"+st.Slug); err != nil {
			return err
		}
	}
	st.ProjectRoot = runs.CleanRoot(st.ProjectRoot)
	st.UpdatedAt = tx.now
	tx.changed.Jobs = true // what waits for the stack may go on
	if err := mark(tx, "project_stacks", num(st.Project)+"/"+st.Slug); err != nil {
		return err
	}
	if known && (old.Project != st.Project || !slices.Equal(old.Labels, st.Labels)) { // place or tier of the environment
		if err := tx.reportStack(st); err != nil {
			return err
		}
	}
	if err := tx.s.cached.stacks.changed(tx, st.Slug); err != nil {
		return err
	}
	return put(tx, "stacks", st.Slug, st)
}

// DeleteStack removes a stack with its variables and states' rows. Its runs stay as history, but a new stack
// of the same name does not take them for its own commits' runs. Protected stacks and stacks with a run at
// work are refused. The caller removes the state files after the commit.
func (tx *Tx) DeleteStack(slug string) error {
	st, err := tx.Stack(slug)
	if err != nil {
		return err
	}
	if st.Protect {
		return runs.Conflictf("The stack is protected from deletion. Switch the protection off in its settings first.")
	}
	active, err := tx.Active(slug)
	if err != nil {
		return err
	}
	for _, r := range active {
		if r.State.Working() || r.State == runs.Confirmed {
			return runs.Conflictf("Run %s of this stack is %s. Stop it or wait for its end first.", r.ID, r.State)
		}
		if _, err := tx.Apply(r.ID, runs.Cancel{Meta: runs.Meta{At: tx.now, Note: "the stack was deleted"}}); err != nil {
			return err
		}
	}
	if err := tx.retireStack(st); err != nil {
		return err
	}
	if err := tx.retireThreads(st); err != nil {
		return err
	}
	if err := tx.dropUses(slug); err != nil {
		return err
	}
	if err := errors.Join(tx.detachAll(slug), tx.detachPolicies(slug)); err != nil {
		return err
	}
	for _, b := range []string{"variables", "files", "file_contents", "states", "run_keys", "reviews"} {
		if err := tx.dropPrefix(b, slug+"/"); err != nil {
			return err
		}
	}
	if err := unmark(tx, "project_stacks", num(st.Project)+"/"+slug); err != nil {
		return err
	}
	if err := tx.s.cached.stacks.changed(tx, st.Slug); err != nil {
		return err
	}
	return unmark(tx, "stacks", slug)
}

func (tx *Tx) dropPrefix(bucket, prefix string) error {
	var keys []string
	err := each(tx, bucket, prefix, func(k string, _ []byte) (bool, error) {
		keys = append(keys, k)
		return true, nil
	})
	for _, k := range keys {
		if err == nil {
			err = unmark(tx, bucket, k)
		}
	}
	return err
}

// Variables returns a stack's variables by name, secret values hidden.
func (tx *Tx) Variables(slug string) ([]runs.Variable, error) {
	vars, err := all[runs.Variable](tx, "variables", slug+"/")
	for i := range vars {
		if vars[i].Secret {
			vars[i].Value = ""
		}
	}
	return vars, err
}

// RevealVariables returns a stack's variables with their secret values, for the one process that needs them.
func (tx *Tx) RevealVariables(slug string) ([]runs.Variable, error) {
	vars, err := all[runs.Variable](tx, "variables", slug+"/")
	for i, v := range vars {
		if v.Secret && err == nil {
			vars[i].Value, err = tx.s.seal.openText(varRecord(slug, v.Name), v.Value)
		}
	}
	return vars, err
}

func varRecord(slug, name string) string { return "variables/" + slug + "/" + name }

// PutVariable stores a variable of a stack; a secret's value is sealed and can't be read back by people.
func (tx *Tx) PutVariable(slug string, v runs.Variable) error {
	if err := runs.ValidateVariable(v.Name, v.Value); err != nil {
		return err
	}
	if err := tx.owner(slug); err != nil {
		return err
	}
	v.UpdatedAt = tx.now
	if v.Secret {
		v.Value = tx.s.seal.lockText(varRecord(slug, v.Name), v.Value)
	}
	return put(tx, "variables", slug+"/"+v.Name, v)
}

// owner makes sure that the stack, or the module or context whose scope it is, is there.
func (tx *Tx) owner(scope string) error {
	if slug := runs.ContextOf(scope); slug != "" {
		_, err := tx.Context(slug)
		return err
	}
	if slug := runs.ModuleOf(scope); slug != "" {
		_, err := tx.Module(slug)
		return err
	}
	_, err := tx.Stack(scope)
	return err
}

// DeleteVariable removes a variable, or says that there is none.
func (tx *Tx) DeleteVariable(slug, name string) error {
	if !has(tx, "variables", slug+"/"+name) {
		return notFound("variable", name)
	}
	return unmark(tx, "variables", slug+"/"+name)
}

// A MergeRequest is what we last saw of a merge request on a project with stacks.
type MergeRequest struct {
	Project int64 `json:"project"`
	runs.MergeRequest
	State     string   `json:"state"` // opened; any other is not kept
	Head      string   `json:"head"`
	HeadTitle string   `json:"head_title,omitempty"`
	Held      string   `json:"held,omitempty"`     // a fork's commit that waits for its release
	Released  []string `json:"released,omitempty"` // commits a Maintainer released
	Stacks    []string `json:"stacks,omitempty"`   // concerned by it, as far as known
}

func mrKey(project, iid int64) string { return num(project) + "/" + num(iid) }

// MergeRequest returns what is known of a merge request.
func (tx *Tx) MergeRequest(project, iid int64) (MergeRequest, bool, error) {
	var mr MergeRequest
	ok, err := get(tx, "merge_requests", mrKey(project, iid), &mr)
	return mr, ok, err
}

// PutMergeRequest stores what is known of an open merge request. One that is closed or merged is forgotten: a
// project keeps thousands of them, and GitLab tells all of it again when one is reopened.
func (tx *Tx) PutMergeRequest(mr MergeRequest) error {
	if err := tx.s.cached.held.changed(tx, mrKey(mr.Project, mr.IID)); err != nil {
		return err
	}
	if mr.State != "opened" {
		return unmark(tx, "merge_requests", mrKey(mr.Project, mr.IID))
	}
	return put(tx, "merge_requests", mrKey(mr.Project, mr.IID), mr)
}

// MergeRequests returns the known merge requests of a project, oldest first.
func (tx *Tx) MergeRequests(project int64) ([]MergeRequest, error) {
	return all[MergeRequest](tx, "merge_requests", num(project)+"/")
}

// Held returns the known merge requests with a fork's commit that waits for its release, by project and number. The list
// is shared as [Tx.Stacks] is.
func (tx *Tx) Held() ([]*MergeRequest, error) { return tx.s.cached.held.rows(tx) }

// Head returns the commit last seen at a branch, "" when none was.
func (tx *Tx) Head(project int64, branch string) string {
	return string(tx.b.Bucket([]byte("heads")).Get([]byte(num(project) + "/" + branch)))
}

// PutHead remembers the commit seen at a branch; "" forgets the branch.
func (tx *Tx) PutHead(project int64, branch, sha string) error {
	if sha == "" {
		return unmark(tx, "heads", num(project)+"/"+branch)
	}
	return tx.b.Bucket([]byte("heads")).Put([]byte(num(project)+"/"+branch), []byte(sha))
}
