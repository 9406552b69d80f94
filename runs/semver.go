package runs

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// A SemVer is a version number as semver.org 2.0.0 writes it, without build metadata: the tools leave that out when they
// compare, so two archives could have one number.
type SemVer struct {
	Major, Minor, Patch uint64
	Pre                 string // "rc.1"; "" for a release
}

var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?$`)

// ParseSemVer reads a strict version number: MAJOR.MINOR.PATCH, with a pre-release or without. Its error says what is
// wrong with it.
func ParseSemVer(text string) (SemVer, error) {
	m := semver.FindStringSubmatch(text)
	if m == nil || len(text) > 64 {
		return SemVer{}, Invalidf("version", "“%s” is no version number. Use MAJOR.MINOR.PATCH like 1.4.0, without leading zeros; 1.4.0-rc.1 is a pre-release.", Shorten(text, 64))
	}
	v := SemVer{Pre: m[4]}
	for i, to := range []*uint64{&v.Major, &v.Minor, &v.Patch} {
		n, err := strconv.ParseUint(m[i+1], 10, 63)
		if err != nil {
			return SemVer{}, Invalidf("version", "“%s” is no version number: %s is too large.", text, m[i+1])
		}
		*to = n
	}
	return v, nil
}

// String writes the number as it was read.
func (v SemVer) String() string {
	s := strconv.FormatUint(v.Major, 10) + "." + strconv.FormatUint(v.Minor, 10) + "." + strconv.FormatUint(v.Patch, 10)
	if v.Pre != "" {
		s += "-" + v.Pre
	}
	return s
}

// Compare orders versions by precedence (semver.org §11): negative when v comes before o.
func (v SemVer) Compare(o SemVer) int {
	return cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch), comparePre(v.Pre, o.Pre))
}

func comparePre(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1 // a release comes after its pre-releases
	case b == "":
		return -1
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if c := compareIdentifier(x[i], y[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

func compareIdentifier(a, b string) int {
	numA, numB := isNumber(a), isNumber(b)
	switch {
	case numA && numB: // without leading zeros the longer one is the larger
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	case numA:
		return -1
	case numB:
		return 1
	default:
		return strings.Compare(a, b)
	}
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// Allows reports whether going from o to v may break those who use o: a new major version, or a new minor one before 1.0.0.
func (v SemVer) Allows(o SemVer) bool {
	return v.Major > o.Major || o.Major == 0 && v.Major == 0 && v.Minor > o.Minor
}

// Shorten cuts a text by characters.
func Shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
