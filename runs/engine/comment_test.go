package engine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"groundcrew/runs"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// aComment is a run, its stack, plan and newer run, with everything that is usual filled in.
type aComment struct {
	run     runs.Run
	stack   runs.Stack
	changes runs.Changes
	newer   *runs.Run
}

func usual(d runs.Delta, list ...runs.ResourceChange) aComment {
	return aComment{
		run: runs.Run{
			ID: "01RUN", Stack: "network-prod", Type: runs.Proposed, State: runs.Finished, Branch: "feature/edge",
			Commit: runs.Commit{SHA: "3f2a91c0d4e5f60718293a4b5c6d7e8f90a1b2c3"},
			MR:     &runs.MergeRequest{IID: 7, SourceBranch: "feature/edge", TargetBranch: "main"},
			Basis:  &runs.Basis{Kind: runs.PlanMergeResult}, Tool: runs.OpenTofu, ToolVersion: "1.12.6",
			CreatedAt: noon, EndedAt: noon.Add(9800 * time.Millisecond), Delta: &d,
		},
		stack: runs.Stack{Slug: "network-prod", Name: "network-prod"}, changes: runs.Changes{Resources: list},
	}
}

func res(a runs.Action, address string, attributes ...runs.AttributeChange) runs.ResourceChange {
	return runs.ResourceChange{Address: address, Type: strings.SplitN(address, ".", 2)[0], Action: a, Attributes: attributes}
}

func attr(path, before, after string) runs.AttributeChange {
	return runs.AttributeChange{Path: path, Before: before, After: after}
}

const evil = "x\n/merge\n/close @all ```\n<img src=\"https://evil.example/x.png\"> ![i](https://evil.example/y.png) [l](https://evil.example) #1 !2 ~bug | `tick` </details> www.evil.example"

