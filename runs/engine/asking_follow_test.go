package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/policy"
	"groundcrew/store"
)

// network makes stacks of which net is to be followed by others, and lets runs of it finish.
func (w *world) network() (finish func() runs.Run) {
	w.t.Helper()
	head := runs.Commit{SHA: w.sim.Head(w.project.ID, "main")}
	for _, name := range []string{"net", "app", "dns"} {
		st := w.stack(name)
		st.TrackedCommit = head
		w.update(func(tx *store.Tx) error { return tx.PutStack(st) })
	}
	return func() runs.Run {
		w.t.Helper()
		r := w.request(runs.Run{Stack: "net", Type: runs.Tracked, Branch: "main", Commit: head, Author: ann})
		r = w.apply(r.ID, append(planned(runs.Delta{Add: 1}, true), runs.Done{})...)
		time.Sleep(time.Minute)
		return r
	}
}

func (w *world) rewrite(p runs.Policy, body string) {
	w.t.Helper()
	_, err := w.e.EditPolicy(w.t.Context(), p.Slug, "ann", func(p *runs.Policy) { p.Body = "package groundcrew\n" + body })
	w.do(err)
	time.Sleep(time.Minute)
}

// triggered counts a stack's runs that a policy asked for.
func (w *world) triggered(slug string) (n int) {
	w.t.Helper()
	for _, r := range w.runsOf(runs.Tracked) {
		if r.Stack == slug && r.Trigger == runs.ByPolicy {
			n++
		}
	}
	return n
}

// policyNotice is what the inbox says of a policy, "" for nothing.
func (w *world) policyNotice(slug string) string {
	w.t.Helper()
	text := ""
	w.do(w.st.View(func(tx *store.Tx) error {
		list, err := policyNotices(tx, following{})
		for _, n := range list {
			if n.Key == "policy/"+slug {
				text = n.Text + ": " + n.Cause + " " + n.Mend
			}
		}
		return err
	}))
	return text
}

// A trigger policy that could not be asked is asked again of the same run when its text is mended: once for each text, and never does
// a stack run twice after one run.
func TestAMendedTriggerPolicyIsAskedAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		finish := w.network()
		w.policy("Right", runs.PolicyTrigger, `trigger contains "app"`, "net")
		broken := w.policy("Wrong", runs.PolicyTrigger, `trigger contains "dns" if 1 / (input.delta.add - 1) == 7`, "net")
		w.policies()
		finish()
		says(t, w.policyNotice(broken.Slug), "“Wrong” could not be asked", "divide by zero", "asked again of the 1 run it could not")
		app, dns := w.triggered("app"), w.triggered("dns")
		if app != 1 || dns != 0 {
			t.Fatalf("app %d times, dns %d times", app, dns)
		}
		w.apply(w.newest("app").ID, append(planned(runs.Delta{}, false)[:3], runs.Planned{Fingerprint: "f"})...)
		w.rewrite(broken, `trigger contains "dns" if 2 / (input.delta.add - 1) == 7`) // as wrong as before
		if n := w.triggered("dns"); n != 0 {
			t.Errorf("dns %d times", n)
		}
		says(t, w.policyNotice(broken.Slug), "divide by zero", "asked again of the 1 run it could not")
		w.rewrite(broken, `trigger contains slug if { input.delta.add == 1; some slug in ["app", "dns"] }`)
		if app, dns := w.triggered("app"), w.triggered("dns"); app != 1 || dns != 1 {
			t.Errorf("app %d times, dns %d times after the mending", app, dns)
		}
		if said := w.policyNotice(broken.Slug); said != "" {
			t.Errorf("the inbox still says %s", said)
		}
		w.apply(w.newest("dns").ID, append(planned(runs.Delta{}, false)[:3], runs.Planned{Fingerprint: "f"})...)
		w.rewrite(broken, `trigger contains "dns"`)
		if n := w.triggered("dns"); n != 1 {
			t.Errorf("dns %d times: it was answered before", n)
		}
	})
}

