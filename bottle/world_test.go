package bottle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"groundcrew/gitlab"
	"groundcrew/gitlab/sim"
	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/runs/policy"
	"groundcrew/store"
	"groundcrew/web"
)

const (
	address   = "https://gc.example"
	bootstrap = "bootstrap-token-of-the-bottle-0123456789abcdef"
	person    = "bootstrap token" // as the audit log calls who acts here
)

// A world is everything in one bubble: GitLab, the network between, the machine with its processes, and on it one
// server after the other, each a life.
type world struct {
	t        *testing.T
	rng      *rand.Rand // of the driver alone
	drawn    []string   // the acts, by name
	seed     uint64
	began    time.Time
	dir      string // the data folder
	sim      *sim.Server
	projects []*project
	bot, ada sim.User
	rolf     sim.User // only looks; on days of the third kind
	token    string   // of the bot
	hers     string   // token of the person who does things in GitLab by its API
	machine  *machine
	upkeep   sync.WaitGroup
	deaths   chan funeral // what the supervisor has to follow up

	mu       sync.Mutex // guards what follows
	life     *life      // nil while no server runs
	next     death      // how the next death by the fuse is to be
	tracked  []string   // the trace
	tail     []string   // the server's own last words
	broken   []string   // invariants that did not hold
	names    map[string]string
	ended    map[string]runs.State // runs whose end was seen
	moves    map[string]int        // how many transitions of a run were seen
	commands []said                // in comments
	released map[string]bool       // commits of forks that a person released, or tried to
	modes    modes                 // the driver's
	yes      map[string]bool       // runs that a person has said yes to, or tried to
	deeds    []deed                // what persons did, as answered
	accepted map[string]bool       // deliveries that were answered with 2xx
	weather  weather               // of deliveries
	ends     []func()              // of troubles; the driver's
	seen     map[uint64]int        // deliveries by content, for the weather
	guard    guard                 // approvals and policies
}

// A death is how a server ends, and what follows.
type death struct {
	machine bool // the processes of runs die with it
	down    time.Duration
}

// A funeral is a server that died.
type funeral struct {
	life *life
	death
}

// A life is one server from its start to its end.
type life struct {
	w    *world
	st   *store.Store
	e    *engine.Engine
	web  *web.Server
	dead chan struct{}

	mu   sync.Mutex
	fuse int // contacts with the world outside that are left; 0 = no end is planned
}

var errDead = errors.New("this server is dead")

// step is one contact of the server with the world outside: a commit, a request, a process. The dead make none.
func (l *life) step() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDead() {
		return errDead
	}
	if l.fuse == 0 {
		return nil
	}
	if l.fuse--; l.fuse > 0 {
		return nil
	}
	close(l.dead)
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.life = nil
	l.w.tracef("server", "dies")
	l.w.deaths <- funeral{l, l.w.next}
	return errDead
}

