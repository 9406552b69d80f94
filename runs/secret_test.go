package runs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const hush = "glpat-hush-hush"

// holder has a secret wherever one can be: in a field, behind a pointer, in a slice and in a map.
type holder struct {
	Token   Secret
	Pointer *Secret
	List    []Secret
	Map     map[string]Secret
	Any     any
	Inner   struct{ Token Secret }
}

func held() holder {
	s := Secret(hush)
	h := holder{Token: s, Pointer: &s, List: []Secret{s}, Map: map[string]Secret{"k": s}, Any: s}
	h.Inner.Token = s
	return h
}

func TestSecretIsHiddenFromFmt(t *testing.T) {
	s := Secret(hush)
	for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t %c %T %20v %-20s %.3s %e") {
		for _, v := range []any{s, &s, held(), []any{s}, fmt.Errorf("no entry with %v", s), struct{ Secret }{s}} {
			hiddenIn(t, fmt.Sprintf(verb, v), verb)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "[secret]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	hiddenIn(t, fmt.Sprint(s, held())+fmt.Sprintln(s)+s.String(), "Sprint")
	hiddenIn(t, errors.Join(fmt.Errorf("%w and %v", ErrInvalid, s), fmt.Errorf("%v", held())).Error(), "errors")
}

// hiddenIn fails when the text, its halves or its hexadecimal form stand in out.
func hiddenIn(t *testing.T, out, how string) {
	t.Helper()
	for _, form := range []string{hush, "hush", fmt.Sprintf("%x", hush), strings.ToUpper(fmt.Sprintf("%x", hush))} {
		if strings.Contains(out, form) {
			t.Errorf("%s shows the secret: %s", how, out)
		}
	}
}

func TestSecretIsHiddenFromLogs(t *testing.T) {
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(h).With("with", Secret(hush))
		log.Info("now", "token", Secret(hush), "holder", held(), slog.Group("g", "token", Secret(hush)), "list", []Secret{hush})
		log.Info(fmt.Sprint(Secret(hush)))
	}
	hiddenIn(t, out.String(), "slog")
	if strings.Count(out.String(), "[secret]") < 10 {
		t.Errorf("what was logged: %s", out.String())
	}
}

func TestSecretIsHiddenFromJSON(t *testing.T) {
	raw, err := json.Marshal(held())
	if err != nil {
		t.Fatal(err)
	}
	hiddenIn(t, string(raw), "json")
	if strings.Count(string(raw), `"[secret]"`) != 6 {
		t.Errorf("got %s", raw)
	}
}

func TestSecretIsRead(t *testing.T) {
	var h holder
	if err := json.Unmarshal([]byte(`{"Token":"`+hush+`"}`), &h); err != nil {
		t.Fatal(err)
	}
	if h.Token.Reveal() != hush || Secret("").Reveal() != "" {
		t.Errorf("revealed %d bytes", len(h.Token.Reveal()))
	}
}
