package sim

import (
	"slices"
	"strings"
	"time"
)

// The views hold what the templates show, copied while mu is held.

type projectDetail struct {
	Branches      []branchView
	Commits       []commitView
	MergeRequests []mergeRequestRow
	Files         []string
}

type branchView struct{ Name, SHA string }

type commitView struct {
	SHA, Title, Author, Status string
	At                         time.Time
}

type mergeRequestRow struct {
	IID                                         int64
	Title, State, Author, Source, Target, Check string
	URL                                         string // path only
	Updated                                     time.Time
}

type mergeRequestDetail struct {
	MergeRequest
	Author    string
	Created   time.Time
	Fork      string // path of the source project of a fork
	Pipeline  *pipelineView
	Notes     []noteView
	Approvals []string
	Files     []fileView
	Mergeable bool
	Open      bool

	PushPath, PushContent string // what the push form begins with: a file that is changed already
}

type noteView struct {
	ID           int64
	Author, Body string
	System       bool
	At           time.Time
	Edited       bool
	Thread       string // "", "open" or "resolved"
}

type fileView struct{ Path, Diff string }

type pipelineView struct {
	ID                       int64
	SHA, Ref, Status, Source string
	Created                  time.Time
	Jobs                     []jobView
}

type jobView struct {
	Name, Status, Description, URL, User string
	Updated                              time.Time
}

type environmentView struct {
	Environment
	Deployments []deploymentView
}

type deploymentView struct {
	IID                    int64
	Status, SHA, Ref, User string
	At                     time.Time
}

type hookView struct {
	Hook
	Deliveries []HookDelivery
}

type commitDetail struct {
	Message, SHA, Author string
	At                   time.Time
	Files                []fileView
	Pipelines            []pipelineView
}

func (s *Server) projectPage(p *project) projectDetail {
	var v projectDetail
	v.MergeRequests = s.mergeRequestRows(p)
	refs, err := p.repo.refs()
	if err != nil || p.defaultBranch == "" {
		return v
	}
	for _, ref := range sortedKeys(refs) {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			v.Branches = append(v.Branches, branchView{name, refs[ref]})
		}
	}
	commits, _ := p.repo.log("-10", p.defaultBranch) // the branch exists
	for _, c := range commits {
		row := commitView{SHA: c.sha, Title: c.title(), Author: c.author, At: c.committed}
		if pl := p.newestPipeline(c.sha, ""); pl != nil {
			row.Status = pl.status()
		}
		v.Commits = append(v.Commits, row)
	}
	files, _ := p.repo.git("ls-tree", "-r", "--name-only", p.defaultBranch) // the branch exists
	v.Files = strings.Split(files, "\n")
	return v
}

func (s *Server) mergeRequestRows(p *project) []mergeRequestRow {
	var rows []mergeRequestRow
	for _, mr := range slices.Backward(p.mergeRequests) {
		row := mergeRequestRow{
			IID: mr.iid, Title: mr.title, State: mr.state, Author: mr.author.Name, Source: mr.sourceBranch, Target: mr.targetBranch, Updated: mr.updated,
			URL: s.opt.RelativeRoot + "/" + p.path + "/-/merge_requests/" + itoa(mr.iid),
		}
		if mr.headPipeline != nil {
			row.Check = mr.headPipeline.status()
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *Server) mergeRequestPage(mr *mergeRequest) mergeRequestDetail {
	v := mergeRequestDetail{
		MergeRequest: s.mergeRequestView(mr), Author: mr.author.Name, Created: mr.created, Open: mr.open(),
		Mergeable: s.detailedStatus(mr) == "mergeable",
	}
	if mr.source != mr.target {
		v.Fork = mr.source.path
	}
	if mr.headPipeline != nil {
		view := viewPipeline(mr.headPipeline)
		v.Pipeline = &view
	}
	for _, a := range mr.approvals {
		v.Approvals = append(v.Approvals, a.user.Name)
	}
	for _, n := range mr.notes {
		v.Notes = append(v.Notes, viewNote(n))
	}
	v.Files = fileViews(mr.target.repo, mr.base, mr.sha)
	for _, f := range v.Files {
		if text, err := mr.target.repo.blob(mr.sha + ":" + f.Path); err == nil { // else the file was deleted
			v.PushPath, v.PushContent = f.Path, text
			break
		}
	}
	return v
}

func viewNote(n *note) noteView {
	v := noteView{ID: n.id, Author: n.author.Name, Body: n.body, System: n.system, At: n.created, Edited: n.edits > 0}
	switch {
	case n.resolvable() && n.resolved:
		v.Thread = "resolved"
	case n.resolvable():
		v.Thread = "open"
	}
	return v
}

func fileViews(r repo, from, to string) []fileView {
	if from == "" {
		return nil
	}
	diffs, _ := r.diff(from, to) // commits of one repository
	var files []fileView
	for _, d := range diffs {
		files = append(files, fileView{d.newPath, d.text})
	}
	return files
}

func viewPipeline(pl *pipeline) pipelineView {
	v := pipelineView{ID: pl.id, SHA: pl.sha, Ref: pl.ref, Status: pl.status(), Source: pl.source, Created: pl.created}
	for _, j := range pl.latest() {
		v.Jobs = append(v.Jobs, jobView{
			Name: j.name, Status: j.state, Description: j.description, URL: j.targetURL, User: j.user.Name,
			Updated: newest(j.created, j.started, j.finished),
		})
	}
	return v
}

func newest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func pipelineViews(p *project) []pipelineView {
	var views []pipelineView
	for _, pl := range slices.Backward(p.pipelines) {
		views = append(views, viewPipeline(pl))
	}
	return views
}

func environmentViews(p *project) []environmentView {
	var views []environmentView
	for _, e := range p.environments {
		v := environmentView{Environment: Environment{
			ID: e.id, Name: e.name, Slug: e.slug, ExternalURL: e.externalURL, Tier: e.tier, State: e.state(), CreatedAt: e.created, UpdatedAt: e.updated,
		}}
		for _, d := range slices.Backward(p.deployments) {
			if d.environment == e {
				v.Deployments = append(v.Deployments, deploymentView{IID: d.iid, Status: d.status, SHA: d.sha, Ref: d.ref, User: d.user.Name, At: d.updated})
			}
		}
		views = append(views, v)
	}
	return views
}

// shownDeliveries is how many of a hook's last deliveries the page lists.
const shownDeliveries = 20

func (s *Server) hookViews(p *project) []hookView {
	var views []hookView
	for _, h := range p.hooks {
		v := hookView{Hook: s.hookView(h)}
		for _, d := range slices.Backward(p.deliveries) {
			if d.hook == h && len(v.Deliveries) < shownDeliveries {
				v.Deliveries = append(v.Deliveries, d.HookDelivery)
			}
		}
		views = append(views, v)
	}
	return views
}

func commitPage(p *project, c *commit) commitDetail {
	v := commitDetail{Message: c.message, SHA: c.sha, Author: c.author, At: c.committed}
	if len(c.parents) > 0 {
		v.Files = fileViews(p.repo, c.parents[0], c.sha)
	}
	for _, pl := range slices.Backward(p.pipelines) {
		if pl.sha == c.sha {
			v.Pipelines = append(v.Pipelines, viewPipeline(pl))
		}
	}
	return v
}
