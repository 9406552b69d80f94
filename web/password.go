package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"groundcrew/runs"
)

// The cost of a password hash: OWASP's second recommendation for argon2id.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
)

// A password's length in characters, and what is hashed at most in bytes.
const (
	minPassword = 10
	maxPassword = 1024
)

// validPassword checks a new password.
func validPassword(pw string) error {
	switch {
	case utf8.RuneCountInString(pw) < minPassword:
		return runs.Invalidf("password", "The password has fewer than %d characters. A few words make a good one.", minPassword)
	case len(pw) > maxPassword:
		return runs.Invalidf("password", "The password is longer than %d bytes.", maxPassword)
	}
	return nil
}

// hashPassword returns the PHC string of a password under a fresh salt.
func hashPassword(pw string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	key := argon2.IDKey([]byte(pw), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(key))
}

// passwordMatches reports whether pw has the PHC string. Anything that is not one of ours matches nothing.
func passwordMatches(phc, pw string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	var version int
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil || version != argon2.Version || time == 0 || threads == 0 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(pw), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// nobodysHash is checked for a name that does not exist, so that it takes as long as for one that does.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// checkPassword is passwordMatches with the memory of concurrent checks bounded.
func (s *Server) checkPassword(ctx context.Context, phc, pw string) (bool, error) {
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
		return passwordMatches(phc, pw), nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