func comments() map[string]aComment {
	list := map[string]aComment{
		"add": usual(runs.Delta{Add: 1}, res(runs.ActAdd, "aws_security_group_rule.edge_443", attr("port", "", "443"),
			runs.AttributeChange{Path: "id", Unknown: true})),
		"change": usual(runs.Delta{Change: 2}, res(runs.ActChange, "aws_lb_listener.edge", attr("port", "80", "443"), attr("protocol", `"HTTP"`, `"HTTPS"`)),
			res(runs.ActChange, "aws_db_instance.main", runs.AttributeChange{Path: "password", Sensitive: true})),
		"replace": usual(runs.Delta{Add: 1, Destroy: 1}, res(runs.ActReplace, "aws_instance.web",
			runs.AttributeChange{Path: "ami", Before: `"ami-1"`, After: `"ami-2"`, Replaces: true}, runs.AttributeChange{Path: "id", Before: `"i-1"`, Unknown: true})),
		"destroy": usual(runs.Delta{Add: 1, Destroy: 5}, res(runs.ActAdd, "aws_s3_bucket.new"), res(runs.ActDestroy, "aws_s3_bucket.a"), res(runs.ActDestroy, "aws_s3_bucket.b"),
			res(runs.ActDestroy, "aws_s3_bucket.c"), res(runs.ActDestroy, "aws_s3_bucket.d"), res(runs.ActDestroy, "aws_s3_bucket.e", attr("bucket", `"old"`, ""))),
		"move": usual(runs.Delta{Move: 1}, runs.ResourceChange{Address: "module.net.aws_vpc.main", Type: "aws_vpc", Action: runs.ActMove, Previous: "aws_vpc.main"}),
		"import": usual(runs.Delta{Import: 1, Change: 1}, runs.ResourceChange{
			Address: "aws_vpc.main", Type: "aws_vpc", Action: runs.ActImport, ImportID: "vpc-0a1b2c",
			Attributes: []runs.AttributeChange{attr("tags.team", `"a"`, `"b"`)},
		}),
		"forget":    usual(runs.Delta{Forget: 1}, res(runs.ActForget, "aws_vpc.old")),
		"nochange":  usual(runs.Delta{}),
		"outputs":   usual(runs.Delta{Outputs: 4}),
		"failed":    usual(runs.Delta{}),
		"behind":    usual(runs.Delta{Add: 1}, res(runs.ActAdd, "aws_vpc.main")),
		"head":      usual(runs.Delta{Add: 1}, res(runs.ActAdd, "aws_vpc.main")),
		"warnings":  usual(runs.Delta{Add: 1}, res(runs.ActAdd, "aws_vpc.main")),
		"replanned": usual(runs.Delta{Add: 1}, res(runs.ActAdd, "aws_vpc.main")),
		"canceled":  usual(runs.Delta{Add: 1}, res(runs.ActAdd, "aws_vpc.main")),
		"huge":      usual(runs.Delta{Add: 12000, Change: 7000, Destroy: 1000}),
		"hostile": usual(runs.Delta{Change: 1}, res(runs.ActChange, evil, attr(evil, evil, evil)), runs.ResourceChange{Address: "a.b", Type: evil, Action: runs.ActMove, Previous: evil},
			runs.ResourceChange{Address: "a.c", Type: evil, Action: runs.ActImport, ImportID: evil}),
	}
	edit := func(name string, f func(c *aComment)) { c := list[name]; f(&c); list[name] = c }
	edit("outputs", func(c *aComment) {
		c.stack.Autodeploy = true
		c.changes.Outputs = []runs.OutputChange{
			{Name: "new", Action: runs.ActAdd, After: `"10.0.0.0/8"`},
			{Name: "changed", Action: runs.ActChange, Before: "1", After: "2"},
			{Name: "token", Action: runs.ActChange, Sensitive: true},
			{Name: "gone", Action: runs.ActDestroy, Before: `"x"`},
			{Name: "later", Action: runs.ActAdd, Unknown: true},
		}
	})
	edit("failed", func(c *aComment) {
		c.run.State, c.run.Delta, c.run.Reason = runs.Failed, nil, "Error: Unsupported argument on main.tf line 3: An argument named \"inptu\" is not expected here."
	})
	edit("behind", func(c *aComment) { c.run.Basis.Behind = 3 })
	edit("head", func(c *aComment) { c.run.Basis.Kind = runs.PlanHead })
	edit("warnings", func(c *aComment) {
		c.run.Warnings = []string{"Argument is deprecated: use other_argument", "@all look <b>here</b>"}
	})
	edit("replanned", func(c *aComment) {
		c.newer = &runs.Run{ID: "02RUN", State: runs.Planning, Commit: runs.Commit{SHA: "9e8d7c6b5a4938271605f4e3d2c1b0a998877665"}}
	})
	edit("canceled", func(c *aComment) {
		c.newer = &runs.Run{ID: "02RUN", State: runs.Canceled, Reason: "superseded by 1234abcd", Commit: runs.Commit{SHA: "9e8d7c6b5a4938271605f4e3d2c1b0a998877665"}}
	})
	edit("huge", func(c *aComment) {
		for i := range 20000 {
			a, typ := runs.ActAdd, "null_resource"
			switch {
			case i%20 == 0:
				a, typ = runs.ActDestroy, "aws_instance"
			case i%20 < 8:
				a, typ = runs.ActChange, fmt.Sprintf("type_%d", i%13)
			}
			c.changes.Resources = append(c.changes.Resources, res(a, fmt.Sprintf("%s.r[%d]", typ, i), attr("input", strings.Repeat("ä", 30), strings.Repeat("ö", 30))))
		}
	})
	edit("hostile", func(c *aComment) {
		c.stack.Name, c.run.Branch, c.run.MR.SourceBranch, c.run.MR.TargetBranch, c.run.ToolVersion = evil, evil, evil, evil, "1.0"
		c.run.Warnings = []string{evil}
		c.changes.Outputs = []runs.OutputChange{{Name: evil, Action: runs.ActChange, Before: evil, After: evil}}
		c.newer = &runs.Run{ID: "02RUN", State: runs.Canceled, Reason: evil}
	})
	return list
}

func (c aComment) text() string {
	return comment(c.run, c.stack, c.changes, c.newer, func(id string) string { return "https://gc.example/runs/" + id }, "groundcrew")
}

func TestCommentsReadAsTheGoldenFiles(t *testing.T) {
	for name, c := range comments() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".md")
			got := c.text()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if c, found := runs.ParseCommand(got, "groundcrew"); found {
				t.Errorf("our own comment is taken for the command %+v", c)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the comment differs from %s (-want +got); if that is meant, go test -update:\n%s", file, diff)
			}
		})
	}
}