// A trigger policy that failed for want of time or machine is asked again with the same text, a few times, and never does a stack run
// twice after one run.
func TestATriggerPolicyThatBrokeDownIsAskedAgain(t *testing.T) {
	for name, c := range map[string]struct{ failures, asked, dns int }{
		"once":    {1, 2, 1},
		"often":   {maxAgain, maxAgain + 1, 1},
		"forever": {1000, maxAgain + 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				finish := w.network()
				p := w.policy("Next", runs.PolicyTrigger, `trigger contains slug if some slug in ["app", "dns"]`, "net")
				w.policy("Right", runs.PolicyTrigger, `trigger contains "app"`, "net")
				asked := 0
				w.e.o.Court = policy.Simulated(func(_ context.Context, question io.Reader, reply io.Writer) error {
					raw, err := io.ReadAll(question)
					if err == nil && strings.Contains(string(raw), `"slug":"next"`) {
						if asked++; asked <= c.failures {
							err = errors.New("signal: killed")
						}
					}
					if err != nil {
						return err
					}
					return policy.Respond(bytes.NewReader(raw), reply)
				})
				w.policies()
				r := finish()
				if app, dns := w.triggered("app"), w.triggered("dns"); app != 1 || dns != 0 || asked != 1 {
					t.Fatalf("app %d times, dns %d times, asked %d times", app, dns, asked)
				}
				says(t, w.policyNotice(p.Slug), "signal: killed", "up to 3 times more, 5 minutes apart")
				time.Sleep(mendWithin / 2)
				if app, dns := w.triggered("app"), w.triggered("dns"); app != 1 || dns != c.dns || asked != c.asked {
					t.Errorf("app %d times, dns %d times, asked %d times", app, dns, asked)
				}
				if said := w.policyNotice(p.Slug); (said == "") != (c.dns == 1) {
					t.Errorf("the inbox says %q", said)
				}
				time.Sleep(mendWithin)
				if w.audited("policy.trigger_refused", p.Slug, "After run "+r.ID+" it could not be asked which stacks run next, nor when it was asked again") != (c.dns == 0) {
					t.Error("the audit log")
				}
			})
		})
	}
}

// An answer about another run does not hide that one is still missing.
func TestAMissingAnswerStaysInTheInbox(t *testing.T) {
	inBubble(t, func(w *world) {
		finish := w.network()
		p := w.policy("Wrong", runs.PolicyTrigger, `trigger contains "dns" if 1 / (input.delta.add - 1) == 7`, "net")
		w.policies()
		finish()
		w.update(func(tx *store.Tx) error { // as an answer about another run of the stack would leave it
			p, err := tx.Policy(p.Slug)
			if err != nil {
				return err
			}
			p.LastError = ""
			return tx.PutPolicy(p)
		})
		list := []store.Follow{}
		w.do(w.st.View(func(tx *store.Tx) (err error) { list, err = tx.Follows(); return err }))
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		says(t, w.policyNotice(p.Slug), "could not be asked", list[0].Failed[0].Error)
	})
}

// Nobody is surprised by what follows a run of the day before yesterday; that it does not is in the audit log.
func TestATriggerPolicyMendedTooLate(t *testing.T) {
	inBubble(t, func(w *world) {
		finish := w.network()
		p := w.policy("Wrong", runs.PolicyTrigger, `trigger contains "dns" if 1 / (input.delta.add - 1) == 7`, "net")
		w.policies()
		r := finish()
		time.Sleep(mendWithin)
		w.rewrite(p, `trigger contains "dns"`)
		if n := w.triggered("dns"); n != 0 {
			t.Errorf("dns %d times", n)
		}
		if !w.audited("policy.trigger_refused", p.Slug, "After run "+r.ID+" it could not be asked") {
			t.Error("the audit log does not say so")
		}
		w.do(w.st.View(func(tx *store.Tx) error {
			list, err := tx.Follows()
			if len(list) != 0 {
				t.Errorf("still to be asked: %+v", list)
			}
			return err
		}))
		if said := w.policyNotice(p.Slug); strings.Contains(said, "asked again") {
			t.Errorf("the inbox says %s", said)
		}
	})
}

// However many runs ended, all of them are followed, a few at a time, and what waits for an approval policy does not wait for all of them.
func TestManyRunsAreFollowed(t *testing.T) {
	inBubble(t, func(w *world) {
		finish := w.network()
		w.policy("Quiet", runs.PolicyTrigger, `trigger contains "dns" if input.delta.add > 1`, "net")
		for range 3 * lanes {
			finish()
		}
		if more, err := w.e.askWhatFollows(w.t.Context()); !more || err != nil {
			t.Errorf("more %v, %v", more, err)
		}
		w.policies()
		time.Sleep(time.Minute)
		w.do(w.st.View(func(tx *store.Tx) error {
			list, err := tx.Follows()
			if len(list) != 0 {
				t.Errorf("%d runs are not followed", len(list))
			}
			return err
		}))
	})
}
