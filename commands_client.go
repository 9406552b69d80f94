package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"groundcrew/runs"
)

// clientCommands ask a server over its API.
func (sh *shell) clientCommands() []*cobra.Command {
	list := []*cobra.Command{
		sh.loginCommand(), sh.stacksCommand(), sh.stackAct("lock", "Stop applies of a stack, not plans", true),
		sh.stackAct("unlock", "End a lock", false), sh.stackAct("sync", "Set the tracked commit to the branch's head", false),
		sh.runsCommand(), sh.triggerCommand(), sh.confirmCommand(),
		sh.runAct("discard", "No to a plan, or to a run that waits", runs.Unconfirmed, runs.Queued),
		sh.runAct("stop", "End a run at work"), sh.newRun("retry", "The same run again"),
		sh.newRun("promote", "Make a tracked run of a finished proposed one"),
		sh.logsCommand(), sh.changesCommand(), sh.contextsCommand(), sh.environmentCommand(), sh.apiCommand(),
	}
	for _, c := range list {
		c.GroupID = groupClient
		c.Flags().BoolVar(&sh.json, "json", false, "print what the API answers")
	}
	return list
}

// ask makes a command's client and lets it work.
func (sh *shell) ask(do func(c *client) error) error {
	c, err := newClient(sh.getenv)
	if err != nil {
		return err
	}
	return do(c)
}

// show prints an answer of the API: as it is, or as a person reads it.
func (sh *shell) show(raw json.RawMessage, text func() error) error {
	if !sh.json {
		return text()
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(sh.out, out.String())
	return err
}

// table prints rows under a head.
func (sh *shell) table(head []string, rows [][]string) error {
	w := tabwriter.NewWriter(sh.out, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		for i := range row {
			row[i] = plain(row[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return w.Flush()
}

func (sh *shell) loginCommand() *cobra.Command {
	var ca string
	c := &cobra.Command{
		Use: "login URL", Short: "Remember a server and an API key (read from the terminal or standard input) for this user", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := sh.readKey()
			if err != nil {
				return err
			}
			l := login{URL: args[0], Token: key, CA: ca}
			c, err := l.client()
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodGet, "/stacks?limit=1", nil, nil); err != nil {
				return err
			}
			path, err := loginFile(sh.getenv)
			if err != nil {
				return err
			}
			if err := l.write(path); err != nil {
				return err
			}
			_, err = fmt.Fprintf(sh.err, "The key is valid, and kept in %s.\n", path)
			return err
		},
	}
	c.Flags().StringVar(&ca, "ca-file", "", "PEM file with the CA certificate of the server")
	return c
}

// readKey reads an API key without showing it.
func (sh *shell) readKey() (string, error) {
	var raw []byte
	var err error
	if tty(sh.in) {
		fmt.Fprint(sh.err, "API key: ")
		raw, err = term.ReadPassword(int(sh.in.(*os.File).Fd()))
		fmt.Fprintln(sh.err)
	} else {
		raw, err = io.ReadAll(io.LimitReader(sh.in, 4096))
	}
	key := strings.TrimSpace(string(raw))
	if err == nil && key == "" {
		err = usageError{exitUsage, "no API key was given. Type it, or pipe it in. Keys are made under Settings › API keys."}
	}
	return key, err
}

// A remoteStack is what the commands use of a stack of the API.
type remoteStack struct {
	Slug    string   `json:"slug"`
	Project string   `json:"project"`
	Branch  string   `json:"branch"`
	Root    string   `json:"project_root"`
	Status  string   `json:"status"`
	Labels  []string `json:"labels"`
	Tracked *string  `json:"tracked_commit"`
	Locked  string   `json:"locked_by"`
	Flag    string   `json:"flag"`
}

func (sh *shell) stacksCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stacks [STACK]", Short: "List stacks, or show one", Args: cobra.MaximumNArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				if len(args) == 0 {
					raw, err := c.list(cmd.Context(), "/stacks", url.Values{}, everything)
					if err != nil {
						return err
					}
					return sh.showStacks(raw)
				}
				var raw json.RawMessage
				if err := c.call(cmd.Context(), http.MethodGet, "/stacks/"+url.PathEscape(args[0]), nil, &raw); err != nil {
					return err
				}
				if sh.json {
					return sh.show(raw, nil)
				}
				return sh.showStacks([]json.RawMessage{raw})
			})
		},
	}
}

