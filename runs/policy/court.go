package policy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"groundcrew/runs"
)

// A Court compiles and asks policies in a process of their own, which is ended when it exceeds a limit: a text can be written that
// keeps the compiler or one step of an evaluation at work for ever, or that breaks the program.
//
// The zero Court does everything in this process, one thing at a time. A Court may be used by many goroutines.
type Court struct {
	answer   Process
	beside   func() int
	deciding *bench
	trying   *bench
}

// A Process reads a question as [Respond] does and writes the reply. It may be called from many goroutines at once.
type Process func(ctx context.Context, question io.Reader, reply io.Writer) error

// NewCourt returns a Court of processes of exe: this program, which runs [Child] when its first argument is [ChildCommand]. Of what
// decides as many are at work at once as beside says, asked each time, at least one; beside them one tries what people write.
func NewCourt(exe string, beside func() int) Court {
	return Court{answer: program(exe), beside: beside, deciding: newBench(), trying: newBench()}
}

// Simulated returns a Court in which something else takes the place of the processes, as many as are asked for.
func Simulated(answer Process) Court {
	return Court{answer: answer, beside: func() int { return math.MaxInt }, deciding: newBench(), trying: newBench()}
}

// ChildCommand is the first argument that a Court starts the program with.
const ChildCommand = "policy-child"

// What bounds the process.
const (
	starting    = 5 * time.Second // to begin and to compile, on top of the time for its type
	childMemory = 1 << 30         // bytes of data
	maxReply    = 16 << 20        // bytes
)

// A question is the first line of what the process reads; the input follows.
type question struct {
	Policy runs.Policy `json:"policy"`
	Ask    bool        `json:"ask"` // otherwise it is only compiled
}

type reply struct {
	Answer  Answer `json:"answer"`
	Invalid string `json:"invalid,omitempty"` // what is wrong with the field
	Field   string `json:"field,omitempty"`
	Err     string `json:"error,omitempty"`
}

// Check compiles a policy; its errors are those of [Compile].
func (c Court) Check(ctx context.Context, p runs.Policy) error {
	if c.answer == nil {
		_, err := Compile(p)
		return err
	}
	_, err := c.send(ctx, c.trying, 1, question{Policy: p}, nil)
	if err != nil && ctx.Err() == nil && !errors.Is(err, runs.ErrInvalid) {
		return runs.Invalidf("body", "The text cannot be compiled: %s.", err)
	}
	return err
}

// Ask compiles a policy and asks it; its errors are those of [Compile] and [Policy.Ask].
func (c Court) Ask(ctx context.Context, p runs.Policy, input json.RawMessage) (Answer, error) {
	if c.answer == nil {
		return here(ctx, p, input)
	}
	return c.send(ctx, c.deciding, c.beside(), question{p, true}, input)
}

// Try is Ask for somebody who tries a text: it never holds up what Ask decides.
func (c Court) Try(ctx context.Context, p runs.Policy, input json.RawMessage) (Answer, error) {
	if c.answer == nil {
		return here(ctx, p, input)
	}
	return c.send(ctx, c.trying, 1, question{p, true}, input)
}

func here(ctx context.Context, p runs.Policy, input json.RawMessage) (Answer, error) {
	compiled, err := Compile(p)
	if err != nil {
		return Answer{}, err
	}
	return compiled.Ask(ctx, input)
}

// send lets a new process answer one question, as one of so many at the bench.
func (c Court) send(ctx context.Context, at *bench, most int, q question, input []byte) (Answer, error) {
	if len(input) > MaxInput {
		return Answer{}, tooLarge(len(input))
	}
	head, err := json.Marshal(q)
	if err != nil {
		return Answer{}, err
	}
	leave, err := at.enter(ctx, most, len(input))
	if err != nil {
		return Answer{}, err
	}
	defer leave()
	within := timeFor(q.Policy.Type) + starting
	limited, stop := context.WithTimeout(ctx, within)
	defer stop()
	out := &capped{left: maxReply}
	err = c.answer(limited, io.MultiReader(bytes.NewReader(head), strings.NewReader("\n"), bytes.NewReader(input)), out)
	switch {
	case ctx.Err() != nil:
		return Answer{}, ctx.Err()
	case limited.Err() != nil:
		return Answer{}, fmt.Errorf("it was cut off after %s, the most a policy of its type may take", within)
	case err != nil:
		return Answer{}, fmt.Errorf("the process it was evaluated in broke down: %w", err)
	}
	return read(out.Bytes())
}

// program starts this program for one question.
func program(exe string) Process {
	return func(ctx context.Context, question io.Reader, reply io.Writer) error {
		cmd := exec.CommandContext(ctx, exe, ChildCommand)
		cmd.Env, cmd.WaitDelay = []string{}, time.Second
		trouble := &beginning{}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = question, reply, trouble
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, trouble)
		}
		return nil
	}
}

// capped keeps so many bytes and refuses more.
type capped struct {
	bytes.Buffer
	left int
}

func (c *capped) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left < 0 {
		return 0, errors.New("the answer is too long")
	}
	return c.Buffer.Write(b)
}

// A beginning keeps the first line or so of what is written: what a program that breaks down says first.
type beginning struct{ text []byte }

func (b *beginning) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), 200-len(b.text))]...)
	return len(p), nil
}

func (b *beginning) String() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b.text)), "\n")
	return runs.BoundMessages([]string{line})[0]
}

func read(out []byte) (Answer, error) {
	var r reply
	switch err := json.Unmarshal(out, &r); {
	case err != nil:
		return Answer{}, fmt.Errorf("the process it was evaluated in gave no answer: %w", err)
	case r.Invalid != "":
		return Answer{}, runs.Invalidf(r.Field, "%s", r.Invalid)
	case r.Err != "":
		return Answer{}, errors.New(r.Err)
	}
	return r.Answer, nil
}

// Child is the other side of a Court: it answers the one question it reads. It ends the process when it takes too long, because the
// server that asked may have died.
func Child(in io.Reader, out io.Writer) error {
	time.AfterFunc(timeFor(runs.PolicyPlan)+2*starting, func() { os.Exit(1) })
	debug.SetMemoryLimit(childMemory / 2)
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: childMemory, Max: childMemory}); err != nil {
		return fmt.Errorf("the process cannot be limited: %w", err)
	}
	return Respond(in, out)
}

// Respond answers the one question it reads, as [Child] does, without its limits.
func Respond(in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	head, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the question cannot be read: %w", err)
	}
	var q question
	if err := json.Unmarshal(head, &q); err != nil {
		return fmt.Errorf("the question cannot be read: %w", err)
	}
	input, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("the input cannot be read: %w", err)
	}
	return json.NewEncoder(out).Encode(q.answer(input))
}

func (q question) answer(input []byte) (r reply) {
	compiled, err := Compile(q.Policy)
	if err == nil && q.Ask {
		r.Answer, err = compiled.Ask(context.Background(), input)
	}
	if e, ok := errors.AsType[*runs.Error](err); ok {
		r.Field, r.Invalid = e.Field, e.Message
	} else if err != nil {
		r.Err = err.Error()
	}
	return r
}
