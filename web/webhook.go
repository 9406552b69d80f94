package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/metrics"
)

// maxHook is the largest webhook body taken: GitLab's own limit (PRODUCT §3).
const maxHook = 25 << 20

// drainHook is how much of a body that is too large is read and thrown away, so that the sender hears the
// answer instead of a broken connection.
const drainHook = 50 << 20

// postWebhook takes a delivery: who is it from, is it small enough, onto the disk, answer. It is parsed later
// by the engine, so a body that nobody understands is an answered delivery with a verdict, not a failure that
// makes GitLab switch the hook off.
func (s *Server) postWebhook(c *request) error {
	r := c.Request()
	in, linked, err := s.integration()
	if err != nil {
		return err
	}
	if why := refusal(r.Header, in, linked); why != "" {
		if linked {
			s.refusedHook(metrics.RefusedSecret)
		} else {
			s.refusedHook(metrics.RefusedUnlinked)
		}
		s.storeRefused(c, why, nil)
		return errWrongHook
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxHook))
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		_, _ = io.CopyN(io.Discard, r.Body, drainHook) // whatever is left or not, the answer is the same
		s.refusedHook(metrics.RefusedSize)
		s.storeRefused(c, "refused: the body is larger than 25 MB", nil)
		return err
	}
	if err != nil {
		return fmt.Errorf("the body of a delivery broke off: %w", err)
	}
	if why := badSignature(r.Header, body, in); why != "" {
		s.refusedHook(metrics.RefusedSignature)
		s.storeRefused(c, why, body)
		return errWrongHook
	}
	if why, err := s.unsigned(r.Header, body, in); err != nil {
		return err
	} else if why != "" {
		s.refusedHook(metrics.RefusedSignature)
		s.storeRefused(c, why, body)
		return errWrongHook
	}
	project, echo := s.eng.Echo(r.Header, body)
	d, known, err := s.st.AddDelivery(store.Delivery{
		ProjectID: project, Echo: echo, Signed: gitlab.Signed(r.Header) && len(in.SigningSecrets(time.Now())) > 0, Key: gitlab.DeliveryKey(r.Header, body), Event: eventOf(r.Header), Headers: keptHeaders(r.Header),
	}, body)
	if err != nil {
		s.eng.Unstored() // GitLab does not send it again
		return err
	}
	if echo {
		s.eng.Heard(d)
	}
	if known {
		return c.JSON(http.StatusOK, hookAnswer{Duplicate: true})
	}
	return c.JSON(http.StatusOK, hookAnswer{ID: d.ID})
}

// errWrongHook is answered to every request that is not authentic, whatever is wrong with it.
var errWrongHook = &runs.Error{Kind: errUnauthorized, Message: "The webhook secret is missing or wrong. Copy it from Settings › VCS providers › GitLab into the hook's settings in GitLab, or install the hook again."}

// A hookAnswer tells GitLab's delivery log what became of a delivery.
type hookAnswer struct {
	ID        string `json:"id,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"` // it was here before; nothing is done twice
}

// integration returns the integration, and whether it is linked.
func (s *Server) integration() (in store.Integration, linked bool, err error) {
	err = s.st.View(func(tx *store.Tx) (err error) {
		in, linked, err = tx.Integration()
		return err
	})
	return in, linked && in.Linked, err
}

// refusal is the verdict on a request that is not authentic, "" when it is. It names no secret.
func refusal(h http.Header, in store.Integration, linked bool) string {
	if !linked {
		return "refused: GitLab is not set up here"
	}
	var secrets []gitlab.Token
	for _, s := range in.Secrets(time.Now()) {
		secrets = append(secrets, gitlab.Token(s.Reveal()))
	}
	switch {
	case gitlab.Authentic(h, secrets):
		return ""
	case h.Get("X-Gitlab-Token") == "" && gitlab.Signed(h) && len(in.SigningSecrets(time.Now())) > 0:
		return "" // the signature decides, once the body is here
	case h.Get("X-Gitlab-Token") == "":
		return "refused: no secret"
	default:
		return "refused: wrong secret"
	}
}