// everything is the bound of lists that are read whole.
const everything = 1 << 30

func (sh *shell) showStacks(items []json.RawMessage) error {
	raw, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return sh.show(raw, func() error {
		var stacks []remoteStack
		if err := json.Unmarshal(raw, &stacks); err != nil {
			return err
		}
		var rows [][]string
		for _, s := range stacks {
			state := mark(runs.State(s.Status)) + " " + s.Status
			if s.Status == "none" {
				state = "  never ran"
			}
			var notes []string
			if s.Locked != "" {
				notes = append(notes, "locked by "+s.Locked)
			}
			if s.Flag != "" {
				notes = append(notes, s.Flag)
			}
			commit := ""
			if s.Tracked != nil {
				commit = short(*s.Tracked)
			}
			rows = append(rows, []string{s.Slug, state, s.Project + " " + s.Root, s.Branch + " " + commit, strings.Join(s.Labels, ","), strings.Join(notes, "; ")})
		}
		return sh.table([]string{"STACK", "LATEST", "PROJECT", "BRANCH", "LABELS", "NOTES"}, rows)
	})
}

// short is a commit as pages show it.
func short(sha string) string { return sha[:min(8, len(sha))] }

func (sh *shell) stackAct(verb, about string, note bool) *cobra.Command {
	var text string
	c := &cobra.Command{
		Use: verb + " STACK", Short: about, Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				var body any
				if note {
					body = map[string]string{"note": text}
				}
				var raw json.RawMessage
				if err := c.call(cmd.Context(), http.MethodPost, "/stacks/"+url.PathEscape(args[0])+"/"+verb, body, &raw); err != nil {
					return err
				}
				if sh.json {
					return sh.show(raw, nil)
				}
				return sh.showStacks([]json.RawMessage{raw})
			})
		},
	}
	if note {
		c.Flags().StringVar(&text, "note", "", "why")
	}
	return c
}

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

// runAct is a command that does something to a run.
func (sh *shell) runAct(verb, about string, states ...runs.State) *cobra.Command {
	var text string
	c := &cobra.Command{
		Use: verb + " RUN", Short: about, Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				raw, r, err := c.findRun(cmd.Context(), args[0], states...)
				if err != nil {
					return err
				}
				if err := c.call(cmd.Context(), http.MethodPost, "/runs/"+r.ID+"/"+verb, map[string]string{"note": text}, &raw); err != nil {
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

// apiCommand reaches what has no command of its own.
func (sh *shell) apiCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "api METHOD PATH", Short: "Call any address of the API, like: api GET /deliveries", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path := strings.ToUpper(args[0]), "/"+strings.TrimLeft(strings.TrimPrefix(args[1], "/api/v1"), "/")
			if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
				return usageError{exitUsage, fmt.Sprintf("%q is no method of the API: GET, POST, PUT, PATCH, DELETE", args[0])}
			}
			var body any
			switch {
			case data == "-":
				raw, err := io.ReadAll(sh.in)
				if err != nil {
					return err
				}
				body = raw
			case data != "":
				body = []byte(data)
			}
			return sh.ask(func(c *client) error {
				req, err := c.request(cmd.Context(), method, path, body)
				if err != nil {
					return err
				}
				resp, err := c.send(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				_, err = io.Copy(sh.out, resp.Body)
				return err
			})
		},
	}
	c.Flags().StringVarP(&data, "data", "d", "", "JSON body; - reads it from standard input")
	return c
}

// completeStacks offers the stacks of the server to the shell.
func (sh *shell) completeStacks(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := newClient(sh.getenv)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	items, err := c.list(cmd.Context(), "/stacks", url.Values{}, everything)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []string
	for _, raw := range items {
		var s remoteStack
		if json.Unmarshal(raw, &s) == nil && strings.HasPrefix(s.Slug, begun) {
			found = append(found, cobra.CompletionWithDesc(s.Slug, s.Project))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
