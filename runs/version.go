package runs

import (
	"cmp"
	"slices"
	"time"
)

// A VersionState is where a version of a module stands.
type VersionState string

// The states of a version.
const (
	VersionPending VersionState = "pending" // its tests are at work
	VersionActive  VersionState = "active"  // usable, for ever
	VersionFailed  VersionState = "failed"  // never usable; its number may be tried again
)

// A ModuleVersion is one number of a module and the archive behind it. It is also the stored form.
type ModuleVersion struct {
	Module string       `json:"module"` // slug
	Number string       `json:"number"`
	State  VersionState `json:"state"`
	Reason string       `json:"reason,omitempty"` // why it failed, or is not usable yet
	Commit Commit       `json:"commit"`
	Tag    string       `json:"tag,omitempty"`
	Check  string       `json:"check"` // the last one made of it
	By     string       `json:"by,omitempty"`

	Digest    string     `json:"digest,omitempty"` // of the archive: sha256, hexadecimal
	Size      int64      `json:"size,omitempty"`   // of the archive in bytes
	Files     int        `json:"files,omitempty"`
	Interface *Interface `json:"interface,omitempty"`
	Breaking  []string   `json:"breaking,omitempty"` // what may break those who used the version before
	Against   string     `json:"against,omitempty"`  // which version that was

	YankedAt time.Time `json:"yanked_at,omitzero"` // bad: not listed any more, so no constraint chooses it
	YankedBy string    `json:"yanked_by,omitempty"`
	YankNote string    `json:"yank_note,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	ActiveAt  time.Time `json:"active_at,omitzero"`
}

// Yanked reports whether a person marked the version as bad.
func (v ModuleVersion) Yanked() bool { return !v.YankedAt.IsZero() }

// Usable reports whether the version is served.
func (v ModuleVersion) Usable() bool { return v.State == VersionActive }

// MayPublish says whether a commit may become the version that old (nil: none yet) has the number of. again says that
// it is this commit's already, and nothing is to be done. A number that was good once never becomes another commit's.
func MayPublish(old *ModuleVersion, number string, c Commit) (again bool, err error) {
	switch {
	case old == nil || old.State == VersionFailed:
		return false, nil
	case old.Commit.SHA == c.SHA:
		return true, nil
	case old.State == VersionPending:
		return false, Conflictf("Version %s is being tested already, at commit %s. Wait for its end, or use another number.", number, old.Commit.Short())
	default:
		return false, Conflictf("Version %s was published from commit %s and never changes. Use a new number.", number, old.Commit.Short())
	}
}

// SortVersions puts the highest number first. Numbers were checked when they were stored.
func SortVersions(list []ModuleVersion) {
	slices.SortFunc(list, func(a, b ModuleVersion) int {
		x, errX := ParseSemVer(a.Number)
		y, errY := ParseSemVer(b.Number)
		if errX != nil || errY != nil {
			return cmp.Compare(b.Number, a.Number)
		}
		return y.Compare(x)
	})
}

// Latest is the version that people should use: the highest one that is usable and not yanked, a release before a pre-release. The list is as
// [SortVersions] leaves it.
func Latest(list []ModuleVersion) (ModuleVersion, bool) {
	var pre *ModuleVersion
	for i, v := range list {
		n, err := ParseSemVer(v.Number)
		if err != nil || !v.Usable() || v.Yanked() {
			continue
		}
		if n.Pre == "" {
			return v, true
		}
		if pre == nil {
			pre = &list[i]
		}
	}
	if pre == nil {
		return ModuleVersion{}, false
	}
	return *pre, true
}

// A ModuleUse is a stack that was seen to use a version of a module. It is also the stored form.
type ModuleUse struct {
	Module  string    `json:"module"`
	Stack   string    `json:"stack"`
	Version string    `json:"version"` // the lowest, where a stack uses several
	Calls   []string  `json:"calls"`   // the module blocks, as init names them
	Run     string    `json:"run"`
	At      time.Time `json:"at"`
}
