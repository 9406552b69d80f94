package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// floodFactor is how many times its limit a phase may print before it is taken for runaway.
const floodFactor = 10

// A logFile is the log of one phase. Trouble with it never stops a command: what cannot be written is
// dropped, which the log says as soon as it takes something again, and err says why. One goroutine at a time may use it.
type logFile struct {
	f       *os.File
	limit   int64 // 0 = none
	size    int64
	printed int64         // by this job, dropped parts included
	full    bool          // the limit was reached and said
	midLine bool          // the last byte was not a line end
	flood   chan struct{} // closed when the phase is taken for runaway
	flooded bool
	err     error // the first trouble
	gap     bool  // something is missing at the end
}

func openLog(dir, phase string, limit int64) (*logFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, phase+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &logFile{f: f, limit: limit, size: info.Size(), flood: make(chan struct{})}, nil
}

// Write appends p within the limit. It always reports success.
func (l *logFile) Write(p []byte) (int, error) {
	l.printed += int64(len(p))
	if l.limit > 0 && l.printed > floodFactor*l.limit && !l.flooded {
		l.flooded = true
		close(l.flood)
	}
	keep := p
	if l.limit > 0 {
		keep = p[:min(int64(len(p)), max(0, l.limit-l.size))]
	}
	l.write(keep)
	if len(keep) < len(p) && !l.full {
		l.full = true
		l.write(fmt.Appendf(nil, "\x1b[0m\n\x1b[33mThis log has reached its limit of %s. The rest of the output is dropped.\x1b[0m\n", bytesText(l.limit)))
	}
	return len(p), nil
}

// gapSaid stands where output is missing because it could not be written.
const gapSaid = "\x1b[0m\n\x1b[33mOutput is missing here, because it could not be written.\x1b[0m\n"

func (l *logFile) write(p []byte) {
	if len(p) == 0 {
		return
	}
	end := p[len(p)-1]
	if l.gap {
		p = append([]byte(gapSaid), p...)
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	if l.gap = err != nil; l.gap && l.err == nil {
		l.err = err
	}
	l.midLine = end != '\n'
}

// prompt writes the line that shows which command follows.
func (l *logFile) prompt(line string) {
	if l.full {
		return
	}
	if l.midLine {
		l.write([]byte("\n"))
	}
	l.write([]byte("\x1b[2m$ " + line + "\x1b[0m\n"))
}

// commandLine shows argv as one could type it.
func commandLine(args []string) string {
	words := []string{filepath.Base(args[0])}
	for _, a := range args[1:] {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`|&;<>()*?[]{}~#!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
