package runs

import (
	"strings"
	"testing"
)

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		room          Room
		short, little bool
		says          string
	}{
		{Room{0, 0}, false, false, ""},
		{Room{100 << 30, 1 << 30}, false, false, ""},
		{Room{5 << 30, 1 << 30}, false, false, ""},
		{Room{5<<30 - 1, 1 << 30}, false, true, "has 5 GiB left. Make room on it: below 1GiB no run begins (--min-free"},
		{Room{1 << 30, 1 << 30}, false, true, "has 1 GiB left"},
		{Room{1<<30 - 1<<20, 1 << 30}, true, true, "has 1023 MiB left"},
		{Room{300 << 20, 1 << 30}, true, true, "has 300 MiB left, so no run begins until it has 1GiB (--min-free, also under Settings › System). Make room"},
		{Room{0, 1 << 30}, true, true, "has 0 bytes left, so no run begins"},
		{Room{300 << 20, Off}, false, false, ""},
		{Room{10 << 10, Off}, false, true, "has 10 KiB left. Make room on it, before"},
	} {
		words := c.room.Words()
		if c.room.Short() != c.short || c.room.Little() != c.little || !strings.Contains(words, c.says) || c.says == "" && words != "" {
			t.Errorf("%+v: short %v, little %v: %q", c.room, c.room.Short(), c.room.Little(), words)
		}
	}
}
