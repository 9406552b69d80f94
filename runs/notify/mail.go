package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"groundcrew/runs"
)

// How a connection to a mail server is protected.
const (
	StartTLS = "starttls" // must be offered; never falls back to clear text
	TLS      = "tls"      // from the first byte
	Clear    = "none"     // not at all: for a relay on this machine or network
)

// CheckMail refuses what is no way to send e-mail.
func CheckMail(m Mail) error {
	switch {
	case m.Host == "" || strings.ContainsAny(m.Host, " /\r\n") || strings.Count(m.Host, ":") == 1:
		return runs.Invalidf("smtp_host", "Give the mail server's name, without a port, like smtp.example.com.")
	case m.Port < 1 || m.Port > 65535:
		return runs.Invalidf("smtp_port", "A port is a number from 1 to 65535: 587 for STARTTLS, 465 for TLS, 25 for a relay.")
	case m.Security != StartTLS && m.Security != TLS && m.Security != Clear:
		return runs.Invalidf("smtp_security", "Use starttls, tls or none.")
	case len(m.To) == 0 || len(m.To) > 50:
		return runs.Invalidf("to", "Give 1 to 50 addresses.")
	case m.Security == Clear && m.Password != "":
		return runs.Invalidf("smtp_security", "A password is not sent over an unprotected connection. Use STARTTLS or TLS.")
	}
	if _, err := mail.ParseAddress(m.From); err != nil {
		return runs.Invalidf("from", "“%s” is no e-mail address.", m.From)
	}
	for _, to := range m.To {
		if _, err := mail.ParseAddress(to); err != nil {
			return runs.Invalidf("to", "“%s” is no e-mail address.", to)
		}
	}
	return nil
}

// Mail sends the message as plain text to all addresses in one e-mail. Its Message-ID is made of the message's id, so
// that one sent twice can be seen to be the same.
func (s Sender) Mail(ctx context.Context, t Target, m Message) error {
	msg, err := letter(t.Mail, m)
	if err != nil {
		return &Error{Words: err.Error(), cause: err}
	}
	conf, err := tlsConfig(t, t.Mail.Host)
	if err != nil {
		return err
	}
	opts := []gomail.Option{
		gomail.WithPort(t.Mail.Port), gomail.WithTimeout(MailTime), gomail.WithTLSConfig(conf), gomail.WithoutNoop(), gomail.WithHELO("groundcrew"),
	}
	line := &line{dial: dialer(t.AllowLocal).DialContext}
	defer line.close()
	opts = append(opts, gomail.WithDialContextFunc(line.open))
	switch t.Mail.Security {
	case TLS:
		line.dial = (&tls.Dialer{NetDialer: dialer(t.AllowLocal), Config: conf}).DialContext
		// The connection is secure before the library sees it; with this policy it notices, and with WithSSL it would not.
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case StartTLS:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	default:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if t.Mail.Username != "" {
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(t.Mail.Username), gomail.WithPassword(t.Mail.Password.Reveal()))
	}
	c, err := gomail.NewClient(t.Mail.Host, opts...)
	if err != nil {
		return &Error{Words: "The mail server cannot be used: " + err.Error(), Peer: true, cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, MailTime)
	defer cancel()
	if err := c.DialAndSendWithContext(ctx, msg); err != nil {
		return mailError(t.Mail, err)
	}
	return nil
}

// A line is the connection of one e-mail. The library leaves it open when the server refuses early.
type line struct {
	dial gomail.DialContextFunc
	conn net.Conn
}

func (l *line) open(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dial(ctx, network, address)
	l.conn = conn
	return conn, err
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close() // closed already when all went well
	}
}

// letter is the e-mail, good to read in a terminal: what happened first, then the facts, then what to do and where.
func letter(to Mail, m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(to.From); err != nil {
		return nil, err
	}
	if err := msg.To(to.To...); err != nil {
		return nil, err
	}
	from, err := mail.ParseAddress(to.From)
	if err != nil {
		return nil, err
	}
	msg.Subject("[Groundcrew] " + oneLine(m.Title))
	msg.SetDateWithValue(m.At)
	msg.SetMessageIDWithValue(m.ID + from.Address[strings.LastIndex(from.Address, "@"):])
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // nobody's holiday reply comes back (RFC 3834)
	msg.SetGenHeader("X-Groundcrew-Topic", m.Topic)
	msg.SetBodyString(gomail.TypeTextPlain, Plain(m))
	return msg, nil
}

// Plain is the message as text.
func Plain(m Message) string {
	var b strings.Builder
	b.WriteString(oneLine(m.Title) + "\n")
	if m.Text != "" {
		b.WriteString("\n" + clean(m.Text) + "\n")
	}
	width := 0
	for _, f := range m.Fields {
		width = max(width, len(f.Name))
	}
	for i, f := range m.Fields {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  %-*s  %s\n", width, f.Name, oneLine(f.Value))
	}
	if m.Mend != "" {
		b.WriteString("\n" + clean(m.Mend) + "\n")
	}
	if m.URL != "" {
		fmt.Fprintf(&b, "\n%s:\n%s\n", m.LinkFor, m.URL)
	}
	return b.String()
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return -1
		}
		return r
	}, strings.TrimSpace(s))
}

func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

// mailError says what the mail server said. Its words are a line of SMTP, with the address it speaks of.
func mailError(m Mail, err error) *Error {
	var op *net.OpError
	if errors.Is(err, errNear) || errors.Is(err, errLinkLocal) || errors.As(err, &op) || timedOut(err) {
		return unreachable(m.Host, err)
	}
	var refused *gomail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() > 0 {
		return &Error{Words: m.Host + " refused: " + secretFree(m, refused.Error()), Peer: refused.IsTemp(), cause: err}
	}
	e := unreachable(m.Host, err)
	if strings.HasSuffix(e.Words, "the connection broke off.") {
		e.Words = fmt.Sprintf("%s did not take it: %s", m.Host, secretFree(m, err.Error()))
	}
	return e
}

// secretFree cuts a peer's words to a line, without the password, should it repeat it.
func secretFree(m Mail, s string) string {
	s = oneLine(s)
	if p := m.Password.Reveal(); p != "" {
		s = strings.ReplaceAll(s, p, "[secret]")
	}
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
