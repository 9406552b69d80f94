package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// What a comparison looks at, and the deliveries it makes of what was missed.

func (k *comparison) seeBranches(ctx context.Context) error {
	var done []string
	for _, st := range k.stacks {
		if slices.Contains(done, st.Branch) {
			continue
		}
		done = append(done, st.Branch)
		b, err := k.c.Branch(ctx, k.project.ID, st.Branch)
		if gitlab.KindOf(err) == "not_found" {
			b, err = gitlab.Branch{Name: st.Branch, SHA: nowhere}, nil
			k.missingBranch(st)
		}
		if err != nil {
			return err
		}
		seen := ""
		err = k.e.st.View(func(tx *store.Tx) error { seen = tx.Head(k.project.ID, st.Branch); return nil })
		if err != nil {
			return err
		}
		still := func(tx *store.Tx) (bool, error) { return tx.Head(k.project.ID, b.Name) == seen, nil }
		switch {
		case seen == b.SHA:
		case seen == "", b.SHA == nowhere:
			k.notes = append(k.notes, func(tx *store.Tx) error {
				if same, err := still(tx); !same {
					return err // a delivery was quicker
				}
				return tx.PutHead(k.project.ID, b.Name, b.SHA)
			})
		default:
			k.push("refs/heads/"+b.Name, seen, b.SHA, b.SHA, gitlab.Commit{SHA: b.SHA, Title: b.Title, Author: b.Author}, still)
		}
	}
	return nil
}

func (k *comparison) missingBranch(st runs.Stack) {
	switch {
	case k.project.Empty || k.project.DefaultBranch == "":
		k.trouble(ProjectBranch, "The repository of "+k.project.Path+" is empty", "Push a first commit to "+st.Branch+".")
	default:
		k.trouble(ProjectBranch, "The branch "+st.Branch+" of "+k.project.Path+" is not there",
			fmt.Sprintf("The stack %s tracks it. The project's default branch is %s: if the branch was renamed, change it in the stack's settings.", st.Slug, k.project.DefaultBranch))
	}
}

