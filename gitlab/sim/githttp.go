package sim

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var gitPath = regexp.MustCompile(`^(.+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)$`)

func isGit(path string) bool { return !strings.HasPrefix(path, "api/") && gitPath.MatchString(path) }

// maxPushBody bounds what one git push may bring.
const maxPushBody = 512 << 20

// serveGit is git's smart HTTP protocol: any username, a token as password (§3). An old path is followed (§0.4).
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, rec *recorder, path string) {
	parts := gitPath.FindStringSubmatch(path)
	service := parts[2]
	if service == "info/refs" {
		service = r.URL.Query().Get("service")
	}
	if service != "git-upload-pack" && service != "git-receive-pack" {
		http.Error(w, "dumb HTTP is not served; use a git of this decade", http.StatusForbidden)
		return
	}
	p, u, err := s.admitGit(r, rec, parts[1], service)
	if err != nil {
		refuseGit(w, err)
		return
	}
	switch {
	case parts[2] == "info/refs":
		err = s.advertise(w, r, p, u, service)
	case service == "git-upload-pack":
		err = s.uploadPack(w, r, p)
	default:
		err = s.receivePack(w, r, p, u)
	}
	if err != nil {
		s.log.Error("git over HTTP ended early", "path", path, "error", err)
		panic(http.ErrAbortHandler) // the answer has begun: only a cut connection tells the client
	}
}

func refuseGit(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var no *refusal
	if errors.As(err, &no) {
		status = no.status
	}
	text := map[int]string{
		http.StatusUnauthorized: "HTTP Basic: Access denied. If a password was provided for Git authentication, it was incorrect or a token is required.",
		http.StatusForbidden:    "You are not allowed to push code to this project.",
		http.StatusNotFound:     "The project you were looking for could not be found or you don't have permission to view it.",
	}[status]
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
	}
	http.Error(w, text, status)
}

// admitGit finds project and caller. Without credentials a private project is a 401, so that git asks for them.
func (s *Server) admitGit(r *http.Request, rec *recorder, escaped, service string) (*project, *User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, nil, notFound("Project")
	}
	u, err := s.gitUser(r, rec, service)
	if err != nil {
		return nil, nil, err
	}
	p := s.projectByPath(path)
	if p == nil {
		p = s.projectByOldPath(path)
	}
	switch {
	case u == nil && (p == nil || p.settings.Visibility != "public" || service == "git-receive-pack"):
		return nil, nil, unauthorized()
	case p == nil || !p.visible(u):
		return nil, nil, notFound("Project")
	case !p.readable(u):
		return nil, nil, forbidden("")
	case service == "git-receive-pack" && (p.role(u) < Developer || p.settings.Archived):
		return nil, nil, forbidden("")
	}
	return p, u, nil
}

func (s *Server) gitUser(r *http.Request, rec *recorder, service string) (*User, error) {
	_, value, ok := r.BasicAuth()
	if !ok {
		if value, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok {
			return nil, nil
		}
	}
	if t := s.tokenByValue(value); t != nil {
		s.noteToken(rec, t)
	} else {
		s.requests[rec.index].Token = "unknown"
	}
	t, err := s.usable(value)
	if err != nil {
		return nil, unauthorized()
	}
	enough := []string{"api", "write_repository"}
	if service == "git-upload-pack" {
		enough = append(enough, "read_repository")
	}
	if !anyOf(t.scopes, enough) {
		return nil, forbidden("")
	}
	return t.user, nil
}

// gitArgs hides from a push what its user may not change: protected branches and merge request refs.
func (s *Server) gitArgs(p *project, u *User, service string) []string {
	if service == "git-upload-pack" {
		return []string{"upload-pack", "--stateless-rpc"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	args := []string{"-c", "receive.hideRefs=refs/merge-requests"}
	if p.defaultBranch != "" && !p.mayPush(u, p.defaultBranch) {
		args = append(args, "-c", "receive.hideRefs=refs/heads/"+p.defaultBranch)
	}
	return append(args, "receive-pack", "--stateless-rpc")
}

func (s *Server) advertise(w http.ResponseWriter, r *http.Request, p *project, u *User, service string) error {
	h := w.Header()
	h.Set("Content-Type", "application/x-"+service+"-advertisement")
	h.Set("Cache-Control", "no-cache")
	line := "# service=" + service + "\n"
	if _, err := fmt.Fprintf(w, "%04x%s0000", len(line)+4, line); err != nil {
		return err
	}
	return s.runGit(w, r, p, nil, append(s.gitArgs(p, u, service), "--advertise-refs", p.repo.dir)...)
}

func (s *Server) runGit(w io.Writer, r *http.Request, p *project, stdin io.Reader, args ...string) error {
	cmd := p.repo.command(r.Context(), args...)
	if v := r.Header.Get("Git-Protocol"); v != "" {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+v)
	}
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, w, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("git: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	return nil
}

func unpacked(r *http.Request) (io.Reader, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return r.Body, nil
	}
	return gzip.NewReader(r.Body)
}

func (s *Server) uploadPack(w http.ResponseWriter, r *http.Request, p *project) error {
	body, err := unpacked(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	w.Header().Set("Cache-Control", "no-cache")
	return s.runGit(w, r, p, body, append(s.gitArgs(p, nil, "git-upload-pack"), p.repo.dir)...)
}

// receivePack takes a push and lets hooks and merge requests follow, whatever refs it changed.
func (s *Server) receivePack(w http.ResponseWriter, r *http.Request, p *project, u *User) error {
	body, err := unpacked(r)
	if err != nil {
		return err
	}
	pack, err := io.ReadAll(io.LimitReader(body, maxPushBody))
	if err != nil {
		return fmt.Errorf("read the push: %w", err)
	}
	args := append(s.gitArgs(p, u, "git-receive-pack"), p.repo.dir)
	var report bytes.Buffer
	if err := s.receive(&report, r, p, u, pack, args); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
	w.Header().Set("Cache-Control", "no-cache")
	_, err = w.Write(report.Bytes())
	return err
}

func (s *Server) receive(report io.Writer, r *http.Request, p *project, u *User, pack []byte, args []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := p.repo.refs()
	if err != nil {
		return err
	}
	r = r.WithContext(context.WithoutCancel(r.Context())) // half a push must not go unnoticed
	if err := s.runGit(report, r, p, bytes.NewReader(pack), args...); err != nil {
		return err
	}
	after, err := p.repo.refs()
	if err != nil {
		return err
	}
	return s.pushed(p, u, changesBetween(p.repo.zero(), before, after))
}

// changesBetween compares two states of the refs, in the order of their names.
func changesBetween(zero string, before, after map[string]string) []refChange {
	var changes []refChange
	for _, ref := range sortedKeys(before, after) {
		c := refChange{ref: ref, before: zero, after: zero}
		if sha, ok := before[ref]; ok {
			c.before = sha
		}
		if sha, ok := after[ref]; ok {
			c.after = sha
		}
		changes = append(changes, c)
	}
	return changes
}
