package gitlab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSignature(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ours, other := NewSigningToken(), NewSigningToken()
	if ours == other || !strings.HasPrefix(ours.Reveal(), "whsec_") {
		t.Fatal("signing tokens are not what GitLab takes")
	}
	sign := func(token Token, id, stamp, body string) string {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(token.Reveal(), "whsec_"))
		if err != nil || len(key) != 32 {
			t.Fatal(err, len(key))
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "." + body))
		return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	at := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	for name, c := range map[string]struct {
		id, stamp, signature string
		want                 SignatureFault
	}{
		"good":             {"a", at(0), sign(ours, "a", at(0), "body"), SignatureGood},
		"old secret":       {"a", at(0), sign(other, "a", at(0), "body"), SignatureGood},
		"second of a list": {"a", at(0), "v1,eA== v2,zzz " + sign(ours, "a", at(0), "body"), SignatureGood},
		"five minutes ago": {"a", at(-5 * time.Minute), sign(ours, "a", at(-5*time.Minute), "body"), SignatureGood},
		"older":            {"a", at(-301 * time.Second), sign(ours, "a", at(-301*time.Second), "body"), SignatureOld},
		"from the future":  {"a", at(301 * time.Second), sign(ours, "a", at(301*time.Second), "body"), SignatureOld},
		"other body":       {"a", at(0), sign(ours, "a", at(0), "bodies"), SignatureWrong},
		"other id":         {"b", at(0), sign(ours, "a", at(0), "body"), SignatureWrong},
		"other time":       {"a", at(time.Second), sign(ours, "a", at(0), "body"), SignatureWrong},
		"other key":        {"a", at(0), sign(NewSigningToken(), "a", at(0), "body"), SignatureWrong},
		"no time":          {"a", "", sign(ours, "a", "", "body"), SignatureWrong},
		"no id":            {"", at(0), sign(ours, "", at(0), "body"), SignatureWrong},
		"no signature":     {"a", at(0), "", SignatureWrong},
		"too long a list":  {"a", at(0), strings.Repeat("v1,eA== ", 10) + sign(ours, "a", at(0), "body"), SignatureWrong},
	} {
		h := http.Header{}
		h.Set("Webhook-Id", c.id)
		h.Set("Webhook-Timestamp", c.stamp)
		h.Set("Webhook-Signature", c.signature)
		if got := CheckSignature(h, []byte("body"), []Token{ours, "whsec_%%", other}, now); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
