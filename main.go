package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"groundcrew/runs/proc"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried and went wrong
	exitUsage  = 2 // flags or settings are wrong; nothing was tried
)

func main() { os.Exit(dispatch(os.Args[1:])) }

// dispatch chooses the command. The two inner ones come first and touch nothing else: they run beside every run.
func dispatch(args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "shim":
			return proc.Shim(args[1:], os.Stdin, os.Stderr)
		case "sandbox":
			return proc.Sandbox(args[1:])
		}
	}
	getenv, err := secretEnv()
	if err == nil {
		err = proc.Hide()
	}
	if err == nil {
		ctx, stop := signals()
		defer stop()
		err = run(ctx, args, getenv, os.Stdout, os.Stderr)
	}
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		if usage.msg != "" {
			fmt.Fprintln(os.Stderr, "groundcrew:", usage.msg)
		}
		return usage.code
	default:
		fmt.Fprintln(os.Stderr, "groundcrew:", err)
		return exitFailed
	}
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

// run is the whole program but for the process around it, so that tests can call it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := "serve"
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "serve", "demo":
		c, err := readConfig(command, args, getenv, stderr)
		if err != nil {
			return err
		}
		if command == "demo" {
			return demo(ctx, c, stdout)
		}
		return serve(ctx, c, stdout)
	case "healthcheck", "doctor":
		c, err := readConfig(command, args, getenv, stderr)
		if err != nil {
			return err
		}
		if command == "doctor" {
			return examine(ctx, c, stdout)
		}
		return healthcheck(ctx, c)
	case "version":
		fmt.Fprintln(stdout, "groundcrew", version)
		return nil
	case "help":
		fmt.Fprint(stdout, usageText)
		return nil
	default:
		return usageError{exitUsage, fmt.Sprintf("there is no command %q. Commands: serve, demo, doctor, healthcheck, version, help", command)}
	}
}
