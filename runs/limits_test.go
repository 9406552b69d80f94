package runs

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func someLimits() Limits {
	return Limits{
		Workers: 2, Time: int64(70 * time.Minute), Silence: int64(15 * time.Minute), Memory: 4 << 30, FileSize: 4 << 30,
		OpenFiles: 4096, Processes: 4096, LogSize: 256 << 20, LogAge: int64(365 * 24 * time.Hour), LogTotal: Off, MinFree: 1 << 30,
	}
}

func TestLimitsReadWhatTheyWrite(t *testing.T) {
	l := someLimits()
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	var written []string
	for _, d := range LimitDefs() {
		v := *d.At(&l)
		text := d.Text(v)
		written = append(written, text)
		if got, err := d.Read(" " + text + " "); err != nil || got != v {
			t.Errorf("%s: %d is written %q and read %d, %v", d.Name, v, text, got, err)
		}
		for _, edge := range []int64{d.Min, d.Max} {
			if got, err := d.Read(d.Text(edge)); err != nil || got != edge {
				t.Errorf("%s: edge %q is read %d, %v", d.Name, d.Text(edge), got, err)
			}
		}
		for _, bad := range []string{d.Text(d.Min - 1), "much", "-3", "99999999999999999999", "1e9", "NaN"} {
			_, err := d.Read(bad)
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, ErrInvalid) || e.Field != d.Name || !strings.Contains(e.Message, d.Label) {
				t.Errorf("%s: %q gives %v", d.Name, bad, err)
			}
		}
		if v, err := d.Read(""); v != 0 || err != nil {
			t.Errorf("%s: nothing is %d, %v", d.Name, v, err)
		}
		if v, err := d.Read("off"); d.Off == "" && err == nil || d.Off != "" && v != Off {
			t.Errorf("%s: off is %d, %v", d.Name, v, err)
		}
	}
	if got, want := strings.Join(written, " "), "2 1h10m 15m 4GiB 4GiB 4096 4096 256MiB 365d off 1GiB"; got != want {
		t.Errorf("written %q, want %q", got, want)
	}
}

func TestLimitsLeaveTheRestToTheStart(t *testing.T) {
	start := someLimits()
	want := start
	want.Memory, want.LogAge = 1<<30, Off
	if got := (Limits{Memory: 1 << 30, LogAge: Off}).Or(start); got != want {
		t.Errorf("%+v", got)
	}
}