func (k *comparison) seeTags(ctx context.Context) error {
	if !slices.ContainsFunc(k.stacks, func(st runs.Stack) bool { return st.ReleaseTags != "" }) {
		k.watch.TagsKnown = false // whoever releases from tags later begins with what is there then
		return nil
	}
	found, err := k.c.Tags(ctx, k.project.ID)
	if gitlab.KindOf(err) == "not_found" && k.project.Empty {
		found, err = nil, nil
	}
	if err != nil {
		return err
	}
	var known map[string]string
	err = k.e.st.View(func(tx *store.Tx) (err error) {
		known, err = tx.Tags(k.project.ID)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range slices.Backward(found) { // oldest first, so that the newest is tracked in the end
		switch was := known[t.Name]; {
		case was == t.Object:
		case !k.watch.TagsKnown:
			k.notes = append(k.notes, func(tx *store.Tx) error { return tx.PutTag(k.project.ID, t.Name, t.Object) })
		default:
			before := was
			if before == "" {
				before = nowhere
			}
			k.push("refs/tags/"+t.Name, before, t.Object, t.Commit.SHA, t.Commit, func(tx *store.Tx) (bool, error) {
				now, err := tx.Tags(k.project.ID)
				return now[t.Name] == was, err
			})
		}
		delete(known, t.Name)
	}
	for gone := range known {
		k.notes = append(k.notes, func(tx *store.Tx) error { return tx.PutTag(k.project.ID, gone, "") })
	}
	k.watch.TagsKnown = true
	return nil
}

func (k *comparison) seeMergeRequests(ctx context.Context) error {
	open, err := k.c.OpenMergeRequests(ctx, k.project.ID, "")
	if kind := gitlab.KindOf(err); kind == "forbidden" || kind == "not_found" {
		return nil // merge requests are switched off in the project
	}
	if err != nil {
		return err
	}
	known := map[int64]store.MergeRequest{}
	err = k.e.st.View(func(tx *store.Tx) error {
		list, err := tx.MergeRequests(k.project.ID)
		for _, mr := range list {
			known[mr.IID] = mr
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(open) {
		mr, ok := known[m.IID]
		delete(known, m.IID)
		switch {
		case m.HeadSHA == "": // its source branch is empty
		case m.Preparing: // its own delivery follows when GitLab has its diff, or the next look finds it
		case k.first && !ok:
			k.notes = append(k.notes, func(tx *store.Tx) error { return rememberMR(tx, k.project.ID, m) })
		case !ok:
			k.mergeRequest(m, mr, "open", "")
		case mr.State != "opened":
			k.mergeRequest(m, mr, "reopen", "")
		case mr.Head != m.HeadSHA:
			k.mergeRequest(m, mr, "update", mr.Head)
		case mr.Title != m.Title || mr.TargetBranch != m.TargetBranch:
			k.notes = append(k.notes, func(tx *store.Tx) error { return rememberMR(tx, k.project.ID, m) })
		}
	}
	return k.closedMergeRequests(ctx, known)
}

// closedMergeRequests asks for those that were open when last seen and are not in the list of open ones.
func (k *comparison) closedMergeRequests(ctx context.Context, known map[int64]store.MergeRequest) error {
	for _, mr := range known {
		if mr.State != "opened" {
			continue
		}
		m, err := k.c.MergeRequest(ctx, k.project.ID, mr.IID)
		switch {
		case gitlab.KindOf(err) == "not_found": // deleted
			m = gitlab.MergeRequest{
				IID: mr.IID, Title: mr.Title, State: "closed", SourceBranch: mr.SourceBranch, TargetBranch: mr.TargetBranch, HeadSHA: mr.Head,
				WebURL: mr.URL, SourceProject: k.project.ID, TargetProject: k.project.ID,
			}
			if mr.Fork {
				m.SourceProject = 0
			}
			k.mergeRequest(m, mr, "close", "")
		case err != nil:
			return err
		case m.State == "closed":
			k.mergeRequest(m, mr, "close", "")
		case m.State == "merged":
			k.mergeRequest(m, mr, "merge", "")
		}
	}
	return nil
}

// rememberMR records a merge request without any consequence.
func rememberMR(tx *store.Tx, project int64, m gitlab.MergeRequest) error {
	mr, ok, err := tx.MergeRequest(project, m.IID)
	if err != nil {
		return err
	}
	if !ok {
		mr.Head = m.HeadSHA
	}
	mr.Project, mr.State = project, m.State
	mr.MergeRequest = runs.MergeRequest{
		IID: m.IID, Title: m.Title, SourceBranch: m.SourceBranch, TargetBranch: m.TargetBranch, URL: m.WebURL, Fork: m.SourceProject != m.TargetProject,
	}
	return tx.PutMergeRequest(mr)
}

// push makes the delivery of a push that was missed, in GitLab's own form, so that it is read like any other. How many
// commits it has is not known, which makes GitLab be asked for the changed files.
func (k *comparison) push(ref, before, after, commit string, head gitlab.Commit, still func(*store.Tx) (bool, error)) {
	kind := "push"
	if strings.HasPrefix(ref, "refs/tags/") {
		kind = "tag_push"
	}
	k.add(fmt.Sprintf("%s %s..%s", ref, runs.ShortSHA(before), runs.ShortSHA(after)), map[string]any{
		"object_kind": kind, "event_name": kind, "ref": ref, "before": before, "after": after, "checkout_sha": commit,
		"project_id": k.project.ID, "project": k.projectBody(), "total_commits_count": 0,
		"commits": []any{map[string]any{
			"id": commit, "title": head.Title, "message": head.Title, "url": head.WebURL, "author": map[string]any{"name": head.Author},
		}},
	}, still)
}

// mergeRequest makes the delivery of what happened to a merge request since it was as known here, if it was.
func (k *comparison) mergeRequest(m gitlab.MergeRequest, was store.MergeRequest, action, oldrev string) {
	attributes := map[string]any{
		"iid": m.IID, "title": m.Title, "state": m.State, "source_branch": m.SourceBranch, "target_branch": m.TargetBranch, "url": m.WebURL,
		"source_project_id": m.SourceProject, "target_project_id": k.project.ID, "draft": m.Draft, "action": action,
		"last_commit": map[string]any{"id": m.HeadSHA},
	}
	if oldrev != "" {
		attributes["oldrev"] = oldrev
	}
	k.add(fmt.Sprintf("!%d %s", m.IID, action), map[string]any{
		"object_kind": "merge_request", "event_type": "merge_request", "project": k.projectBody(), "object_attributes": attributes,
	}, func(tx *store.Tx) (bool, error) {
		now, _, err := tx.MergeRequest(k.project.ID, m.IID)
		return now.State == was.State && now.Head == was.Head, err
	})
}

func (k *comparison) projectBody() map[string]any {
	return map[string]any{
		"id": k.project.ID, "path_with_namespace": k.project.Path, "web_url": k.project.WebURL, "default_branch": k.project.DefaultBranch,
	}
}

func (k *comparison) add(what string, body map[string]any, still func(*store.Tx) (bool, error)) {
	raw, err := json.Marshal(body)
	if err != nil {
		k.e.log.Error("a missed event could not be written down", "event", what, "error", err) // maps of texts and numbers: cannot happen
		return
	}
	d := store.Delivery{
		Event: EventMade, Project: k.project.Path, ProjectID: k.project.ID, Made: true, Headers: map[string]string{"What": what, "X-Gitlab-Event": EventMade},
	}
	k.made = append(k.made, finding{d, raw, still})
}
