package runs

import (
	"cmp"
	"slices"
	"strings"
)

// An Origin says where an entry of a stack's environment comes from, and why that is attached.
type Origin struct {
	Context  string // slug; "" is the stack itself
	Name     string // of the context
	Priority int    // of an attachment made by a person
	Auto     bool   // attached by a label instead
	Label    string // that label
}

// Own reports whether the entry is the stack's own.
func (o Origin) Own() bool { return o.Context == "" }

// A Source is one set of entries of a stack's environment: its own, or those of a context.
type Source struct {
	Origin
	Variables []Variable
	Files     []File
}

// An Entry is a variable or a mounted file as the stack's runs get it.
type Entry[T any] struct {
	Value T
	From  Origin
	Over  []Origin // what it wins against, the nearest first
}

// An Environment is what a stack's runs get, by name and path.
type Environment struct {
	Variables []Entry[Variable]
	Files     []Entry[File]
}

// Precedence puts the contexts of a stack into the order in which they win: first those that people attached, by priority, the
// lowest first, and by slug among equals; then those that a label attaches, by slug. A context that is attached in both ways counts
// once, as attached by a person. Attachments of contexts that are not there are left out.
func Precedence(labels []string, attached []Attachment, contexts []Context) []Origin {
	var out []Origin
	for _, c := range contexts {
		i := slices.IndexFunc(attached, func(a Attachment) bool { return a.Context == c.Slug })
		label, auto := c.Attaches(labels)
		switch {
		case i >= 0:
			out = append(out, Origin{Context: c.Slug, Name: c.Name, Priority: attached[i].Priority})
		case auto:
			out = append(out, Origin{Context: c.Slug, Name: c.Name, Auto: true, Label: label})
		}
	}
	slices.SortFunc(out, func(a, b Origin) int {
		if a.Auto != b.Auto {
			if a.Auto {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Context, b.Context))
	})
	return out
}

// Resolve says what of the sources a run gets. The first source wins; a file wins also against files that cannot lie beside it, because
// one's path is a folder of the other's.
func Resolve(sources []Source) Environment {
	var env Environment
	for _, s := range sources {
		var files []Entry[File]
		for _, v := range s.Variables {
			same := func(e Entry[Variable]) bool { return e.Value.Name == v.Name }
			if i := slices.IndexFunc(env.Variables, same); i >= 0 {
				env.Variables[i].Over = append(env.Variables[i].Over, s.Origin)
				continue
			}
			env.Variables = append(env.Variables, Entry[Variable]{Value: v, From: s.Origin})
		}
		for _, f := range s.Files {
			lost := false
			for i := range env.Files {
				if InTheWay(env.Files[i].Value.Path, f.Path) {
					lost = true
					if !slices.Contains(env.Files[i].Over, s.Origin) {
						env.Files[i].Over = append(env.Files[i].Over, s.Origin)
					}
				}
			}
			if !lost {
				files = append(files, Entry[File]{Value: f, From: s.Origin})
			}
		}
		env.Files = append(env.Files, files...)
	}
	slices.SortFunc(env.Variables, func(a, b Entry[Variable]) int { return strings.Compare(a.Value.Name, b.Value.Name) })
	slices.SortFunc(env.Files, func(a, b Entry[File]) int { return strings.Compare(a.Value.Path, b.Value.Path) })
	return env
}
