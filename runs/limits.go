package runs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits bound runs and what is kept of them. In what is stored a zero leaves what the server was started with; [Off]
// switches off what can be.
type Limits struct {
	Workers   int64 `json:"workers,omitempty"`       // runs at work at once
	Time      int64 `json:"run_time,omitempty"`      // of one phase, in nanoseconds
	Silence   int64 `json:"silence,omitempty"`       // without output, in nanoseconds
	Memory    int64 `json:"run_memory,omitempty"`    // bytes
	FileSize  int64 `json:"run_file_size,omitempty"` // bytes
	OpenFiles int64 `json:"run_open_files,omitempty"`
	Processes int64 `json:"run_processes,omitempty"`
	LogSize   int64 `json:"run_log_size,omitempty"` // bytes of one phase
	LogAge    int64 `json:"log_age,omitempty"`      // how long logs are kept, in nanoseconds, or Off
	LogTotal  int64 `json:"log_total,omitempty"`    // bytes of all logs on the disk, or Off
	MinFree   int64 `json:"min_free,omitempty"`     // bytes that are free on the disk when a run begins, or Off
}

// Off is the value of a limit that is switched off.
const Off = -1

// The kinds of limits: how they are written.
const (
	LimitCount = "count"
	LimitSize  = "size"
	LimitSpan  = "span"
)

// A LimitDef describes one limit: its name in the API and the database, which with hyphens is its flag.
type LimitDef struct {
	Name, Label, Help string
	Kind              string
	Min, Max          int64
	Off               string // what it means when it is off; "" when it can't be
	At                func(*Limits) *int64
}

// LimitDefs lists all limits in the order they are shown.
func LimitDefs() []LimitDef {
	const most = math.MaxInt64 / 4
	day := int64(24 * time.Hour)
	return []LimitDef{
		{"workers", "Workers", "runs at work at once", LimitCount, 1, 256, "", func(l *Limits) *int64 { return &l.Workers }},
		{"run_time", "Time for a phase", "longest time of one phase of a run", LimitSpan, int64(time.Second), 30 * day, "", func(l *Limits) *int64 { return &l.Time }},
		{"silence", "Time without output", "longest time a run may print nothing", LimitSpan, int64(time.Second), 30 * day, "", func(l *Limits) *int64 { return &l.Silence }},
		{"run_memory", "Memory", "most memory of a run, all its processes together", LimitSize, 64 << 20, most, "", func(l *Limits) *int64 { return &l.Memory }},
		{"run_file_size", "File size", "largest file a run may write", LimitSize, 1 << 20, most, "", func(l *Limits) *int64 { return &l.FileSize }},
		{"run_open_files", "Open files", "most files one process of a run may have open", LimitCount, 64, 1 << 20, "", func(l *Limits) *int64 { return &l.OpenFiles }},
		{"run_processes", "Processes", "most processes of a run, threads counted", LimitCount, 32, 1 << 22, "", func(l *Limits) *int64 { return &l.Processes }},
		{"run_log_size", "Log of a phase", "what exceeds it is dropped; ten times as much stops the run", LimitSize, 4 << 10, most, "", func(l *Limits) *int64 { return &l.LogSize }},
		{"log_age", "Logs are kept for", "a run's page says when its logs were removed", LimitSpan, day, 3650 * day, "for ever", func(l *Limits) *int64 { return &l.LogAge }},
		{"log_total", "All logs together", "the oldest are removed beyond this size on the disk", LimitSize, 64 << 20, most, "without bound", func(l *Limits) *int64 { return &l.LogTotal }},
		{"min_free", "Free space", "below it no run begins; people are told from five times as much on", LimitSize, 1 << 20, most, "runs begin on a full disk too", func(l *Limits) *int64 { return &l.MinFree }},
	}
}

// Or fills what l leaves open from the limits a server was started with.
func (l Limits) Or(start Limits) Limits {
	for _, d := range LimitDefs() {
		if at := d.At(&l); *at == 0 {
			*at = *d.At(&start)
		}
	}
	return l
}

// Check returns the first limit that is out of its range, as an ErrInvalid about its name.
func (l Limits) Check() error {
	for _, d := range LimitDefs() {
		if err := d.check(*d.At(&l)); err != nil {
			return err
		}
	}
	return nil
}

func (d LimitDef) check(v int64) error {
	if v == Off && d.Off != "" || v >= d.Min && v <= d.Max {
		return nil
	}
	upTo := " or more"
	if d.Kind != LimitSize {
		upTo = " to " + d.Text(d.Max)
	}
	return Invalidf(d.Name, "%s: %s is not possible; use %s%s%s.", d.Label, d.Text(v), d.Text(d.Min), upTo, d.orOff())
}

func (d LimitDef) orOff() string {
	if d.Off == "" {
		return ""
	}
	return ", or “off” (" + d.Off + ")"
}

// Read reads what a person wrote and checks its range; "" is 0, which leaves the limit to what the server was started
// with. Its errors are ErrInvalid about the limit's name.
func (d LimitDef) Read(text string) (int64, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return 0, nil
	case strings.EqualFold(text, "off") && d.Off != "":
		return Off, nil
	}
	v, err := d.parse(text)
	if err != nil {
		return 0, Invalidf(d.Name, "%s: “%s” can't be read; %s%s.", d.Label, text, err, d.orOff())
	}
	return v, d.check(v)
}

func (d LimitDef) parse(text string) (int64, error) {
	switch d.Kind {
	case LimitSize:
		return ParseSize(text)
	case LimitSpan:
		return ParseSpan(text)
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("“%s” is no number; write one like %d", text, max(d.Min, 2))
		}
		return n, nil
	}
}

// Text writes a value as Read reads it.
func (d LimitDef) Text(v int64) string {
	switch {
	case v == Off && d.Off != "":
		return "off"
	case d.Kind == LimitSize:
		return SizeText(v)
	case d.Kind == LimitSpan:
		return SpanText(time.Duration(v))
	default:
		return strconv.FormatInt(v, 10)
	}
}

var sizeUnits = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}}

// ParseSize reads a number of bytes written like 512MiB, 4G or 1024.
func ParseSize(text string) (int64, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > 1<<62/u.size {
			break
		}
		return n * u.size, nil
	}
	return 0, fmt.Errorf("write a size like 512MiB or 4GiB")
}

// SizeText writes a number of bytes with the largest unit that leaves nothing over.
func SizeText(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// ParseSpan reads a time like 70m, 1h30m or 90d, in nanoseconds.
func ParseSpan(text string) (int64, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil && n >= 0 && n < 36500 {
			return n * int64(24*time.Hour), nil
		}
	} else if d, err := time.ParseDuration(text); err == nil {
		return int64(d), nil
	}
	return 0, fmt.Errorf("write a time like 70m, 1h30m or 90d")
}

// SpanText writes a time without units that are zero.
func SpanText(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
