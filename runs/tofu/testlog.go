package tofu

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"groundcrew/runs"
)

// The most of a test's results that is kept.
const (
	maxResults = 200
	maxMessage = 600 // characters
)

// testLine is what matters of a line of `test -json`.
type testLine struct {
	Type     string `json:"type"`
	TestFile string `json:"@testfile"`
	TestRun  string `json:"@testrun"`
	File     struct {
		Path, Progress, Status string
	} `json:"test_file"`
	Run struct {
		Path, Run, Progress, Status string
	} `json:"test_run"`
	Diagnostic struct {
		Severity, Summary, Detail string
		Range                     struct {
			Filename string
			Start    struct{ Line int }
		}
	} `json:"diagnostic"`
}

// ReadTestLog reads what `test -json` printed: each run block with its end, and the errors that belong to it. Lines that
// are none of its are passed over.
func ReadTestLog(r io.Reader) []runs.TestResult {
	var out []runs.TestResult
	find := func(file, run string) *runs.TestResult {
		i := slices.IndexFunc(out, func(t runs.TestResult) bool { return t.File == file && t.Run == run })
		if i < 0 && len(out) < maxResults {
			out = append(out, runs.TestResult{File: file, Run: run})
			i = len(out) - 1
		}
		if i < 0 {
			return &runs.TestResult{}
		}
		return &out[i]
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var l testLine
		if raw := bytes.TrimSpace(lines.Bytes()); len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &l) != nil {
			continue
		}
		switch {
		case l.Type == "test_run" && l.Run.Status != "" && l.Run.Progress != "teardown":
			find(l.Run.Path, l.Run.Run).Status = l.Run.Status
		case l.Type == "test_file" && l.File.Progress == "complete" && l.File.Status != "pass":
			if !slices.ContainsFunc(out, func(t runs.TestResult) bool { return t.File == l.File.Path }) {
				find(l.File.Path, "").Status = l.File.Status
			}
		case l.Type == "diagnostic" && l.Diagnostic.Severity == "error":
			t := find(cmp.Or(l.TestFile, l.Diagnostic.Range.Filename), l.TestRun)
			t.Message = runs.Shorten(strings.TrimSpace(t.Message+" "+words(l)), maxMessage)
			if t.Status == "" || t.Status == "pass" {
				t.Status = "error"
			}
		}
	}
	return slices.DeleteFunc(out, func(t runs.TestResult) bool { return t.Status == "" })
}

func words(l testLine) string {
	return strings.Join(strings.Fields(l.Diagnostic.Summary+": "+l.Diagnostic.Detail), " ")
}

// FirstFailure says the first of the results that did not pass: file, run and message.
func FirstFailure(results []runs.TestResult) string {
	for _, t := range results {
		if t.Status == "pass" || t.Status == "skip" {
			continue
		}
		where := t.File
		if t.Run != "" {
			where += ", run “" + t.Run + "”"
		}
		if where == "" {
			where = "The test files"
		}
		return strings.TrimSuffix(where+" ("+t.Status+"): "+t.Message, ": ")
	}
	return ""
}
