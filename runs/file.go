package runs

import (
	"encoding/base64"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A File is a mounted file of a stack or a context: every run finds it in its workspace. A secret's content is write-only, like
// a variable's. The content is stored apart from this row, sealed.
type File struct {
	Path      string    `json:"path"` // below the mount folder; see SourcePrefix
	Secret    bool      `json:"secret"`
	Size      int       `json:"size"` // bytes
	Binary    bool      `json:"binary,omitempty"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
}

// A Mount is a file with what it holds.
type Mount struct {
	File
	Content []byte
}

// SourcePrefix begins the path of a file that is laid over the code, from the top of the repository on, instead of into the
// mount folder.
const SourcePrefix = "source/"

// Bounds of mounted files. A secret's content has to be looked for, in every usual encoding, in everything a run prints: it is
// bounded more tightly for that.
const (
	MaxFile       = 512 << 10 // bytes of one file
	MaxSecretFile = 32 << 10  // bytes of a secret one
	MaxFiles      = 100       // of one stack or context
	MaxFilesTotal = 4 << 20   // bytes of all files of one stack or context
	MaxSecrets    = 64 << 10  // bytes of all secret files of one stack or context
)

// ValidateFile checks a mounted file's path and content.
func ValidateFile(name string, content []byte, secret bool) error {
	if err := validMountPath(name); err != nil {
		return err
	}
	switch {
	case len(content) > MaxFile:
		return Invalidf("content", "The file has %d bytes; %d is the most.", len(content), MaxFile)
	case secret && len(content) > MaxSecretFile:
		return Invalidf("content", "The secret file has %d bytes; %d is the most, because all of it is looked for in every log. Keep only what is secret in it.", len(content), MaxSecretFile)
	}
	return nil
}

// validMountPath refuses every path that could lead out of the workspace, or to what Groundcrew lays there itself.
func validMountPath(name string) error {
	switch {
	case name == "":
		return Invalidf("path", "Give the file's path, like ca.pem or keys/deploy.json.")
	case len(name) > 300 || unprintable(name) || strings.Contains(name, `\`):
		return Invalidf("path", "“%s” cannot be a path: at most 300 bytes, with / between folders, and nothing that cannot be printed.", Shorten(name, 300))
	case strings.HasPrefix(name, "/") || strings.HasPrefix(name, "~"):
		return Invalidf("path", "“%s” is a path of the machine. Files are mounted below the run's own folder: leave what leads there out.", name)
	case path.Clean(name) != name || name == "." || name == strings.TrimSuffix(SourcePrefix, "/"):
		return Invalidf("path", "“%s” is not the plain path of a file: no “..”, no “.”, no empty part, no slash at the end.", name)
	}
	for p := range strings.SplitSeq(name, "/") {
		switch {
		case p == "..":
			return Invalidf("path", "“%s” leads out of the run's folder. Leave “..” out.", name)
		case p == ".terraform" || p == ".git":
			return Invalidf("path", "“%s” would lie in a folder %s, which belongs to the tool. Choose another folder.", name, p)
		case strings.HasPrefix(p, "groundcrew_override."):
			return Invalidf("path", "%s is a name that Groundcrew needs for itself. Choose another one.", p)
		case len(p) > 200:
			return Invalidf("path", "A part of the path has %d bytes; 200 is the most.", len(p))
		}
	}
	return nil
}

// InTheWay reports whether two files cannot both be there: one path is the other, or a folder of it.
func InTheWay(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

// SecretsOfFile lists what of a secret file is looked for in text besides the whole of it and its lines: values between double quotes,
// and what stands after the first = or : of a line. So the key of a kubeconfig, a tfvars or an env file is found without the
// line around it.
func SecretsOfFile(content []byte) []string {
	if !utf8.Valid(content) { // it cannot be printed as it is, nor handed on as text; encoded it can
		return []string{wrapped(base64.StdEncoding.EncodeToString(content)), base64.RawStdEncoding.EncodeToString(content), hex.EncodeToString(content)}
	}
	text := string(content)
	var list []string
	for line := range strings.Lines(text) {
		for i, part := range strings.Split(line, `"`) {
			if i%2 == 1 {
				list = append(list, part)
			}
		}
		if at := strings.IndexAny(line, "=:"); at >= 0 {
			list = append(list, strings.Trim(strings.TrimSpace(line[at+1:]), `"',;`))
		}
	}
	list = slices.DeleteFunc(list, func(s string) bool { return len(s) < minFileSecret })
	slices.Sort(list)
	return append(slices.Compact(list), text)
}

// wrapped breaks a text into lines of 76 characters, as the usual programs write base64: each line is looked for by itself.
func wrapped(text string) string {
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	return b.String() + text
}

// minFileSecret is the least length of a value inside a secret file that is looked for by itself: shorter ones are words that
// turn up everywhere.
const minFileSecret = 8
