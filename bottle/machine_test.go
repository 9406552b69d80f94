package bottle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"groundcrew/runs/engine"
	"groundcrew/runs/tofu"
)

// A machine is where the processes of runs live. They outlive the server, as package proc's shims do, and die with the
// machine. What a process does stands in its commit: the file "mode".
type machine struct {
	w  *world
	wg sync.WaitGroup

	mu      sync.Mutex
	jobs    map[string]*process // by the job's folder, also those that ended
	applied map[string]int      // plans, by how often they were applied
	tasks   map[string]int      // runs whose task or destroy was begun, by how often
	left    map[string][]string // states that were left behind, by run
	plans   int
}

func newMachine(w *world) *machine {
	return &machine{w: w, jobs: map[string]*process{}, applied: map[string]int{}, tasks: map[string]int{}, left: map[string][]string{}}
}

// die ends every process at once, without a word.
func (m *machine) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.jobs {
		p.kill()
	}
}

func (m *machine) stop() {
	m.die()
	m.wg.Wait()
}

// A process is a shim with its commands.
type process struct {
	m      *machine
	run    string
	spec   engine.Spec
	mode   mode
	killed chan struct{}
	asked  chan struct{}

	mu      sync.Mutex
	steps   [][2]string // phase and name of each command that was started
	result  *engine.Result
	over    bool          // nothing of it is alive
	changed chan struct{} // closed when one of these changed
}

// A mode is how a commit's code behaves.
type mode struct {
	plan, apply time.Duration
	fail        string // the command that fails
	hang        string // the command that never ends by itself
	keep        bool   // writes its state early, so that it is there when it is cut off
	replace     bool   // what changes is replaced
	value       string
}

func parseMode(dir string) mode {
	m := mode{plan: time.Second, apply: time.Second}
	raw, _ := os.ReadFile(filepath.Join(dir, "mode")) // without one it is all quick and good
	for f := range strings.FieldsSeq(string(raw)) {
		k, v, _ := strings.Cut(f, "=")
		d, _ := time.ParseDuration(v)
		switch k {
		case "plan":
			m.plan = d
		case "apply":
			m.apply = d
		case "fail":
			m.fail = v
		case "hang":
			m.hang = v
		case "keep":
			m.keep = true
		case "replace":
			m.replace = true
		}
	}
	value, _ := os.ReadFile(filepath.Join(dir, "value"))
	m.value = string(value)
	return m
}

// A runner is the machine as one server sees it.
type runner struct{ l *life }

// Run implements [engine.Runner] as package proc does: it finds an earlier start of the job again.
func (r runner) Run(ctx context.Context, j engine.Job) (engine.Result, error) {
	m := r.l.w.machine
	m.mu.Lock()
	p := m.jobs[j.Dir]
	m.mu.Unlock()
	if p == nil {
		spec, err := j.Spec()
		if err != nil {
			return engine.Result{}, err
		}
		if err := os.MkdirAll(j.Dir, 0o700); err != nil {
			return engine.Result{}, err
		}
		if r.l.step() != nil {
			<-ctx.Done()
			return engine.Result{}, ctx.Err()
		}
		p = m.start(j.Dir, spec)
	}
	return p.watch(ctx, r.l, j)
}

func (m *machine) start(dir string, spec engine.Spec) *process {
	p := &process{
		m: m, run: filepath.Base(filepath.Dir(dir)), spec: spec, mode: parseMode(spec.WorkDir),
		killed: make(chan struct{}), asked: make(chan struct{}), changed: make(chan struct{}),
	}
	m.mu.Lock()
	m.jobs[dir] = p
	m.mu.Unlock()
	m.wg.Go(p.live)
	return p
}

// watch follows the process until it ends or the server does.
func (p *process) watch(ctx context.Context, l *life, j engine.Job) (engine.Result, error) {
	told, stop := 0, j.Stop
	for {
		p.mu.Lock()
		steps, result, over, changed := p.steps[told:], p.result, p.over, p.changed
		p.mu.Unlock()
		for _, s := range steps {
			j.Started(s[0], s[1])
			told++
		}
		dead := l.step() != nil
		switch {
		case dead:
			<-ctx.Done()
			return engine.Result{}, ctx.Err()
		case len(steps) > 0:
			continue
		case result != nil:
			return *result, nil
		case over:
			return engine.Result{}, engine.ErrLost
		}
		select {
		case <-changed:
		case <-stop:
			stop = nil
			p.ask()
		case <-ctx.Done():
			return engine.Result{}, ctx.Err()
		}
	}
}

func (p *process) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *process) kill() { closeOnce(p, p.killed) }
func (p *process) ask()  { closeOnce(p, p.asked) }

func closeOnce(p *process, ch chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-ch:
	default:
		close(ch)
	}
}

// live runs the commands one after the other.
func (p *process) live() {
	for _, c := range p.spec.Commands {
		p.change(func() { p.steps = append(p.steps, [2]string{string(c.Phase), c.Name}) })
		res, ended := p.command(c)
		if !ended {
			p.change(func() { p.over = true })
			return
		}
		if !res.OK {
			p.end(res)
			return
		}
	}
	p.end(engine.Result{OK: true})
}

func (p *process) end(r engine.Result) {
	p.change(func() { p.result, p.over = &r, true })
}

