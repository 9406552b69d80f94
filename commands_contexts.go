package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// A remoteContext is what the commands use of a context of the API.
type remoteContext struct {
	Slug        string   `json:"slug"`
	Description string   `json:"description"`
	Labels      []string `json:"labels"`
	Stacks      int      `json:"stacks"`
}

func (sh *shell) contextsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "contexts", Short: "List contexts: sets of variables and files that stacks share", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.ask(func(c *client) error {
				items, err := c.list(cmd.Context(), "/contexts", url.Values{}, everything)
				if err != nil {
					return err
				}
				raw, err := json.Marshal(items)
				if err != nil {
					return err
				}
				return sh.show(raw, func() error { return sh.showContexts(raw) })
			})
		},
	}
}

func (sh *shell) showContexts(raw json.RawMessage) error {
	var list []remoteContext
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	var rows [][]string
	for _, c := range list {
		rows = append(rows, []string{c.Slug, fmt.Sprint(c.Stacks), strings.Join(c.Labels, ","), firstLine(c.Description)})
	}
	return sh.table([]string{"CONTEXT", "STACKS", "LABELS", "DESCRIPTION"}, rows)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// A remoteOrigin says where an entry of an environment comes from.
type remoteOrigin struct {
	Context  *string `json:"context"`
	Priority *int    `json:"priority"`
	Label    *string `json:"label"`
}

func (o remoteOrigin) String() string {
	switch {
	case o.Context == nil:
		return "the stack"
	case o.Label != nil:
		return *o.Context + " (label " + *o.Label + ")"
	case o.Priority != nil:
		return fmt.Sprintf("%s (priority %d)", *o.Context, *o.Priority)
	default:
		return *o.Context
	}
}

// A remoteEntry is a variable or a file of an environment.
type remoteEntry struct {
	Name   string         `json:"name"`
	Path   string         `json:"path"`
	Value  *string        `json:"value"`
	Size   int            `json:"size"`
	Secret bool           `json:"secret"`
	From   remoteOrigin   `json:"from"`
	Over   []remoteOrigin `json:"overrides"`
}

func (e remoteEntry) row() []string {
	value := fmt.Sprintf("%d bytes", e.Size)
	if e.Value != nil {
		value = *e.Value
	}
	if e.Secret {
		value = "(secret)"
	}
	var over []string
	for _, o := range e.Over {
		over = append(over, o.String())
	}
	return []string{e.Name + e.Path, value, e.From.String(), strings.Join(over, ", ")}
}

func (sh *shell) environmentCommand() *cobra.Command {
	return &cobra.Command{
		Use: "environment STACK", Short: "Show what the next run of a stack gets, where from, and what that overrides", Args: cobra.ExactArgs(1), ValidArgsFunction: sh.completeStacks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(func(c *client) error {
				var raw json.RawMessage
				if err := c.call(cmd.Context(), http.MethodGet, "/stacks/"+url.PathEscape(args[0])+"/environment", nil, &raw); err != nil {
					return err
				}
				return sh.show(raw, func() error {
					var env struct{ Variables, Files []remoteEntry }
					if err := json.Unmarshal(raw, &env); err != nil {
						return err
					}
					var rows [][]string
					for _, e := range append(env.Variables, env.Files...) {
						rows = append(rows, e.row())
					}
					return sh.table([]string{"NAME", "VALUE", "FROM", "OVERRIDES"}, rows)
				})
			})
		},
	}
}
