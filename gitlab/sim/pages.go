package sim

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

//go:embed page
var pageFiles embed.FS

// pages renders what people see. There is no sign-in: who can reach the simulator may click, as the visitor (SetVisitor).
type pages struct {
	templates *template.Template
	style     []byte
	guard     *http.CrossOriginProtection
}

func newPages() (*pages, error) {
	style, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		return nil, fmt.Errorf("sim: read the style sheet: %w", err)
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"markdown": renderMarkdown, "icon": icon, "short": short, "stamp": stamp, "words": words,
	}).ParseFS(pageFiles, "page/*.html")
	if err != nil {
		return nil, fmt.Errorf("sim: read the page templates: %w", err)
	}
	return &pages{templates: t, style: style, guard: http.NewCrossOriginProtection()}, nil
}

// icon is a shape for each state, so that colour is never alone.
func icon(state string) string {
	switch state {
	case "success", "opened", "available", "merged", "executable":
		return "●"
	case "failed", "disabled":
		return "✕"
	case "running":
		return "◐"
	case "pending", "created":
		return "○"
	default:
		return "–"
	}
}

func short(sha string) string { return sha[:min(8, len(sha))] }

func stamp(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + t.UTC().Format("2 Jan 2006 15:04:05 UTC") + `</time>`)
}

// words makes a sentence part of an API word: "ci_must_pass" → "ci must pass".
func words(text string) string { return strings.ReplaceAll(text, "_", " ") }

