package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestLimitSettings(t *testing.T) {
	for _, tt := range []struct{ flags, says string }{
		{"--run-memory 2GiB --run-file-size 10M --run-log-size 64K --run-processes 64 --run-open-files 128 --run-time 1h --silence 1m", ""},
		{"--run-memory 5", "--run-memory: Memory: 5 is not possible; use 64MiB or more"},
		{"--run-memory much", "write a size like 512MiB"},
		{"--run-memory 99999999999TiB", "write a size like 512MiB"},
		{"--run-file-size 1", "use 1MiB or more"},
		{"--run-log-size 1", "--run-log-size"},
		{"--run-processes 1", "--run-processes"},
		{"--run-ports 80,http", "write ports like 443,22"},
		{"--run-ports 0", "write ports like 443,22"},
		{"--run-time 0s", "--run-time"},
		{"--run-user no-such-user-here", "--run-user"},
	} {
		var said strings.Builder
		c, err := readConfig("serve", strings.Fields(tt.flags), func(string) string { return "" }, &said)
		var usage usageError
		switch {
		case tt.says == "" && (err != nil || c.limits.memory != 2<<30 || c.limits.fileSize != 10<<20 || c.limits.logSize != 64<<10):
			t.Errorf("%s: %+v, %v", tt.flags, c.limits, err)
		case tt.says != "" && (!errors.As(err, &usage) || !strings.Contains(usage.msg+said.String(), tt.says)):
			t.Errorf("%s: %v %s", tt.flags, err, said.String())
		}
	}
	c, err := readConfig("serve", nil, func(name string) string { return map[string]string{"GROUNDCREW_RUN_MEMORY": "1GiB"}[name] }, io.Discard)
	if err != nil || c.limits.memory != 1<<30 || c.limits.memory.String() != "1GiB" {
		t.Errorf("%+v, %v", c.limits, err)
	}
}

func TestEachRunHasItsOwnUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can execute runs as others")
	}
	a, err := limits{}.account()
	if err != nil {
		t.Fatal(err)
	}
	one, two := a.of("01M823EAAZBTGCYF9606WW7HQJ"), a.of("01M823EAAZBTGCYF9606WW7HQK")
	if *one == *two || *one != *a.of("01M823EAAZBTGCYF9606WW7HQJ") || !a.includes(one.UID) || a.includes(0) || a.includes(a.first+runUsers) {
		t.Errorf("%+v, %+v", one, two)
	}
	fixed, err := limits{user: "12345"}.account()
	if err != nil || fixed.of("x").UID != 12345 || !fixed.includes(12345) || fixed.includes(12346) {
		t.Errorf("%+v, %v", fixed, err)
	}
}
