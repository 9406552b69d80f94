package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// echoWait is how long a test waits for GitLab and for the delivery: GitLab's own time-out for a webhook is 10 s.
const echoWait = 15 * time.Second

// An echo is a test delivery that is awaited. Such a delivery starts nothing: a test must never plan or apply.
type echo struct {
	heard chan store.Delivery
	came  bool // what comes after it is no test
}

// TestHook makes GitLab send a test delivery through the project's hook and waits until it is here. The error says what
// did not come and where in GitLab to look; it is remembered with the hook either way.
func (e *Engine) TestHook(ctx context.Context, project int64) (string, error) {
	c, err := e.linkedClient()
	if err != nil {
		return "", err
	}
	all, err := c.Hooks(ctx, project)
	if err != nil {
		return "", hookError(err)
	}
	row := store.Hook{}
	err = e.st.View(func(tx *store.Tx) (err error) {
		row, err = tx.Hook(project)
		return err
	})
	if err != nil {
		return "", err
	}
	ours := e.ours(all, row.ID)
	if len(ours) == 0 {
		return "", runs.Conflictf("The project has no hook to test. Install it first.")
	}
	heard, err := e.listenFor(project)
	if err != nil {
		return "", err
	}
	defer e.unlisten(project)
	ctx, cancel := context.WithTimeout(ctx, echoWait)
	defer cancel()
	began := e.now()
	fireErr := c.TestHook(ctx, project, ours[0].ID, "push_events")
	text, testErr := e.hear(ctx, heard, began, fireErr)
	if err := e.tested(project, text, testErr); err != nil {
		return "", err
	}
	if testErr == nil {
		if _, err := e.lookAtHook(ctx, c, project); err != nil { // a test that arrives may have switched it on again
			return "", err
		}
	}
	e.look(project) // a real push that came along with the test is found there
	return text, testErr
}

func (e *Engine) listenFor(project int64) (<-chan store.Delivery, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, busy := e.echoes[project]; busy {
		return nil, runs.Conflictf("The hook of this project is being tested already. Wait for that test.")
	}
	ch := make(chan store.Delivery, 1)
	e.echoes[project] = &echo{heard: ch}
	return ch, nil
}

func (e *Engine) unlisten(project int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.echoes, project)
}