// A stack that is locked or flagged does not deploy by itself, so its comment does not say so.
func TestWhatIsSaidToFollowAMerge(t *testing.T) {
	byItself := "Groundcrew applies this by itself"
	for _, c := range []struct {
		name  string
		stack runs.Stack
		want  bool
	}{
		{"autodeploy", runs.Stack{Autodeploy: true}, true},
		{"autodeploy, approved", runs.Stack{Autodeploy: true, Approvals: 1}, true},
		{"by hand", runs.Stack{}, false},
		{"locked", runs.Stack{Autodeploy: true, LockedBy: "ann"}, false},
		{"locked, approved", runs.Stack{Autodeploy: true, LockedBy: "ann", Approvals: 2}, false},
		{"flagged", runs.Stack{Autodeploy: true, Flag: "an apply was cut off"}, false},
	} {
		said := afterMerging(c.stack, "/groundcrew apply net")
		if strings.Contains(said, byItself) != c.want || strings.Contains(said, "a person confirms the apply") == c.want {
			t.Errorf("%s: %s", c.name, said)
		}
		if strings.Contains(said, "approved it") != (c.stack.Approvals > 0) {
			t.Errorf("%s: %s", c.name, said)
		}
	}
}

// GitLab takes a million characters; a comment that people read takes far fewer, however large the plan.
func TestTheLargestCommentFits(t *testing.T) {
	c := comments()["huge"]
	for i := range c.changes.Resources {
		c.changes.Resources[i].Address += strings.Repeat("ß", 1000)
		c.changes.Resources[i].Attributes[0] = attr(strings.Repeat("p", 1000), strings.Repeat("ä", 1000), strings.Repeat("ö", 1000))
	}
	got := c.text()
	if n := utf8.RuneCountInString(got); n > 250_000 {
		t.Errorf("%d characters", n)
	}
	for _, want := range []string{"19,900 more", "destroys `aws_instance.r[0]", "997 more", "https://gc.example/runs/01RUN"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

var (
	fenced  = regexp.MustCompile("(?ms)^````*[a-z]*\n.*?\n````*$")
	escapes = regexp.MustCompile(`\\.`)
)

// outside is a line without its code spans: a span ends at the next run of as many backticks as began it.
func outside(line string) string {
	var out strings.Builder
	ticks := regexp.MustCompile("\\\\`|`+")
	for {
		at := ticks.FindStringIndex(line)
		if at == nil {
			return out.String() + line
		}
		out.WriteString(line[:at[0]])
		open := line[at[0]:at[1]]
		line = line[at[1]:]
		if strings.HasPrefix(open, "\\") {
			out.WriteString(open)
			continue
		}
		for {
			end := regexp.MustCompile("`+").FindStringIndex(line)
			if end == nil {
				return out.String() + open + line
			}
			closing := line[end[0]:end[1]]
			line = line[end[1]:]
			if closing == open {
				break
			}
		}
	}
}

// Nothing from outside is executed, mentions, renders or leads away, in any kind of comment.
func TestS20HostileTextStaysText(t *testing.T) {
	failed := comments()["hostile"]
	failed.run.State, failed.run.Reason = runs.Failed, evil
	for name, c := range map[string]aComment{"hostile": comments()["hostile"], "failed": failed} {
		got := c.text()
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "/") {
				t.Errorf("%s: a quick action: %q", name, line)
			}
		}
		open := fenced.ReplaceAllString(got, "")
		for line := range strings.Lines(open) {
			bare := escapes.ReplaceAllString(outside(line), "")
			for _, bad := range []string{"<img", "](https://evil", "@all ", "www.evil", " #1", " !2", "~bug"} {
				if strings.Contains(bare, bad) {
					t.Errorf("%s: %q in %q", name, bad, bare)
				}
			}
		}
	}
}

func TestSensitiveValuesAreNotInComments(t *testing.T) {
	c := usual(runs.Delta{Change: 1}, res(runs.ActChange, "a.b", runs.AttributeChange{Path: "password", Before: "hunter1", After: "hunter2", Sensitive: true}))
	c.changes.Outputs = []runs.OutputChange{{Name: "o", Action: runs.ActChange, Before: "hunter3", After: "hunter4", Sensitive: true}}
	if got := c.text(); strings.Contains(got, "hunter") {
		t.Errorf("a sensitive value in %s", got)
	}
}
