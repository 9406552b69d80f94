package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const password = `p4ß"w\ord${x}/+&<'é> end`

func TestString(t *testing.T) {
	r := New([]string{"hunter2222", "abcdef", "defghi", " \ttrimmed-value\n", "abc", "  x "})
	for in, want := range map[string]string{
		"":                             "",
		"nothing here":                 "nothing here",
		"hunter2222":                   "[secret]",
		"a hunter2222 b hunter2222.":   "a [secret] b [secret].",
		"hunter222":                    "hunter222",
		"abcdefghi!":                   "[secret]!", // overlapping secrets leave nothing of either
		"abcabcdef":                    "abc[secret]",
		"trimmed-value and abc and x":  "[secret] and abc and x",
		"hunterhunter2222hunter":       "hunter[secret]hunter",
		"the word secret stays secret": "the word secret stays secret",
	} {
		if got := r.String(in); got != want {
			t.Errorf("String(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNoSecrets(t *testing.T) {
	if got := New(nil).String("all of it"); got != "all of it" {
		t.Errorf("got %q", got)
	}
}

// written lists how real programs write a secret; each must be recognised.
func written(t testing.TB, v string) map[string]string {
	t.Helper()
	once, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(string(once))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"raw":                 v,
		"json":                string(once),
		"json in json":        string(twice),
		"base64":              base64.StdEncoding.EncodeToString([]byte(v)),
		"base64url":           base64.URLEncoding.EncodeToString([]byte(v)),
		"raw base64":          base64.RawStdEncoding.EncodeToString([]byte(v)),
		"raw base64url":       base64.RawURLEncoding.EncodeToString([]byte(v)),
		"hex":                 hex.EncodeToString([]byte(v)),
		"HEX":                 strings.ToUpper(hex.EncodeToString([]byte(v))),
		"query":               url.QueryEscape(v),
		"path":                url.PathEscape(v),
		"query in lower case": strings.ToLower(url.QueryEscape(strings.ToLower(v))),
		"user info":           url.UserPassword("u", v).String(),
		"base64 with newline": base64.StdEncoding.EncodeToString([]byte(v + "\n")),
	}
}

func TestForms(t *testing.T) {
	r := New([]string{password, strings.ToLower(password)})
	for name, text := range written(t, password) {
		got := r.String("<" + text + ">")
		rest := strings.ReplaceAll(got, Mark, "")
		if !strings.Contains(got, Mark) || len(rest) > len(`<"\"u:\"">`) {
			t.Errorf("%s: %q became %q", name, text, got)
		}
	}
}

// The base64 of a longer text that holds the secret shows at most the two characters at each end that mix its
// bits with its neighbours'.
func TestBase64AtEveryAlignment(t *testing.T) {
	secret := "s3cr3t-Value_9000"
	r := New([]string{secret})
	for before := range 7 {
		for after := range 4 {
			text := strings.Repeat("u", before) + secret + strings.Repeat("z", after)
			got := r.String(base64.StdEncoding.EncodeToString([]byte(text)))
			if !strings.Contains(got, Mark) {
				t.Errorf("%d before, %d after: %q", before, after, got)
			}
			rest := strings.ReplaceAll(got, Mark, "")
			if most := (before+after)*4/3 + 7; len(rest) > most {
				t.Errorf("%d before, %d after: %q leaves %d characters, %d are the most", before, after, got, len(rest), most)
			}
		}
	}
}

func TestLines(t *testing.T) {
	key := "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEA\nQ==\n-----END KEY-----\n"
	account, err := json.Marshal(map[string]string{"type": "service", "private_key": key})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Redactor{"key": New([]string{key}), "in JSON": New([]string{string(account)})} {
		got := r.String("  | MIIEvQIBADANBgkqhkiG9w0B\r\n  | AQEFAASCBKcwggSjAgEA\r\n  | Q==\r\n")
		if diff := cmp.Diff("  | [secret]\r\n  | [secret]\r\n  | Q==\r\n", got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := New([]string{key}).String("a\n" + key); got != "a\n[secret]\n" {
		t.Errorf("the whole key became %q", got)
	}
}

func TestWrappedBase64(t *testing.T) {
	secret := strings.Repeat("long secret value, ", 20)
	r := New([]string{secret})
	for _, width := range []int{64, 76} {
		for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(secret))), width) {
			if got := strings.TrimRight(r.String(string(line)), "="); got != Mark {
				t.Errorf("width %d: left: %q", width, got)
			}
		}
	}
}

func TestWriterHoldsBackOnlyBeginnings(t *testing.T) {
	var b bytes.Buffer
	w := New([]string{"secret-value"}).Writer(&b)
	for _, step := range []struct{ in, want string }{
		{"hello ", "hello "},
		{"sec", "hello "},
		{"ond ", "hello second "},
		{"secret-val", "hello second "},
		{"ue", "hello second [secret]"},
		{" sec", "hello second [secret] "},
	} {
		if _, err := w.Write([]byte(step.in)); err != nil {
			t.Fatal(err)
		}
		if b.String() != step.want {
			t.Errorf("after %q: %q, want %q", step.in, b.String(), step.want)
		}
	}
	if err := w.Close(); err != nil || b.String() != "hello second [secret] sec" {
		t.Errorf("after Close: %q, %v", b.String(), err)
	}
}

func TestWriterReportsErrors(t *testing.T) {
	broken := New([]string{"secret"}).Writer(failing{})
	if _, err := broken.Write([]byte("text")); !errors.Is(err, errBroken) {
		t.Errorf("Write: %v", err)
	}
}

var errBroken = errors.New("broken")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errBroken }

// FuzzSplit: however the stream is cut, what comes out is the same, and holds no form of any secret.
func FuzzSplit(f *testing.F) {
	f.Add("hunter2222", "abcabcd", "xx hunter2222 abcabcabcd", 3, 5)
	f.Add(password, "aaaa", "aaaaaaaa "+password+base64.StdEncoding.EncodeToString([]byte("u:"+password)), 1, 1)
	f.Add("line one of it\nline two of it", "[secret]", "line one of it\nline two of it[secret]", 2, 9)
	f.Fuzz(func(t *testing.T, one, two, text string, first, size int) {
		if len(one) > 200 || len(two) > 200 || size <= 0 || first < 0 {
			return
		}
		text += one + two + text + one
		r := New([]string{one, two})
		var b bytes.Buffer
		w := r.Writer(&b)
		for rest, n := text, first; ; n = size {
			n = min(n, len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; rest == "" {
				break
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if whole := r.String(text); b.String() != whole {
			t.Fatalf("cut: %q\nwhole: %q", b.String(), whole)
		}
		for _, form := range append(forms(one), forms(two)...) {
			for part := range strings.SplitSeq(b.String(), Mark) {
				if strings.Contains(part, form) {
					t.Fatalf("%q of %q, %q is left in %q", form, one, two, b.String())
				}
			}
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	secrets := []string{password, "hunter2222", strings.Repeat("key material ", 250)}
	secrets = append(secrets, strings.Fields("AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY glpat-xxxxxxxxxxxx")...)
	chunk := []byte(strings.Repeat("aws_instance.web[0]: Still creating... [1m10s elapsed]\n", 600))
	for name, data := range map[string][]byte{"log": chunk, "hostile": bytes.Repeat([]byte("key material "), 2500)} {
		b.Run(name, func(b *testing.B) {
			w := New(secrets).Writer(discard{})
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, _ = w.Write(data)
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
