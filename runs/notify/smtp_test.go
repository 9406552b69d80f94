package notify

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"
)

// A post is a mail server on loopback that speaks SMTP as RFC 5321 has it, with STARTTLS or TLS and AUTH PLAIN.
type post struct {
	t        *testing.T
	l        net.Listener
	security string // StartTLS, TLS, Clear
	conf     *tls.Config
	ca       string // PEM that signed its certificate
	password string // asked for when set
	refuse   string // the answer to RCPT, "" takes it

	mu   sync.Mutex
	got  []letterBox
	auth []string
}

// A letterBox is one e-mail as it arrived.
type letterBox struct {
	from string
	to   []string
	data string
	tls  bool
}

func newPost(t *testing.T, security string) *post {
	t.Helper()
	p := &post{t: t, security: security}
	p.conf, p.ca = authority(t, "localhost")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if p.l = l; security == TLS {
		p.l = tls.NewListener(l, p.conf)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := p.l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				p.serve(c)
			})
		}
	})
	t.Cleanup(func() { p.l.Close(); wg.Wait() })
	return p
}

// authority makes a certificate for a name, signed by a CA of its own.
func authority(t *testing.T, name string) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rawCA, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, own, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rawCA}))
}

func (p *post) serve(c net.Conn) {
	r := bufio.NewReader(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	_, secure := c.(*tls.Conn)
	say("220 test ESMTP")
	box := letterBox{tls: secure}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-test")
			if p.security == StartTLS && !box.tls {
				say("250-STARTTLS")
			}
			if p.password != "" {
				say("250-AUTH PLAIN LOGIN")
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go on")
			secured := tls.Server(c, p.conf)
			if secured.Handshake() != nil {
				return
			}
			c, r, box.tls = secured, bufio.NewReader(secured), true
		case "AUTH":
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(arg, "PLAIN "))
			p.mu.Lock()
			p.auth = append(p.auth, string(raw))
			p.mu.Unlock()
			if string(raw) != "\x00groundcrew\x00"+p.password {
				say("535 5.7.8 the password %s is wrong", p.password[:0]+strings.TrimPrefix(string(raw), "\x00groundcrew\x00"))
				continue
			}
			say("235 welcome")
		case "MAIL":
			box.from = arg
			say("250 ok")
		case "RCPT":
			if p.refuse != "" {
				say("%s", p.refuse)
				continue
			}
			box.to = append(box.to, arg)
			say("250 ok")
		case "DATA":
			say("354 go on")
			for {
				l, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				box.data += strings.TrimPrefix(l, ".")
			}
			p.mu.Lock()
			p.got = append(p.got, box)
			p.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (p *post) target() Target {
	return Target{CA: p.ca, AllowLocal: true, Mail: Mail{
		Host: "localhost", Port: p.l.Addr().(*net.TCPAddr).Port, Security: p.security,
		From: "Groundcrew <gc@corp.example>", To: []string{"oncall@corp.example", "Anna <anna@corp.example>"},
	}}
}

func (p *post) letters() []letterBox {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

// body is an e-mail's text, decoded.
func body(t *testing.T, l letterBox) (*mail.Message, string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(l.data))
	if err != nil {
		t.Fatalf("%v\n%s", err, l.data)
	}
	var r io.Reader = m.Body
	if strings.EqualFold(m.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		r = quotedprintable.NewReader(r)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return m, strings.ReplaceAll(string(raw), "\r\n", "\n")
}

func TestMail(t *testing.T) {
	for _, security := range []string{StartTLS, TLS, Clear} {
		t.Run(security, func(t *testing.T) {
			p := newPost(t, security)
			target := p.target()
			if security != Clear {
				p.password, target.Mail.Username, target.Mail.Password = "hunter2-hunter2", "groundcrew", "hunter2-hunter2"
			}
			if err := sender().Mail(t.Context(), target, plan()); err != nil {
				t.Fatal(err)
			}
			got := p.letters()
			if len(got) != 1 || len(got[0].to) != 2 || got[0].tls != (security != Clear) || !strings.Contains(got[0].from, "<gc@corp.example>") {
				t.Fatalf("%+v", got)
			}
			m, text := body(t, got[0])
			if m.Header.Get("Subject") != "[Groundcrew] network-prod: 1 to add · waits for confirmation" {
				dec := m.Header.Get("Subject")
				if !strings.HasPrefix(dec, "=?UTF-8?") {
					t.Errorf("subject %q", dec)
				}
			}
			if m.Header.Get("Message-Id") != "<01JNEWS@corp.example>" || m.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Errorf("header %v", m.Header)
			}
			if want := Plain(plan()); strings.TrimSpace(text) != strings.TrimSpace(want) {
				t.Errorf("text\n%s\nwant\n%s", text, want)
			}
		})
	}
}

// TestMailTrouble: what goes wrong is said with the server's words, and no password is ever sent in clear or repeated.
func TestMailTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *post, to *Target)
		words  string
		peer   bool
	}{
		"an unknown recipient": {func(p *post, _ *Target) { p.refuse = "550 5.1.1 nobody of that name here" }, "nobody of that name here", false},
		"a full mailbox":       {func(p *post, _ *Target) { p.refuse = "452 4.2.2 mailbox full" }, "mailbox full", true},
		"a wrong password": {func(p *post, to *Target) {
			p.password, to.Mail.Username, to.Mail.Password = "right", "groundcrew", "wrong-secret"
		}, "did not take it", true},
		"an unknown authority":   {func(_ *post, to *Target) { to.CA = "" }, "its certificate is not trusted", true},
		"no STARTTLS":            {func(p *post, _ *Target) { p.security = Clear }, "STARTTLS", true},
		"another name":           {func(p *post, _ *Target) { p.conf, _ = authority(p.t, "elsewhere.example") }, "its certificate is not trusted", true},
		"nobody there":           {func(p *post, _ *Target) { p.l.Close() }, "connection refused", true},
		"this machine":           {func(_ *post, to *Target) { to.AllowLocal = false }, "it is on this machine", true},
		"a name nobody knows":    {func(_ *post, to *Target) { to.Mail.Host = "nobody.invalid" }, "nobody.invalid", true},
		"a metadata service":     {func(_ *post, to *Target) { to.Mail.Host = "169.254.169.254" }, "never called", true},
		"a hostile display name": {func(_ *post, to *Target) { to.Mail.From = "x\r\nBcc: evil@example.com" }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPost(t, StartTLS)
			to := p.target()
			c.change(p, &to)
			err := sender().Mail(t.Context(), to, plan())
			own, ok := err.(*Error)
			if !ok || !strings.Contains(own.Words, c.words) || own.Peer != c.peer {
				t.Fatalf("%#v, want %q", err, c.words)
			}
			if strings.Contains(own.Words, "wrong-secret") || len(p.letters()) > 0 {
				t.Errorf("the password is repeated, or something was sent: %s", own.Words)
			}
		})
	}
}