// command does one command; ended is false when the machine died meanwhile.
func (p *process) command(c tofu.Command) (res engine.Result, ended bool) {
	p.log(c, c.Name+" begins")
	took := map[string]time.Duration{"init": time.Second, "plan": p.mode.plan, "apply": p.mode.apply, "destroy": p.mode.apply, "task": p.mode.apply}[c.Name]
	changes := c.Name == "apply" || c.Name == "destroy" || c.Name == "task"
	if changes {
		p.begin(c.Name)
		if p.mode.keep {
			p.leave(c.Name)
		}
	}
	if p.mode.hang == c.Name {
		took = p.spec.Silence
	}
	select {
	case <-p.killed:
		return res, false
	case <-p.asked:
		if changes {
			p.leave(c.Name)
		}
		return engine.Result{Command: c.Name, Stopped: true, Message: "It was asked to stop."}, true
	case <-time.After(took):
	}
	if changes && !p.mode.keep {
		p.leave(c.Name)
	}
	switch {
	case p.mode.hang == c.Name:
		return engine.Result{Command: c.Name, Limited: true, Message: "It was silent for too long."}, true
	case p.mode.fail == c.Name:
		p.log(c, "Error: "+c.Name+" fails as its commit says")
		return engine.Result{Command: c.Name}, true
	case c.Name == "plan":
		return p.planned(), true
	case c.Name == "show":
		return p.show(c), true
	}
	return engine.Result{OK: true}, true
}

func (p *process) log(c tofu.Command, line string) {
	f, err := os.OpenFile(filepath.Join(p.spec.LogDir, string(c.Phase)+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return // the run was ended and tidied up
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}

// env is a variable of the commands.
func (p *process) env(name string) string {
	for _, kv := range p.spec.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// A saved is the state of a stack: one resource with one value.
type saved struct {
	Version   int               `json:"version"`
	Serial    int               `json:"serial"`
	Lineage   string            `json:"lineage"`
	Outputs   map[string]string `json:"outputs"`
	Resources []any             `json:"resources"`
	Value     string            `json:"value"`
}

func (p *process) state() (s saved) {
	raw, err := os.ReadFile(p.env("GROUNDCREW_STATE"))
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return saved{}
	}
	return s
}

// A planFile is what the plan command saves: what the apply makes.
type planFile struct {
	ID    int
	Value string
	On    int // serial of the state it was made on
}

func (p *process) planned() engine.Result {
	p.m.mu.Lock()
	p.m.plans++
	f := planFile{p.m.plans, p.mode.value, p.state().Serial}
	p.m.mu.Unlock()
	return write(p.env("GROUNDCREW_PLAN"), f)
}

// show prints the plan as Terraform's JSON.
func (p *process) show(c tofu.Command) engine.Result {
	now := p.state()
	change := map[string]any{"actions": []string{"no-op"}, "before": map[string]any{"input": now.Value}, "after": map[string]any{"input": p.mode.value}}
	switch {
	case now.Serial == 0 || len(now.Resources) == 0:
		change["actions"], change["before"] = []string{"create"}, nil
	case now.Value != p.mode.value && p.mode.replace:
		change["actions"] = []string{"delete", "create"}
	case now.Value != p.mode.value:
		change["actions"] = []string{"update"}
	}
	return write(c.Stdout, map[string]any{"format_version": "1.2", "resource_changes": []any{map[string]any{
		"address": "terraform_data.it", "mode": "managed", "type": "terraform_data", "name": "it", "provider_name": "terraform.io/builtin/terraform", "change": change,
	}}})
}

func write(path string, v any) engine.Result {
	raw, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	return engine.Result{OK: err == nil, Message: fmt.Sprint(err)}
}

// begin checks that the world may be changed: nothing is applied twice, and nothing without a yes.
func (p *process) begin(what string) {
	w := p.m.w
	if what != "apply" {
		p.m.mu.Lock()
		p.m.tasks[p.run]++
		n := p.m.tasks[p.run]
		p.m.mu.Unlock()
		if n > 1 {
			w.breakf("the %s of %s is done for the %d. time", what, w.name(p.run), n)
		}
		return
	}
	var f planFile
	raw, err := os.ReadFile(p.env("GROUNDCREW_PLAN"))
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	if err != nil {
		w.breakf("%s applies without a plan: %v", w.name(p.run), err)
		return
	}
	p.m.mu.Lock()
	p.m.applied[strconv.Itoa(f.ID)]++
	n := p.m.applied[strconv.Itoa(f.ID)]
	p.m.applied[p.run]++
	again := p.m.applied[p.run]
	p.m.mu.Unlock()
	if n > 1 || again > 1 {
		w.breakf("the plan of %s is applied for the %d. time, the run applies for the %d.", w.name(p.run), n, again)
	}
	if f.Value != p.mode.value || f.On != p.state().Serial {
		w.breakf("%s applies another plan than its commit's, or on another state", w.name(p.run))
	}
	w.mu.Lock()
	yes := w.yes[p.run]
	w.mu.Unlock()
	if !yes {
		w.breakf("%s applies without a yes", w.name(p.run))
	}
}

// leave writes the state that the command makes.
func (p *process) leave(what string) {
	if what == "task" || p.env("GROUNDCREW_STATE") == "" {
		return
	}
	s := p.state()
	s.Version, s.Lineage = 4, "bottle"
	s.Serial++
	s.Value, s.Resources = p.mode.value, []any{map[string]any{"mode": "managed", "type": "terraform_data", "name": "it", "instances": []any{map[string]any{}}}}
	if what == "destroy" {
		s.Value, s.Resources = "", []any{}
	}
	if r := write(p.env("GROUNDCREW_STATE"), s); !r.OK {
		p.m.w.breakf("%s cannot write its state: %s", p.m.w.name(p.run), r.Message)
		return
	}
	p.m.mu.Lock()
	p.m.left[p.run] = append(p.m.left[p.run], s.Value+"@"+strconv.Itoa(s.Serial))
	p.m.mu.Unlock()
}

// mayApply remembers a yes: a person's, given by now, or that of a stack that applies by itself.
func (w *world) mayApply(run string) {
	w.mu.Lock()
	w.yes[run] = true
	w.mu.Unlock()
}
