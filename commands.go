package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes. Those from 10 on say how a run stands that was followed to its end.
const (
	exitOK          = 0
	exitFailed      = 1 // it was tried and went wrong
	exitUsage       = 2 // flags or settings are wrong; nothing was tried
	exitNotFound    = 3 // there is no such stack, run, …
	exitForbidden   = 4 // the key is not valid, or may not do that
	exitConflict    = 5 // that is not possible now
	exitUnreachable = 6 // the server does not answer
	exitWaits       = 10
	exitRunFailed   = 11
	exitRunEnded    = 12 // discarded, canceled, stopped or skipped
)

// An exitError is an end that has a code of its own.
type exitError struct {
	code int
	msg  string
}

func (e exitError) Error() string { return e.msg }

// exitCode is what the process ends with after an error.
func exitCode(err error) int {
	var usage usageError
	var exit exitError
	var refused *apiError
	var away *unreachable
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return usage.code
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &away):
		return exitUnreachable
	case !errors.As(err, &refused):
		return exitFailed
	}
	switch refused.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitForbidden
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusConflict:
		return exitConflict
	default:
		return exitFailed
	}
}

// A shell is where a command runs: what it reads and where it writes.
type shell struct {
	getenv func(string) string
	in     io.Reader
	out    io.Writer
	err    io.Writer
	json   bool // answers as JSON, as the API gives them
}

// tty reports whether a stream is a terminal, with a person before it.
func tty(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// commands are all of the program's, but for the inner ones. A call without a command is serve.
func commands(sh *shell) *cobra.Command {
	root := &cobra.Command{
		Use: "groundcrew", Short: "Terraform and OpenTofu runs for teams with their own GitLab", Long: strings.TrimSpace(usageText),
		Version: version, SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(sh.in)
	root.SetOut(sh.out)
	root.SetErr(sh.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{exitUsage, fmt.Sprintf("%v; see groundcrew %s --help", err, c.Name())}
	})
	root.AddGroup(&cobra.Group{ID: groupServer, Title: "On the server:"}, &cobra.Group{ID: groupClient, Title: "From anywhere, over the API:"})
	root.AddCommand(sh.serverCommands()...)
	root.AddCommand(sh.clientCommands()...)
	for _, c := range root.Commands() {
		c.Args = countArgs(c.Args)
	}
	root.SetVersionTemplate("groundcrew {{.Version}}\n")
	return root
}

// countArgs makes a wrong number of arguments an error of usage.
func countArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(c, args); err != nil {
			return usageError{exitUsage, fmt.Sprintf("%s %v; see groundcrew %s --help", c.Name(), err, c.Name())}
		}
		return nil
	}
}

// The groups of the help.
const (
	groupServer = "server"
	groupClient = "client"
)

// serverCommands read their flags themselves: those are variables as well.
func (sh *shell) serverCommands() []*cobra.Command {
	command := func(name, short string, do func(context.Context, config, io.Writer) error) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short, GroupID: groupServer, DisableFlagParsing: true,
			RunE: func(c *cobra.Command, args []string) error {
				cfg, err := readConfig(name, args, sh.getenv, sh.err)
				if err != nil {
					return err
				}
				return do(c.Context(), cfg, sh.out)
			},
		}
	}
	return []*cobra.Command{
		command("serve", "The server; also without the word serve", serve),
		command("demo", "The server with a simulated GitLab beside it, to look at", demo),
		command("doctor", "Look at everything a server with these flags needs, change nothing; exit 1 when a check fails", examine),
		command("admin", "Print a one-time link that makes somebody an admin: the way back in; works while the server runs or is stopped", func(_ context.Context, c config, out io.Writer) error { return admin(c, out) }),
		command("backup", "Write all data into one file, by the server where it runs, and try that it can be restored (FILE)", backup),
		command("restore", "Make a data folder of a backup (FILE); the folder holds no data before", restore),
		command("healthcheck", "Exit 0 when the server at --listen answers", func(ctx context.Context, c config, _ io.Writer) error { return healthcheck(ctx, c) }),
		{
			Use: "version", Short: "Say which version this is", GroupID: groupServer, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := fmt.Fprintln(sh.out, "groundcrew", version)
				return err
			},
		},
	}
}

// run is the whole program but for the process around it, so that tests can call it.
func run(ctx context.Context, args []string, sh *shell) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") && !slices.Contains([]string{"-h", "--help", "-v", "--version"}, args[0]) {
		args = append([]string{"serve"}, args...)
	}
	root := commands(sh)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") {
		first, more, _ := strings.Cut(err.Error(), "\n\n")
		return usageError{exitUsage, strings.Join(strings.Fields(first+". "+more+" See groundcrew help."), " ")}
	}
	return err
}
