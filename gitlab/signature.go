package gitlab

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	signingPrefix = "whsec_"
	// signatureAge is how far the time of a signed delivery may be from ours: the habit of Standard Webhooks.
	signatureAge = 5 * time.Minute
	// maxSignatures bounds the entries of webhook-signature that are looked at.
	maxSignatures = 10
)

// NewSigningToken makes a signing token in GitLab's form: whsec_ and 32 random bytes in base64 (CONTRACT §7).
func NewSigningToken() Token {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	return Token(signingPrefix + base64.StdEncoding.EncodeToString(key[:]))
}

// Signed reports whether the delivery carries a signature at all.
func Signed(h http.Header) bool { return h.Get("Webhook-Signature") != "" }

// A SignatureFault says why a signed delivery is not authentic.
type SignatureFault string

// The faults of a signature.
const (
	SignatureGood  SignatureFault = ""
	SignatureWrong SignatureFault = "wrong signature"
	SignatureOld   SignatureFault = "old signature" // or from the future: a delivery that was recorded and sent again, or a wrong clock
)

// CheckSignature verifies the signature GitLab 19.0 and later put on a delivery (CONTRACT §W1): HMAC-SHA256 over id, time and
// body with any of the signing tokens, each list entry compared in constant time, no older or newer than five minutes.
func CheckSignature(h http.Header, body []byte, tokens []Token, now time.Time) SignatureFault {
	id, stamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" {
		return SignatureWrong
	}
	entries := strings.Fields(h.Get("Webhook-Signature"))
	found := false
	for _, token := range tokens {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(token.Reveal(), signingPrefix))
		if err != nil || len(key) == 0 {
			continue
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		for _, e := range entries[:min(len(entries), maxSignatures)] {
			found = hmac.Equal([]byte(e), want) || found
		}
	}
	switch {
	case !found:
		return SignatureWrong
	case now.Sub(time.Unix(seconds, 0)).Abs() > signatureAge:
		return SignatureOld
	}
	return SignatureGood
}