// TestHeadersHold: a commit's title cannot make a header.
func TestHeadersHold(t *testing.T) {
	p := newPost(t, Clear)
	m := plan()
	m.Title = "x\r\nBcc: evil@example.com\r\n\r\nbody"
	if err := sender().Mail(t.Context(), p.target(), m); err != nil {
		t.Fatal(err)
	}
	got, _ := body(t, p.letters()[0])
	if got.Header.Get("Bcc") != "" || len(p.letters()[0].to) != 2 {
		t.Errorf("header %v", got.Header)
	}
}

func TestCheckMail(t *testing.T) {
	good := Mail{Host: "smtp.example.com", Port: 587, Security: StartTLS, From: "gc@example.com", To: []string{"a@example.com"}}
	if err := CheckMail(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Mail){
		"no host": func(m *Mail) { m.Host = "" }, "a port in the host": func(m *Mail) { m.Host = "smtp:25" }, "no port": func(m *Mail) { m.Port = 0 },
		"a protection of no kind": func(m *Mail) { m.Security = "ssl" }, "nobody": func(m *Mail) { m.To = nil }, "no address": func(m *Mail) { m.To = []string{"anna"} },
		"no sender": func(m *Mail) { m.From = "gc" }, "a password in clear": func(m *Mail) { m.Security, m.Password = Clear, "x" },
	} {
		m := good
		change(&m)
		if CheckMail(m) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
