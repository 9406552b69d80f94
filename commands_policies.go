package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"groundcrew/runs"
)

// A remotePolicy is what the commands use of a policy of the API.
type remotePolicy struct {
	Slug      string `json:"slug"`
	Type      string `json:"type"`
	Concerns  int    `json:"concerns"`
	Off       bool   `json:"off"`
	LastError string `json:"last_error"`
}

func (p remotePolicy) state() string {
	switch {
	case p.Off:
		return "off"
	case p.LastError != "":
		return "fails: " + p.LastError
	default:
		return "on"
	}
}

func (sh *shell) policiesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "policies", Short: "List policies: rules in Rego that decide about runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.ask(func(c *client) error {
				items, err := c.list(cmd.Context(), "/policies", url.Values{}, everything)
				if err != nil {
					return err
				}
				raw, err := json.Marshal(items)
				if err != nil {
					return err
				}
				return sh.show(raw, func() error { return sh.showPolicies(raw) })
			})
		},
	}
	check := sh.policyCheck()
	check.Args = countArgs(check.Args)
	c.AddCommand(check)
	return c
}

func (sh *shell) showPolicies(raw json.RawMessage) error {
	var list []remotePolicy
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{p.Slug, p.Type, fmt.Sprint(p.Concerns), p.state()})
	}
	return sh.table([]string{"POLICY", "TYPE", "STACKS", "STATE"}, rows)
}

// policyCheck lets the server compile a text that is no policy yet, and ask it.
func (sh *shell) policyCheck() *cobra.Command {
	var of, input string
	c := &cobra.Command{
		Use: "check FILE", Short: "Say whether a text compiles and, with --input, what it answers; - reads it from standard input", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(runs.PolicyTypes, runs.PolicyType(of)) {
				return usageError{exitUsage, fmt.Sprintf("--type must be one of %s", strings.Join(policyTypes(), ", "))}
			}
			body, err := sh.readFile(args[0])
			if err != nil {
				return err
			}
			in := map[string]any{"type": of, "body": string(body)}
			if input != "" {
				raw, err := sh.readFile(input)
				if err != nil {
					return err
				}
				if !json.Valid(raw) {
					return usageError{exitUsage, input + " is not JSON"}
				}
				in["input"] = json.RawMessage(raw)
			}
			return sh.ask(func(c *client) error {
				var raw json.RawMessage
				if err := c.call(cmd.Context(), http.MethodPost, "/policies/check", in, &raw); err != nil {
					return err
				}
				return sh.showCheck(raw)
			})
		},
	}
	c.Flags().StringVar(&of, "type", "", strings.Join(policyTypes(), ", "))
	c.Flags().StringVar(&input, "input", "", "JSON file with what it is asked about")
	c.Flags().BoolVar(&sh.json, "json", false, "print what the API answers")
	return c
}

func policyTypes() (names []string) {
	for _, t := range runs.PolicyTypes {
		names = append(names, string(t))
	}
	return names
}

// readFile reads a file that somebody named, or standard input for -.
func (sh *shell) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(sh.in)
	}
	raw, err := os.ReadFile(name)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, usageError{exitUsage, fmt.Sprintf("%s cannot be read: %v", name, path.Err)}
	}
	return raw, err
}

// showCheck prints what a text answered. What would stop a run is an error, so that a pipeline stops too.
func (sh *shell) showCheck(raw json.RawMessage) error {
	var got struct {
		Outcome  *runs.PolicyOutcome `json:"outcome"`
		Messages []string            `json:"messages"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		return err
	}
	err := sh.show(raw, func() error {
		if got.Outcome == nil {
			_, err := fmt.Fprintln(sh.out, "It compiles.")
			return err
		}
		fmt.Fprintln(sh.out, *got.Outcome)
		for _, m := range got.Messages {
			fmt.Fprintln(sh.out, " ", plain(m))
		}
		return nil
	})
	if err == nil && got.Outcome != nil && slices.Contains([]runs.PolicyOutcome{runs.OutcomeDeny, runs.OutcomeReject, runs.OutcomeError}, *got.Outcome) {
		return exitError{exitFailed, ""}
	}
	return err
}