// A frame is what every page has.
type frame struct {
	Root    string // for links
	Title   string
	Refresh int    // seconds; 0 for none
	Here    string // the page's own address
	Error   string
	Project *Project
	Path    string // the project's address
	Data    any
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request, path string) {
	path, err := url.PathUnescape(strings.Trim(path, "/"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if path == "-/style.css" {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(s.pages.style) // the client went away
		return
	}
	f := frame{Root: s.opt.RelativeRoot, Here: r.URL.Path}
	f.Refresh, _ = strconv.Atoi(r.URL.Query().Get("refresh")) // anything else is off
	if path == "" {
		f.Title, f.Data = "Projects", s.Projects()
		s.render(w, http.StatusOK, "projects", f)
		return
	}
	s.mu.Lock()
	owner, rest, _ := strings.Cut(path, "/-/")
	p := s.projectByPath(owner)
	if p != nil {
		view := s.projectView(p)
		f.Project, f.Path = &view, s.opt.RelativeRoot+"/"+p.path
	}
	s.mu.Unlock()
	if p == nil {
		f.Title = "Not found"
		s.render(w, http.StatusNotFound, "missing", f)
		return
	}
	if r.Method == http.MethodPost {
		s.act(w, r, p, f, rest)
		return
	}
	s.show(w, p, f, rest)
}

// show renders the page of a project that rest names.
func (s *Server) show(w http.ResponseWriter, p *project, f frame, rest string) {
	status := http.StatusOK
	if f.Error != "" {
		status = http.StatusUnprocessableEntity
	}
	kind, name, _ := strings.Cut(rest, "/")
	number, _ := strconv.ParseInt(name, 10, 64) // 0 for none
	page := "missing"
	s.mu.Lock()
	switch {
	case kind == "" || kind == "tree":
		page, f.Title, f.Data = "project", p.path, s.projectPage(p)
	case kind == "merge_requests" && name == "":
		page, f.Title, f.Data = "merge_requests", "Merge requests", s.mergeRequestRows(p)
	case kind == "merge_requests" && p.mergeRequest(number) != nil:
		mr := p.mergeRequest(number)
		page, f.Title, f.Data = "merge_request", mr.title, s.mergeRequestPage(mr)
	case kind == "pipelines" && name == "":
		page, f.Title, f.Data = "pipelines", "Pipelines", pipelineViews(p)
	case kind == "pipelines" && p.pipeline(number) != nil:
		page, f.Title, f.Data = "pipeline", "Pipeline #"+name, viewPipeline(p.pipeline(number))
	case kind == "environments":
		page, f.Title, f.Data = "environments", "Environments", environmentViews(p)
	case kind == "hooks":
		page, f.Title, f.Data = "hooks", "Web hooks", s.hookViews(p)
	case kind == "commit" && p.commitAt(name) != nil:
		page, f.Title, f.Data = "commit", short(name), commitPage(p, p.commitAt(name))
	}
	s.mu.Unlock()
	if page == "missing" {
		status, f.Title = http.StatusNotFound, "Not found"
	}
	s.render(w, status, page, f)
}

// render writes a whole page or an error, never half of one.
func (s *Server) render(w http.ResponseWriter, status int, name string, f frame) {
	var out bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&out, name, f); err != nil {
		s.log.Error("render a page", "page", name, "error", err)
		http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	policy := "default-src 'none'; style-src 'self'; base-uri 'none'"
	if name != "authorize" { // whose form leads back to the application
		policy += "; form-action 'self'"
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the client went away
}

// act does what a button or form asks, then shows the page again.
func (s *Server) act(w http.ResponseWriter, r *http.Request, p *project, f frame, rest string) {
	if err := s.pages.guard.Check(r); err != nil {
		http.Error(w, "This form was sent from another site.", http.StatusForbidden)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form could not be read.", http.StatusBadRequest)
		return
	}
	to, err := s.do(r, p, rest)
	if errors.Is(err, errNoAction) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		f.Error = strings.TrimPrefix(err.Error(), "sim: ")
		s.show(w, p, f, to)
		return
	}
	http.Redirect(w, r, f.Path+"/-/"+to, http.StatusSeeOther)
}

var errNoAction = errors.New("no such action")

// do runs one action and names the page to show then: merge_requests/<iid>/<action>, or merge_requests for a new one.
func (s *Server) do(r *http.Request, p *project, rest string) (page string, err error) {
	parts := strings.Split(rest, "/")
	if rest == "merge_requests" {
		return s.propose(r, p)
	}
	if len(parts) != 3 || parts[0] != "merge_requests" {
		return "", errNoAction
	}
	iid, _ := strconv.ParseInt(parts[1], 10, 64) // 0 is none
	switch parts[2] {
	case "merge":
		_, err = s.MergeMergeRequest(p.id, iid, 0)
	case "close":
		err = s.CloseMergeRequest(p.id, iid, 0)
	case "reopen":
		err = s.ReopenMergeRequest(p.id, iid, 0)
	case "note":
		_, err = s.AddNote(p.id, iid, 0, r.PostForm.Get("body"))
	case "push":
		err = s.pushToMergeRequest(r, p, iid)
	default:
		return "", errNoAction
	}
	return "merge_requests/" + parts[1], err
}

// formFile is the file of a form, with the line breaks of a text file.
func formFile(r *http.Request) (map[string]string, error) {
	path := strings.Trim(strings.TrimSpace(r.PostForm.Get("path")), "/")
	if path == "" || strings.Contains(path, "..") {
		return nil, errors.New("say which file to change, for example main.tf")
	}
	content := strings.ReplaceAll(r.PostForm.Get("content"), "\r\n", "\n")
	return map[string]string{path: strings.TrimRight(content, "\n") + "\n"}, nil
}

func (s *Server) pushToMergeRequest(r *http.Request, p *project, iid int64) error {
	files, err := formFile(r)
	if err != nil {
		return err
	}
	mr, err := s.MergeRequest(p.id, iid)
	if err != nil {
		return err
	}
	if mr.State != "opened" {
		return fmt.Errorf("merge request !%d is %s; push to an open one", iid, mr.State)
	}
	_, err = s.Push(mr.SourceProject, mr.SourceBranch, messageFor(r, files), files)
	return err
}

func messageFor(r *http.Request, files map[string]string) string {
	if text := strings.TrimSpace(r.PostForm.Get("message")); text != "" {
		return text
	}
	for path := range files {
		return "Change " + path
	}
	return "Change"
}

// propose pushes a file to a new branch and opens a merge request from it.
func (s *Server) propose(r *http.Request, p *project) (page string, err error) {
	files, err := formFile(r)
	if err != nil {
		return "", err
	}
	branch := strings.TrimSpace(r.PostForm.Get("branch"))
	if branch == "" || s.Head(p.id, branch) != "" {
		return "", fmt.Errorf("the branch %q exists already or has no name; choose a new one", branch)
	}
	if _, err := p.repo.git("check-ref-format", "--branch", branch); err != nil {
		return "", fmt.Errorf("%q cannot be the name of a branch", branch)
	}
	text := messageFor(r, files)
	if _, err := s.Push(p.id, branch, text, files); err != nil {
		return "", err
	}
	s.mu.Lock()
	target := p.defaultBranch
	s.mu.Unlock()
	iid, err := s.OpenMergeRequest(p.id, branch, target, text, 0)
	return "merge_requests/" + itoa(iid), err
}
