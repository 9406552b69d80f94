package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"groundcrew/runs/policy"
	"groundcrew/runs/proc"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() { os.Exit(dispatch(os.Args[1:])) }

// dispatch chooses the command. The inner ones come first and touch nothing else: they run beside every run and for every policy.
func dispatch(args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "shim":
			return proc.Shim(args[1:], os.Stdin, os.Stderr)
		case "sandbox":
			return proc.Sandbox(args[1:])
		case policy.ChildCommand:
			return exitCode(policy.Child(os.Stdin, os.Stdout))
		}
	}
	getenv, err := secretEnv()
	if err == nil {
		err = proc.Hide()
	}
	if err == nil {
		ctx, stop := signals()
		defer stop()
		err = run(ctx, args, &shell{getenv: getenv, in: os.Stdin, out: os.Stdout, err: os.Stderr})
	}
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, "groundcrew:", err)
	}
	return exitCode(err)
}

// signals returns a context that ends with the first INT or TERM; the second ends the process at once.
func signals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ch
		cancel()
		<-ch
		os.Exit(exitFailed)
	}()
	return ctx, cancel
}
