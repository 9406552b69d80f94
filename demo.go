package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
)

// demo is the main job on one machine: the server, a simulated GitLab with a sample repository, a stack, an
// open merge request planned and commented, and a tracked run that waits for a yes. Everything it makes is in
// a temporary folder that goes when it ends.
func demo(ctx context.Context, c config, stdout io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "groundcrew-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the users of runs must get to their workspaces
		return err
	}
	c.dataDir = filepath.Join(dir, "data")
	if c.adminPassword == "" {
		c.adminPassword = runs.Secret(store.NewToken()[:20])
	}
	g, err := newDemoGitLab(filepath.Join(dir, "gitlab"), c.gitlabListen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	s, err := open(c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fmt.Fprintf(stdout, "Groundcrew %s with a simulated GitLab. Setting the scene…\n", version)
	if err := setScene(ctx, s, g); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	fmt.Fprintf(stdout, `
  Groundcrew       %s
                   sign in as admin with the password %s
  GitLab (demo)    %s

  A merge request  %s
                   is planned: look at its pipeline and its comment, and comment /groundcrew help there.
  A tracked run    %s
                   waits for your yes: press Apply, then look at the environments of the project in GitLab.

Ctrl-C ends the demo and removes everything it made.
`, s.url, c.adminPassword.Reveal(), g.sim.URL(), g.mergeRequestURL(), s.url+"/runs/"+g.tracked)
	select {
	case <-ctx.Done():
	case err = <-s.served:
	}
	return err
}

// demoPath is the sample project.
const demoPath = "platform/infrastructure"

// A demoGitLab is the simulated GitLab with its sample repository.
type demoGitLab struct {
	sim     *sim.Server
	http    *http.Server
	project sim.Project
	author  sim.User
	token   string
	iid     int64
	tracked string // the run that waits
}

func newDemoGitLab(dir, address string) (*demoGitLab, error) {
	s, err := sim.New(sim.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the simulated GitLab cannot listen on %s: %w. Choose another address with --gitlab-listen", address, err), s.Close())
	}
	s.SetURL("http://" + l.Addr().String())
	g := &demoGitLab{sim: s, http: &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = g.http.Serve(l) }() // ends with close; what went wrong before shows in the next request
	g.author = s.AddUser("ada", "Ada Lind", false)
	bot := s.AddUser("groundcrew-bot", "Groundcrew", false)
	g.token = s.AddToken(bot.ID, "groundcrew", []string{"api"}, time.Now().AddDate(0, 11, 0))
	if g.project, err = s.AddProject(demoPath, "main", map[string]string{"README.md": "# Infrastructure\n\nThe network of the platform team.\n"}); err != nil {
		return nil, errors.Join(err, g.close())
	}
	s.AddMember(g.project.ID, g.author.ID, 40)
	s.AddMember(g.project.ID, bot.ID, 40)
	s.SetVisitor(g.author.ID)
	return g, nil
}

func (g *demoGitLab) close() error { return errors.Join(g.http.Close(), g.sim.Close()) }

func (g *demoGitLab) mergeRequestURL() string {
	return fmt.Sprintf("%s/%s/-/merge_requests/%d", g.sim.URL(), demoPath, g.iid)
}

// setScene does what an admin and an author would do, through the same doors.
func setScene(ctx context.Context, s *server, g *demoGitLab) error {
	const by = "admin"
	if _, err := s.engine.SaveIntegration(ctx, engine.Link{APIURL: g.sim.URL(), Token: runs.Secret(g.token)}, by); err != nil {
		return err
	}
	if err := g.introduce(s.store, by); err != nil {
		return err
	}
	tool, err := demoTool(ctx, s.engine)
	if err != nil {
		return err
	}
	_, warnings, err := s.engine.CreateStack(ctx, runs.Stack{
		Name: "network-prod", ProjectRoot: "network", Tool: tool, Labels: []string{"tier:production"},
		Description: "Subnets and firewall of the production network.", Promotion: true,
	}, demoPath, by, true)
	if err != nil {
		return err
	}
	if len(warnings) > 0 {
		return errors.New(warnings[0])
	}
	push := func(branch, message string, files map[string]string) error {
		_, err := g.sim.Push(g.project.ID, branch, message, files)
		return err
	}
	if err := push("main", "Lay out the production network", map[string]string{"network/main.tf": demoNetwork}); err != nil {
		return err
	}
	if g.tracked, err = await(ctx, s, runs.Tracked, runs.Unconfirmed); err != nil {
		return err
	}
	if err := push("feature/edge", "Open port 443 for the new edge", map[string]string{"network/edge.tf": demoEdge}); err != nil {
		return err
	}
	if g.iid, err = g.sim.OpenMergeRequest(g.project.ID, "feature/edge", "main", "Open port 443 for the new edge", g.author.ID); err != nil {
		return err
	}
	if _, err := await(ctx, s, runs.Proposed, runs.Finished); err != nil {
		return err
	}
	return poll(ctx, "the comment on the merge request", func() (bool, error) {
		return len(g.sim.Notes(g.project.ID, g.iid)) > 0, nil
	})
}

// introduce binds the admin's account to the one that clicks in the simulated GitLab, so that commands in comments count.
func (g *demoGitLab) introduce(st *store.Store, admin string) error {
	return st.Update(func(tx *store.Tx) error {
		u, _, err := tx.UserByName(admin)
		if err != nil {
			return err
		}
		u.GitLabID, u.GitLabURL = g.author.ID, g.sim.URL()
		_, err = tx.PutUser(u)
		return err
	})
}

// demoTool takes OpenTofu where it is present, else Terraform.
func demoTool(ctx context.Context, e *engine.Engine) (string, error) {
	tools, err := e.Tools(ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for _, t := range tools {
		if t.Problem == "" && (found == "" || t.Tool == runs.OpenTofu) {
			found = t.Tool
		}
	}
	if found == "" {
		return "", errors.New("neither tofu nor terraform is on the PATH. `make demo` builds OpenTofu and starts the demo with it")
	}
	return found, nil
}

// await waits until the newest run of a type is in a state, and returns its id.
func await(ctx context.Context, s *server, t runs.Type, want runs.State) (string, error) {
	id := ""
	err := poll(ctx, "a "+string(t)+" run that is "+string(want), func() (bool, error) {
		var r runs.Run
		err := s.store.View(func(tx *store.Tx) error {
			page, _, err := tx.Runs(store.RunFilter{Types: []runs.Type{t}}, "", 1)
			if len(page) > 0 {
				r = page[0]
			}
			return err
		})
		id = r.ID
		if r.State != want && r.State.Terminal() {
			return false, fmt.Errorf("the %s run is %s: %s", t, r.State, r.Reason)
		}
		return r.State == want, err
	})
	return id, err
}

// poll asks until the answer is yes, for a minute.
func poll(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not come: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// The sample code needs no provider: terraform_data is built into both tools.
const demoNetwork = `variable "region" {
  type    = string
  default = "eu-north"
}

locals {
  subnets = {
    app  = "10.20.0.0/24"
    data = "10.20.1.0/24"
  }
}

resource "terraform_data" "network" {
  input = {
    region = var.region
    cidr   = "10.20.0.0/16"
  }
}

resource "terraform_data" "subnet" {
  for_each = local.subnets
  input = {
    network = terraform_data.network.id
    cidr    = each.value
  }
}

output "cidr" {
  value = terraform_data.network.output.cidr
}
`

const demoEdge = `resource "terraform_data" "edge_443" {
  input = {
    port     = 443
    protocol = "tcp"
    from     = "0.0.0.0/0"
  }
}
`