// Echo reports whether a delivery that just came is the one a test waits for: GitLab tests with the last push of the
// default branch. It is true once for a test. When a real push of that branch comes at the same moment, one of the two
// counts as the test and the other as the push, and both name the same head.
func (e *Engine) Echo(h http.Header, body []byte) (project int64, ok bool) {
	e.mu.Lock()
	waiting := len(e.echoes)
	e.mu.Unlock()
	if waiting == 0 {
		return 0, false
	}
	hook, err := gitlab.ReadHook(h, body)
	if err != nil || hook.Kind != gitlab.HookPush || hook.Push.Branch != hook.DefaultBranch {
		return 0, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w, ok := e.echoes[hook.ProjectID]
	if !ok || w.came {
		return 0, false
	}
	w.came = true
	return hook.ProjectID, true
}

// Heard tells the test that waits for it that a delivery came and is on disk, or was refused.
func (e *Engine) Heard(d store.Delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w, ok := e.echoes[d.ProjectID]; ok {
		select {
		case w.heard <- d:
		default: // one is enough
		}
	}
}

// hear waits for the echo. GitLab answers a test only when the receiver has.
func (e *Engine) hear(ctx context.Context, heard <-chan store.Delivery, began time.Time, fireErr error) (string, error) {
	if fireErr != nil {
		select {
		case d := <-heard:
			return "", e.echoRefused(d, fireErr)
		case <-time.After(100 * time.Millisecond): // a refused delivery is recorded before it is answered
			return "", e.noEcho(fireErr)
		}
	}
	select {
	case d := <-heard:
		if d.State == store.DeliveryRefused {
			return "", e.echoRefused(d, nil)
		}
		return fmt.Sprintf("GitLab delivered a test, and it arrived after %d ms. Nothing was started by it.", d.ReceivedAt.Sub(began).Milliseconds()), nil
	case <-ctx.Done():
		return "", runs.Conflictf("GitLab says that its test was delivered and answered, but nothing arrived here within %d seconds. Something else answers at %s: look where that address leads, and whether a proxy in between answers by itself.",
			int(echoWait.Seconds()), e.WebhookURL())
	}
}

func (e *Engine) echoRefused(d store.Delivery, fireErr error) error {
	if d.State != store.DeliveryRefused {
		return runs.Conflictf("The test arrived here, but GitLab did not get the answer in time (%s). Look at the proxy between GitLab and this server, and at its time-outs.", sentence(fireErr.Error()))
	}
	return runs.Conflictf("The test arrived here and was %s. Repair the hook: it gets the right secret.", d.Verdict)
}

// noEcho says where to look in GitLab when a test did not even arrive. The words are Ruby's and OpenSSL's.
func (e *Engine) noEcho(err error) error {
	var own *gitlab.Error
	if !errors.As(err, &own) {
		return err
	}
	said, low := sentence(own.Message), strings.ToLower(own.Message)
	host := e.WebhookURL()
	if u, err := url.Parse(host); err == nil {
		host = u.Host
	}
	switch kind := gitlab.KindOf(err); {
	case kind == "rate_limited":
		return runs.Conflictf("GitLab tests a hook five times a minute at most. Wait a minute and test again.")
	case kind == "network" && errors.Is(err, context.DeadlineExceeded):
		return runs.Conflictf("GitLab did not answer the test within %d seconds: it cannot reach %s and waits for it. A GitLab admin looks at the firewall between the two and at the proxy (http_proxy, no_proxy in gitlab.rb).", int(echoWait.Seconds()), host)
	case kind != "invalid":
		return hookError(err)
	case has(low, "ensure", "at least one commit", "has data"):
		return runs.Conflictf("GitLab has nothing to send: %s Push a first commit, then test again.", said)
	case has(low, "local network", "localhost", "loopback", "blocked", "not allowed", "url is blocked", "private"):
		return runs.Conflictf("GitLab does not allow itself to call %s: %s A GitLab admin allows it under Admin area › Settings › Network › Outbound requests: tick “Allow requests to the local network from webhooks and integrations”, or add %s to the list below it.", host, said, host)
	case has(low, "certificate", "ssl", "tls", "x509"):
		return runs.Conflictf("GitLab does not trust the certificate of %s: %s A GitLab admin puts the CA that signed it into /etc/gitlab/trusted-certs on the GitLab server and runs gitlab-ctl reconfigure.", host, said)
	case has(low, "timeout", "timed out", "deadline", "execution expired"):
		return runs.Conflictf("GitLab got no answer from %s in time: %s Look at the firewall between the two, and at the proxy (http_proxy, no_proxy in gitlab.rb).", host, said)
	case has(low, "refused", "unreachable", "no such host", "getaddrinfo", "resolve", "eof", "reset"):
		return runs.Conflictf("GitLab cannot connect to %s: %s Look whether that name and port are right as seen from the GitLab server (start this server with --external-url), at the firewall, and at the proxy (http_proxy, no_proxy in gitlab.rb).", host, said)
	default:
		return runs.Conflictf("GitLab could not deliver the test: %s Look at Admin area › Settings › Network › Outbound requests, the certificate of %s, and the proxy between them.", said, host)
	}
}

func has(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// tested remembers what came of a test.
func (e *Engine) tested(project int64, text string, testErr error) error {
	if testErr != nil {
		text = message(testErr)
	}
	return e.st.Update(func(tx *store.Tx) error {
		row, err := tx.Hook(project)
		if err != nil {
			return err
		}
		row.TestedAt, row.TestOK, row.TestText = tx.Now(), testErr == nil, text
		return tx.PutHook(row)
	})
}

// A Tested is what came of the test of one project's hook.
type Tested struct {
	Project Project
	Text    string
	Err     error // nil: it arrived
}

// TestHooks tests the hooks of all used projects, one after the other.
func (e *Engine) TestHooks(ctx context.Context) ([]Tested, error) {
	list, err := e.usedProjects()
	if err != nil {
		return nil, err
	}
	var out []Tested
	for _, p := range list {
		text, err := e.TestHook(ctx, p.ID)
		out = append(out, Tested{p, text, err})
	}
	return out, nil
}
