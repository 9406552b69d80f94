package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"groundcrew/runs"
)

func (sh *shell) runsCommand() *cobra.Command {
	var stack string
	var states, types []string
	var limit int
	c := &cobra.Command{
		Use: "runs [RUN]", Short: "List runs, newest first, or show one (by id, or by stack its newest)", Args: cobra.MaximumNArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				if len(args) == 1 {
					raw, r, err := c.findRun(cmd.Context(), args[0])
					if err != nil {
						return err
					}
					return sh.show(raw, func() error { return sh.showRun(r) })
				}
				query := url.Values{"state": states, "type": types}
				if stack != "" {
					query.Set("stack", stack)
				}
				items, err := c.list(cmd.Context(), "/runs", query, limit)
				if err != nil {
					return err
				}
				return sh.showRuns(items)
			})
		},
	}
	c.Flags().StringVar(&stack, "stack", "", "only of this stack")
	c.Flags().StringSliceVar(&states, "state", nil, "only in these states, like unconfirmed,failed")
	c.Flags().StringSliceVar(&types, "type", nil, "only of these types, like tracked")
	c.Flags().IntVar(&limit, "limit", 20, "how many at most")
	return c
}

func (sh *shell) showRuns(items []json.RawMessage) error {
	raw, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return sh.show(raw, func() error {
		var list []remoteRun
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		var rows [][]string
		for _, r := range list {
			delta := ""
			if r.Delta != nil {
				delta = r.Delta.String()
			}
			rows = append(rows, []string{r.ID, mark(r.State) + " " + string(r.State), r.Stack, string(r.Type), r.Branch + " " + short(r.Commit), delta, r.Title})
		}
		return sh.table([]string{"RUN", "STATE", "STACK", "TYPE", "COMMIT", "CHANGES", "TITLE"}, rows)
	})
}

// showRun prints one run for a person.
func (sh *shell) showRun(r remoteRun) error {
	lines := []string{
		fmt.Sprintf("%s  %s", r.Stack, plain(r.Title)),
		fmt.Sprintf("%s %s  %s", mark(r.State), r.State, plain(r.Reason)),
		fmt.Sprintf("%s · %s %s · by %s · %s", r.Type, plain(r.Branch), short(r.Commit), plain(r.TriggeredBy), r.CreatedAt.Local().Format("2006-01-02 15:04:05 MST")),
	}
	if r.Delta != nil {
		lines = append(lines, r.Delta.String())
	}
	if r.Approvals != nil {
		lines = append(lines, plain(r.Approvals.Text))
	}
	for _, w := range r.Warnings {
		lines = append(lines, "▲ "+plain(w))
	}
	_, err := fmt.Fprintln(sh.out, strings.Join(append(lines, r.URL), "\n"))
	return err
}

// A runFlags is what every command takes that can follow a run.
type runFlags struct {
	follow bool
}

func (f *runFlags) add(c *cobra.Command) {
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "show states and logs until the run has ended or waits for a yes; the exit code says which")
}

// after shows a run that was just made or moved, and follows it when asked to.
func (f *runFlags) after(cmd *cobra.Command, sh *shell, c *client, raw json.RawMessage) error {
	var r remoteRun
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if f.follow {
		return sh.follow(cmd, c, r.ID, "")
	}
	return sh.show(raw, func() error { return sh.showRun(r) })
}

func (sh *shell) follow(cmd *cobra.Command, c *client, id string, phase runs.State) error {
	return c.follow(cmd.Context(), &follower{
		run: id, phase: phase, out: &plainWriter{to: sh.out, colours: tty(sh.out)}, notes: sh.err, json: sh.json,
	})
}

func (sh *shell) triggerCommand() *cobra.Command {
	var f runFlags
	in := map[string]string{}
	var typ, commit, command string
	c := &cobra.Command{
		Use: "trigger STACK", Short: "Ask for a run", Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			in["type"], in["commit"], in["command"] = typ, commit, command
			return sh.ask(func(c *client) error {
				var raw json.RawMessage
				if err := c.call(cmd.Context(), http.MethodPost, "/stacks/"+url.PathEscape(args[0])+"/runs", in, &raw); err != nil {
					return err
				}
				return f.after(cmd, sh, c, raw)
			})
		},
	}
	c.Flags().StringVar(&typ, "type", string(runs.Tracked), "tracked, proposed, task or destroy")
	c.Flags().StringVar(&commit, "commit", "", "commit to run (default: the tracked commit, else the branch's head)")
	c.Flags().StringVar(&command, "command", "", "shell command of a task")
	f.add(c)
	return c
}

