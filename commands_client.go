package main

import (
	"bytes"
	"encoding/json"
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
		sh.runAct("approve", "Approve what a run would do, where the stack asks for approvals", ofThePlan, runs.Unconfirmed, runs.Queued),
		sh.runAct("reject", "Reject what a run would do, until you approve it", ofThePlan, runs.Unconfirmed, runs.Queued),
		sh.runAct("discard", "No to a plan, or to a run that waits", justNote, runs.Unconfirmed, runs.Queued),
		sh.runAct("stop", "End a run at work", justNote), sh.newRun("retry", "The same run again"),
		sh.newRun("promote", "Make a tracked run of a finished proposed one"),
		sh.logsCommand(), sh.changesCommand(), sh.contextsCommand(), sh.environmentCommand(), sh.policiesCommand(), sh.apiCommand(),
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
