package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
)

const (
	minSecret = 4 // bytes a value must have to be looked for at all
	minLine   = 8 // bytes a line of a longer value must have to be looked for by itself
)

// forms lists how a secret may stand in text. Every form has at least minSecret bytes.
func forms(secret string) []string {
	v := strings.TrimSpace(secret)
	if len(v) < minSecret {
		return nil
	}
	list := append(escapes(v), encodings(v)...)
	if w := strings.TrimRight(secret, "\r\n"); w != v {
		list = append(list, base64s(w)...)
	}
	if len(secret) != len(v) {
		list = append(list, base64s(secret)...) // alignment and last character differ with what follows
	}
	for _, line := range lines(v) {
		list = append(list, escapes(line)...)
	}
	return list
}

// lines splits a value of several lines, also one whose line ends are written as \n, like the private key in
// a service account's JSON file.
func lines(v string) []string {
	var list []string
	for l := range strings.SplitSeq(strings.ReplaceAll(v, `\n`, "\n"), "\n") {
		if l = strings.TrimSpace(l); len(l) >= minLine && l != v {
			list = append(list, l)
		}
	}
	return list
}

// escapes lists v itself and v escaped as text inside other text.
func escapes(v string) []string {
	list := []string{
		v,
		hcl(v), hcl(hcl(v)),
		strings.ReplaceAll(v, `'`, `'\''`),
		strings.ReplaceAll(v, "\n", "\r\n"),
		html.EscapeString(v),
		inner(strconv.Quote(v)),
		inner(strconv.QuoteToASCII(v)),
	}
	for _, j := range jsons(v) {
		list = append(list, j)
		list = append(list, jsons(j)...)
	}
	return append(list, urls(v)...)
}

// jsons lists the ways JSON writers write v between quotes.
func jsons(v string) []string {
	marshalled, err := json.Marshal(v)
	if err != nil {
		return nil // a string always marshals
	}
	safe := inner(string(marshalled)) // <, > and & as \u003c
	plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(safe)
	return []string{safe, plain, strings.ReplaceAll(plain, "/", `\/`), ascii(plain)}
}

// ascii writes everything outside ASCII as \uXXXX, as Python's json does.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// hcl writes v as between the quotes of an HCL string, the way both tools print values.
func hcl(v string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "${", "$${", "%{", "%%{").Replace(v)
}

// urls lists v escaped for queries and paths, with digits in both cases and with the characters that only
// some writers escape.
func urls(v string) []string {
	query := url.QueryEscape(v)
	strict := strings.ReplaceAll(query, "+", "%20")
	script := strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(strict)
	var list []string
	for _, u := range []string{query, strict, script, url.PathEscape(v), url.UserPassword("", v).String()[1:]} {
		list = append(list, u, lowerEscapes(u))
	}
	return list
}

// lowerEscapes writes the digits of %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

// encodings lists v as hexadecimal and base64.
func encodings(v string) []string {
	h := hex.EncodeToString([]byte(v))
	return append(base64s(v), h, strings.ToUpper(h))
}

// base64s lists v in base64: whole, the part that stays the same when it stands at any place inside something
// longer, and cut into lines by the usual tools.
func base64s(v string) []string {
	var list []string
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		list = append(list, enc.EncodeToString([]byte(v)))
		for before := range 3 {
			list = append(list, stable(enc, v, before))
		}
		for _, width := range []int{57, 48} { // bytes that make a line of 76 (MIME, base64) and 64 (PEM) characters
			list = append(list, wrapped(enc, v, width)...)
		}
	}
	return list
}

// stable returns the characters of v's base64 that depend on v alone when `before` bytes (mod 3) stand before
// it and anything after it.
func stable(enc *base64.Encoding, v string, before int) string {
	coded := enc.EncodeToString([]byte("\x00\x00"[:before] + v))
	first := (before*8 + 5) / 6
	last := (before + len(v)) * 8 / 6
	return coded[first:last]
}

func wrapped(enc *base64.Encoding, v string, width int) []string {
	var list []string
	for len(v) > width {
		list = append(list, enc.EncodeToString([]byte(v[:width])))
		v = v[width:]
	}
	if list != nil && len(v) >= minLine {
		list = append(list, enc.EncodeToString([]byte(v)))
	}
	return list
}

// inner removes the quotes around a quoted string.
func inner(quoted string) string { return quoted[1 : len(quoted)-1] }