func (l *life) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// newWorld makes GitLab and the first server, linked, with its stacks.
func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), began: time.Now(), dir: t.TempDir(), deaths: make(chan funeral, 1),
		names: map[string]string{}, ended: map[string]runs.State{}, moves: map[string]int{}, released: map[string]bool{}, yes: map[string]bool{}, accepted: map[string]bool{}, seen: map[uint64]int{},
	}
	w.machine = newMachine(w)
	g, err := sim.New(sim.Options{Dir: t.TempDir(), HookClient: &http.Client{Transport: post{w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.sim = g
	g.SetURL("http://gitlab.invalid")
	w.ada = g.AddUser("ada", "Ada Lind", false)
	w.bot = g.AddUser("groundcrew-bot", "Groundcrew", false)
	w.hers = g.AddToken(w.ada.ID, "hers", []string{"api"}, time.Time{})
	w.newToken()
	g.SetVisitor(w.ada.ID)
	w.addProject("platform/network", "net", "app")
	w.addProject("shop/web", "site")
	w.open()
	w.upkeep.Go(w.supervise)
	w.must("PUT", "/integration", map[string]any{"api_url": g.URL(), "token": w.token})
	w.setModes()
	w.letTalk()
	w.appoint()
	for _, p := range w.projects {
		for _, root := range p.roots {
			w.createStack(p, root)
		}
	}
	w.sleep(5 * time.Minute)
	return w
}

func (w *world) newToken() {
	w.token = w.sim.AddToken(w.bot.ID, "groundcrew", []string{"api"}, time.Now().AddDate(0, 11, 0))
}

// close ends the world, whatever state it is in.
func (w *world) close() {
	if l := w.alive(); l != nil {
		l.end()
	}
	close(w.deaths)
	w.upkeep.Wait()
	if l := w.alive(); l != nil { // it came up meanwhile
		l.end()
	}
	w.machine.stop()
	if err := w.sim.Close(); err != nil {
		w.t.Error(err)
	}
}

// open starts a server on the data folder.
func (w *world) open() {
	l := &life{w: w, dead: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(words{w}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	st, err := store.Open(store.Options{Dir: w.dir, NoSync: true, Allow: l.step, Log: log})
	if err != nil {
		w.breakf("the server does not start: %v", err)
		return
	}
	l.st = st
	st.Listen(l.committed)
	src, err := gitlab.NewSource(st.Path("sources"))
	if err != nil {
		w.breakf("the server does not start: %v", err)
		return
	}
	l.e, err = engine.New(engine.Options{
		Store: st, Source: src, Runner: runner{l}, Transport: wire{l}, Log: log, Workers: 2, ExternalURL: address, Version: "bottle",
		Notify: bell{l}, Court: policy.Simulated(l.court), RunTime: 70 * time.Minute, Silence: 15 * time.Minute, Jitter: func(below time.Duration) time.Duration { return below / 2 },
	})
	if err != nil {
		w.breakf("the server does not start: %v", err)
		return
	}
	l.web = web.New(web.Options{Store: st, Engine: l.e, Log: log, Version: "bottle", ExternalURL: address, BootstrapToken: bootstrap})
	w.mu.Lock()
	w.life = l
	w.tracef("server", "starts")
	w.mu.Unlock()
	l.e.Start()
}

// end closes a server, dead or not, as main does. What it still wants to write, when it is dead, is refused.
func (l *life) end() {
	l.web.Close()
	l.e.Close()
	if err := l.st.Close(); err != nil {
		l.w.breakf("the store does not close: %v", err)
	}
	l.w.mu.Lock()
	if l.w.life == l {
		l.w.life = nil
	}
	l.w.mu.Unlock()
}

// kill plans the death of the server after some more contacts with the world outside; 1 is the very next one.
func (w *world) kill(after int, how death) {
	w.mu.Lock()
	l := w.life
	w.next = how
	w.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	l.fuse = after
	l.mu.Unlock()
}

// supervise buries servers that died and starts the next, as systemd does.
func (w *world) supervise() {
	for d := range w.deaths {
		d.life.end()
		if d.machine {
			w.machine.die()
		}
		time.Sleep(d.down)
		w.open()
	}
}

// restart ends the server in good order and starts the next.
func (w *world) restart(down time.Duration) {
	l := w.alive()
	if l == nil {
		return
	}
	w.mu.Lock()
	w.life = nil // requests find nobody
	w.tracef("server", "is stopped")
	w.mu.Unlock()
	l.mu.Lock()
	l.fuse = 0
	l.mu.Unlock()
	if l.isDead() {
		return // it died on its own just now; the supervisor has it
	}
	l.end()
	time.Sleep(down)
	w.open()
}

func (w *world) alive() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.life
}

// view reads the store of the server that runs; false when none does.
func (w *world) view(f func(tx *store.Tx) error) bool {
	l := w.alive()
	if l == nil {
		return false
	}
	if err := l.st.View(f); err != nil && !l.isDead() {
		w.breakf("the store cannot be read: %v", err)
		return false
	}
	return true
}

// api is a person's request; status 0 is no answer.
func (w *world) api(method, path string, body any) (status int, out map[string]any) {
	return w.apiAs(bootstrap, method, path, body)
}

// apiAs is api with the key of somebody else.
func (w *world) apiAs(key, method, path string, body any) (status int, out map[string]any) {
	var raw bytes.Buffer
	if body != nil {
		_ = json.NewEncoder(&raw).Encode(body) // maps of texts and numbers
	}
	r := httptest.NewRequest(method, address+"/api/v1"+path, &raw)
	r.Header.Set("Authorization", "Bearer "+key)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.call(r)
	if err != nil {
		return 0, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		w.breakf("%s %s answers what is no JSON: %v", method, path, err)
	}
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusBadGateway && w.alive() != nil {
		w.breakf("%s %s answers %d: %v", method, path, resp.StatusCode, out)
	}
	return resp.StatusCode, out
}

func (w *world) must(method, path string, body any) map[string]any {
	status, out := w.api(method, path, body)
	if status/100 != 2 {
		w.breakf("%s %s answers %d: %v", method, path, status, out)
	}
	return out
}

// sleep lets time pass, and whatever is due happen.
func (w *world) sleep(d time.Duration) { time.Sleep(d) }

func (w *world) trace(who, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tracef(who, format, args...)
}

// tracef is trace for who holds mu.
func (w *world) tracef(who, format string, args ...any) {
	w.tracked = append(w.tracked, fmt.Sprintf("%12s  %-8s %s", time.Since(w.began).Round(time.Millisecond), who, fmt.Sprintf(format, args...)))
}

// breakf records an invariant that does not hold.
func (w *world) breakf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	w.broken = append(w.broken, text)
	w.tracef("BROKEN", "%s", text)
}

func (w *world) isBroken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.broken) > 0
}

// words keep the last of what servers log, for a trace that is read.
type words struct{ w *world }

func (l words) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	_, text, _ := strings.Cut(strings.TrimSpace(string(p)), "level=")
	l.w.tail = append(l.w.tail, fmt.Sprintf("%12s  %s", time.Since(l.w.began).Round(time.Millisecond), text))
	l.w.tail = l.w.tail[max(0, len(l.w.tail)-60):]
	return len(p), nil
}

// name is what the trace calls a run: its stack and its place among the stack's runs. Ids differ from time to time.
func (w *world) name(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.names[id]; n != "" {
		return n
	}
	return "a run"
}

// plain takes what differs from time to time out of a text.
func (w *world) plain(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.names {
		if len(id) != 26 {
			continue
		}
		text = strings.ReplaceAll(text, id, n)
	}
	return text
}
