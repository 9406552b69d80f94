package tofu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-version"

	"groundcrew/runs"
)

// A Binary is a tool present on this machine.
type Binary struct {
	Tool    string // runs.OpenTofu or runs.Terraform
	Version string // like 1.12.6; "" if Problem is set
	Path    string // absolute
	Problem string // why it cannot be used, for people; "" = it can
}

// probeTime is how long a binary may take to tell its version.
const probeTime = 20 * time.Second

var (
	// binaryName matches tofu, terraform, terraform1.5, terraform_1.5.7, tofu-v1.9.0; not terraform-docs or
	// terraform-provider-x.
	binaryName = regexp.MustCompile(`^(tofu|terraform)([-_]?v?[0-9][0-9A-Za-z.+-]*)?$`)
	// saidVersion matches the line in which a binary says what it is, whatever its file is called.
	saidVersion = regexp.MustCompile(`(?m)^(OpenTofu|Terraform) v([0-9]\S*)$`)
)

// A Prober finds binaries and remembers what they said until their files change. The zero value is ready;
// several goroutines may use it at once.
type Prober struct {
	mu    sync.Mutex
	known map[fileKey]Binary
}

type fileKey struct {
	path  string
	mtime time.Time
	size  int64
}

// Probe finds the tools in dirs and then in the folders of path, which has the form of $PATH. Folders that do
// not exist are passed over, and so is a file met before under another name. A binary that cannot tell its
// version is listed with its Problem. The order is by tool, then newest first, then as found.
func (p *Prober) Probe(ctx context.Context, dirs []string, path string) ([]Binary, error) {
	var list []Binary
	seen := map[string]bool{}
	for _, dir := range append(slices.Clone(dirs), filepath.SplitList(path)...) {
		if !filepath.IsAbs(dir) {
			continue // a relative folder on the PATH would mean another one for every run
		}
		found, err := candidates(dir)
		if err != nil {
			return nil, err
		}
		for _, file := range found {
			real, err := filepath.EvalSymlinks(file)
			if err != nil || seen[real] {
				continue // a dangling link is no binary
			}
			seen[real] = true
			b, ok := p.probe(ctx, file)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if ok {
				list = append(list, b)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Binary) int {
		if c := strings.Compare(a.Tool, b.Tool); c != 0 {
			return c
		}
		return newer(a, b)
	})
	return list, nil
}

// candidates lists the files in dir with the name of a tool.
func candidates(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for tools: %w", err)
	}
	var list []string
	for _, e := range entries {
		if binaryName.MatchString(e.Name()) {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list, nil
}

// probe asks one file, or the memory. ok is false for a folder.
func (p *Prober) probe(ctx context.Context, file string) (b Binary, ok bool) {
	info, err := os.Stat(file)
	if err != nil || info.IsDir() {
		return Binary{}, false
	}
	key := fileKey{file, info.ModTime(), info.Size()}
	p.mu.Lock()
	b, ok = p.known[key]
	p.mu.Unlock()
	if ok {
		return b, true
	}
	b = ask(ctx, file)
	if ctx.Err() == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.known == nil {
			p.known = map[fileKey]Binary{}
		}
		p.known[key] = b
	}
	return b, true
}

// ask runs `version`. Its plain form is used because, other than the one in JSON, it names the tool.
func ask(ctx context.Context, file string) Binary {
	b := Binary{Tool: runs.Terraform, Path: file}
	if strings.HasPrefix(filepath.Base(file), "tofu") {
		b.Tool = runs.OpenTofu
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, file, "version")
	cmd.Env = []string{"CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=" + os.DevNull}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	m := saidVersion.FindSubmatch(out)
	switch {
	case err != nil:
		b.Problem = fmt.Sprintf("“%s version” failed: %v. %s", file, err, firstLine(out))
	case m == nil:
		b.Problem = fmt.Sprintf("“%s version” did not say which tool it is: %s", file, firstLine(out))
	case !parses(string(m[2])):
		b.Problem = fmt.Sprintf("“%s version” said “%s”, which is no version.", file, m[2])
	default:
		b.Tool, b.Version = strings.ToLower(string(m[1])), string(m[2])
	}
	return b
}

func firstLine(out []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return strings.ToValidUTF8(string(line[:min(len(line), 200)]), "?")
}

func parses(v string) bool {
	_, err := version.NewVersion(v)
	return err == nil
}

// newer orders newer versions first and binaries without one last.
func newer(a, b Binary) int {
	va, errA := version.NewVersion(a.Version)
	vb, errB := version.NewVersion(b.Version)
	switch {
	case errA != nil && errB != nil:
		return 0
	case errA != nil:
		return 1
	case errB != nil:
		return -1
	default:
		return vb.Compare(va)
	}
}

// Choose returns the newest binary of tool whose version meets the constraint: an exact version ("1.9.1"), a
// minor version for the newest of it ("1.9"), constraints ("~> 1.5, != 1.5.2"), or "" for the newest that is
// no pre-release. A pre-release is chosen only if the constraint names one, or if there is nothing else and no
// constraint. For [runs.Custom] it returns a Binary without a path.
func Choose(bins []Binary, tool, constraint string) (Binary, error) {
	if tool == runs.Custom {
		return Binary{Tool: runs.Custom}, nil
	}
	accepts, err := parseConstraint(constraint)
	if err != nil {
		return Binary{}, err
	}
	usable := slices.DeleteFunc(slices.Clone(bins), func(b Binary) bool { return b.Tool != tool || b.Problem != "" })
	slices.SortStableFunc(usable, newer)
	for _, b := range usable {
		if v, err := version.NewVersion(b.Version); err == nil && accepts(v) {
			return b, nil
		}
	}
	if strings.TrimSpace(constraint) == "" && len(usable) > 0 {
		return usable[0], nil
	}
	return Binary{}, noBinary(bins, tool, constraint)
}

// noBinary says what there is instead and what to do.
func noBinary(bins []Binary, tool, constraint string) error {
	name, file := "OpenTofu", "tofu"
	if tool == runs.Terraform {
		name, file = "Terraform", "terraform"
	}
	what := "There is no " + name + " on this server"
	if strings.TrimSpace(constraint) != "" {
		what = fmt.Sprintf("No %s on this server meets “%s”", name, constraint)
	}
	var present, broken []string
	for _, b := range bins {
		switch {
		case b.Tool != tool:
		case b.Problem != "":
			broken = append(broken, b.Problem)
		default:
			present = append(present, b.Version)
		}
	}
	there := ""
	if len(present) > 0 {
		there = " Present: " + strings.Join(slices.Compact(present), ", ") + "."
	}
	if len(broken) > 0 {
		there += " " + strings.Join(broken, " ")
	}
	return runs.Invalidf("tool_version", "%s.%s Copy a binary named like %s-1.2.3 into the folder bin of the data folder, or change the stack's tool or version.", what, there, file)
}

var minorOnly = regexp.MustCompile(`^v?[0-9]+\.[0-9]+$`)

// ValidConstraint checks a tool version as people write it in a form; see [Choose].
func ValidConstraint(s string) error {
	_, err := parseConstraint(s)
	return err
}

func parseConstraint(s string) (func(*version.Version) bool, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return func(v *version.Version) bool { return v.Prerelease() == "" }, nil
	}
	text := s
	if minorOnly.MatchString(s) {
		text = "~> " + s + ".0"
	}
	c, err := version.NewConstraint(text)
	if err != nil {
		return nil, runs.Invalidf("tool_version", "“%s” is no version. Write one like 1.9.1, a minor version like 1.9, constraints like ~> 1.9 or >= 1.6, < 2, or nothing for the newest.", s)
	}
	return c.Check, nil
}