func (sh *shell) confirmCommand() *cobra.Command {
	var f runFlags
	var yes bool
	c := &cobra.Command{
		Use: "confirm RUN", Short: "Apply a plan, after showing it (RUN: an id, or a stack for its run that waits)", Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				raw, r, err := c.findRun(cmd.Context(), args[0], runs.Unconfirmed)
				if err != nil {
					return err
				}
				if r.State == runs.Unconfirmed && !yes {
					if err := sh.sure(r); err != nil {
						return err
					}
				}
				body := map[string]string{"fingerprint": r.Fingerprint}
				if err := c.call(cmd.Context(), http.MethodPost, "/runs/"+r.ID+"/confirm", body, &raw); err != nil {
					return err
				}
				return f.after(cmd, sh, c, raw)
			})
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask; needed where there is no terminal")
	f.add(c)
	return c
}

// sure asks the person at the terminal. Only the word yes is one.
func (sh *shell) sure(r remoteRun) error {
	if !tty(sh.in) {
		return usageError{exitUsage, "nobody is there to be asked: say --yes to apply without a question"}
	}
	if err := sh.showRun(r); err != nil {
		return err
	}
	fmt.Fprint(sh.err, "Apply this? Only yes is a yes: ")
	line, err := bufio.NewReader(sh.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return exitError{exitFailed, "nothing was applied"}
	}
	return nil
}

// What an act on a run sends: a note, or a note on the very plan that was found.
func justNote(_ remoteRun, note string) map[string]string { return map[string]string{"note": note} }

func ofThePlan(r remoteRun, note string) map[string]string {
	return map[string]string{"note": note, "fingerprint": r.Fingerprint}
}

// runAct is a command that does something to a run.
func (sh *shell) runAct(verb, about string, body func(r remoteRun, note string) map[string]string, states ...runs.State) *cobra.Command {
	var text string
	c := &cobra.Command{
		Use: verb + " RUN", Short: about, Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				raw, r, err := c.findRun(cmd.Context(), args[0], states...)
				if err != nil {
					return err
				}
				if err := c.call(cmd.Context(), http.MethodPost, "/runs/"+r.ID+"/"+verb, body(r, text), &raw); err != nil {
					return err
				}
				return (&runFlags{}).after(cmd, sh, c, raw)
			})
		},
	}
	c.Flags().StringVar(&text, "note", "", "why")
	return c
}

// newRun is a command that makes a run of another.
func (sh *shell) newRun(verb, about string) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: verb + " RUN", Short: about, Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				raw, r, err := c.findRun(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if err := c.call(cmd.Context(), http.MethodPost, "/runs/"+r.ID+"/"+verb, nil, &raw); err != nil {
					return err
				}
				return f.after(cmd, sh, c, raw)
			})
		},
	}
	f.add(c)
	return c
}

func (sh *shell) logsCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "logs RUN [PHASE]", Short: "Print the logs of a run", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			phases, phase := logPhases, runs.State("")
			if len(args) == 2 {
				if err := knownPhase(args[1]); err != nil {
					return err
				}
				phase = runs.State(args[1])
				phases = []runs.State{phase}
			}
			return sh.ask(func(c *client) error {
				_, r, err := c.findRun(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if f.follow {
					return sh.follow(cmd, c, r.ID, phase)
				}
				out := &plainWriter{to: sh.out, colours: tty(sh.out)}
				return errors.Join(c.logs(cmd.Context(), r.ID, phases, out), out.reset())
			})
		},
	}
	f.add(c)
	return c
}

func (sh *shell) changesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "changes RUN", Short: "Print what a plan would change", Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				_, r, err := c.findRun(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				var raw json.RawMessage
				if err := c.call(cmd.Context(), http.MethodGet, "/runs/"+r.ID+"/changes", nil, &raw); err != nil {
					return err
				}
				return sh.show(raw, func() error {
					var changes runs.Changes
					if err := json.Unmarshal(raw, &changes); err != nil {
						return err
					}
					printChanges(sh.out, changes)
					return nil
				})
			})
		},
	}
}