// badSignature is the verdict on a signed delivery whose signature does not fit, "" when it does or there is none. A signature
// that is there must fit, whatever else the request brings: it alone covers the body and the time.
func badSignature(h http.Header, body []byte, in store.Integration) string {
	now := time.Now()
	var tokens []gitlab.Token
	for _, s := range in.SigningSecrets(now) {
		tokens = append(tokens, gitlab.Token(s.Reveal()))
	}
	if !gitlab.Signed(h) || len(tokens) == 0 {
		return ""
	}
	if fault := gitlab.CheckSignature(h, body, tokens, now); fault != gitlab.SignatureGood {
		return "refused: " + string(fault)
	}
	return ""
}

// unsigned is the verdict on a delivery that is authentic by its secret alone, although it should be signed; "" when it
// need not be. The secret goes over the wire with each delivery and can be recorded; whoever has it must not get around the
// signature by leaving it out. Which project's events the request brings is what its body says, and that is what the engine will act on.
func (s *Server) unsigned(h http.Header, body []byte, in store.Integration) (why string, err error) {
	switch {
	case in.RequireSigned == store.SignedNever, gitlab.Signed(h) && len(in.SigningSecrets(time.Now())) > 0:
		return "", nil
	case in.RequireSigned == store.SignedAlways:
		return "refused: not signed", nil
	case !engine.Signs(in.Health.Version):
		return "", nil
	}
	claim, err := gitlab.ReadHook(h, body)
	if err != nil {
		return "", nil // nothing can come of it but a verdict
	}
	err = s.st.View(func(tx *store.Tx) error {
		row, err := tx.Hook(claim.ProjectID)
		if row.Signs() {
			why = "refused: not signed, although the hook of this project signs"
		}
		return err
	})
	return why, err
}

// claimSize is how much of a refused request is read to learn which project it says it is of.
const claimSize = 256 << 10

// storeRefused records a refused request, at most one a second: strangers do not fill the disk. Which project it says it is
// of is noted, because that is how a hook with a wrong secret is found; nothing else of it is believed.
func (s *Server) storeRefused(c *request, verdict string, body []byte) {
	if !s.refusals.Allow() {
		return
	}
	h := c.Request().Header
	if body == nil {
		body, _ = io.ReadAll(io.LimitReader(c.Request().Body, claimSize)) // what did not come tells nothing
	}
	var claim gitlab.Hook
	if len(body) < claimSize {
		claim, _ = gitlab.ReadHook(h, body) // what cannot be read claims nothing
	}
	d := store.Delivery{
		State: store.DeliveryRefused,
		Event: eventOf(h), Verdict: verdict, Project: cut(claim.ProjectPath, 200), ProjectID: claim.ProjectID,
		Headers: map[string]string{"From": c.RealIP(), "X-Gitlab-Instance": cut(h.Get("X-Gitlab-Instance"), 200)},
	}
	if err := s.st.AddRefused(d); err != nil {
		s.log.Error("a refused delivery could not be recorded", "error", err)
		return
	}
	s.eng.Heard(d)
}

func eventOf(h http.Header) string { return cut(h.Get("X-Gitlab-Event"), 100) }

// cut shortens a text from outside to n bytes at most, without breaking a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

// keptHeaders are the headers of a delivery without anything that could be a secret.
func keptHeaders(h http.Header) map[string]string {
	kept := map[string]string{}
	for name := range h {
		low := strings.ToLower(name)
		secret := false
		for _, w := range []string{"token", "secret", "signature", "authorization", "cookie", "password", "key"} {
			secret = secret || strings.Contains(low, w)
		}
		if !secret || low == "idempotency-key" {
			kept[name] = cut(h.Get(name), 1000)
		}
	}
	return kept
}
