package web

import (
	"net/http"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// A channelJSON is a notification channel. The address is shown by its host only; the signing secret is answered once,
// when it is made.
type channelJSON struct {
	ID            string       `json:"id"`
	Name          string       `json:"name"`
	Kind          string       `json:"kind"` // email, webhook, chat
	Enabled       bool         `json:"enabled"`
	Events        []runs.Topic `json:"events"`
	Stacks        []string     `json:"stacks"`
	Labels        []string     `json:"labels"`
	Proposed      bool         `json:"proposed"`
	URLHost       string       `json:"url_host"`
	SigningSecret string       `json:"signing_secret,omitempty"`
	CAPEM         string       `json:"ca_pem"`
	AllowLocal    bool         `json:"allow_local"`
	GiveUpMinutes int          `json:"give_up_minutes"`
	SMTP          *smtpJSON    `json:"smtp"`
	CreatedAt     time.Time    `json:"created_at"`
	CreatedBy     string       `json:"created_by"`
	ToldAt        *time.Time   `json:"told_at"`
	FailedAt      *time.Time   `json:"failed_at"`
	LastError     string       `json:"last_error"`
	GivenUp       bool         `json:"given_up"`
}

// An smtpJSON is how an e-mail channel sends; its password is write only.
type smtpJSON struct {
	Host     string      `json:"host"`
	Port     int         `json:"port"`
	Security string      `json:"security"` // starttls, tls, none
	Username string      `json:"username"`
	Password runs.Secret `json:"password,omitempty"`
	From     string      `json:"from"`
	To       []string    `json:"to"`
}

func channelOut(c store.Channel) channelJSON {
	j := channelJSON{
		ID: c.ID, Name: c.Name, Kind: c.Kind, Enabled: !c.Off, Events: c.Topics, Stacks: orEmpty(c.Stacks), Labels: orEmpty(c.Labels), Proposed: c.Proposed,
		CAPEM: c.CA, AllowLocal: c.AllowLocal, GiveUpMinutes: int(c.Patience().Minutes()), CreatedAt: c.CreatedAt.UTC(), CreatedBy: c.CreatedBy,
		ToldAt: at(c.ToldAt), FailedAt: at(c.FailedAt), LastError: c.LastError, GivenUp: c.GivenUp,
	}
	if c.Kind == store.ChannelEmail {
		j.SMTP = &smtpJSON{Host: c.SMTP.Host, Port: c.SMTP.Port, Security: c.SMTP.Security, Username: c.SMTP.Username, From: c.SMTP.From, To: c.SMTP.To}
	} else {
		j.URLHost = receiverHost(c.URL)
	}
	return j
}

// A channelInput makes or changes a channel; what is absent stays as it is.
type channelInput struct {
	Name          *string       `json:"name"`
	Kind          *string       `json:"kind"` // never changes
	Enabled       *bool         `json:"enabled"`
	Events        *[]runs.Topic `json:"events"`
	Stacks        *[]string     `json:"stacks"`
	Labels        *[]string     `json:"labels"`
	Proposed      *bool         `json:"proposed"`
	URL           *runs.Secret  `json:"url"`
	SigningSecret *runs.Secret  `json:"signing_secret"`
	CAPEM         *string       `json:"ca_pem"`
	AllowLocal    *bool         `json:"allow_local"`
	GiveUpMinutes *int          `json:"give_up_minutes"`
	SMTP          *smtpJSON     `json:"smtp"`
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (in channelInput) onto(c *store.Channel) {
	c.URL, c.Signing, c.Password = "", "", "" // absent ones are kept by the engine
	set(&c.Name, in.Name)
	set(&c.Topics, in.Events)
	set(&c.Stacks, in.Stacks)
	set(&c.Labels, in.Labels)
	set(&c.Proposed, in.Proposed)
	set(&c.URL, in.URL)
	set(&c.Signing, in.SigningSecret)
	set(&c.CA, in.CAPEM)
	set(&c.AllowLocal, in.AllowLocal)
	set(&c.GiveUp, in.GiveUpMinutes)
	if in.Enabled != nil {
		c.Off = !*in.Enabled
	}
	if s := in.SMTP; s != nil {
		c.SMTP, c.Password = store.SMTP{Host: s.Host, Port: s.Port, Security: s.Security, Username: s.Username, From: s.From, To: s.To}, s.Password
	}
}

func (s *Server) apiChannels(c *request) error {
	var items []channelJSON
	err := s.st.View(func(tx *store.Tx) error {
		list, err := tx.Channels()
		for _, ch := range list {
			items = append(items, channelOut(ch))
		}
		return err
	})
	if err != nil {
		return err
	}
	return pagedByID(c, items, func(ch channelJSON) string { return ch.ID })
}

func (s *Server) apiCreateChannel(c *request) error {
	var in channelInput
	if err := decode(c, &in); err != nil {
		return err
	}
	var ch store.Channel
	set(&ch.Kind, in.Kind)
	in.onto(&ch)
	ch, err := s.eng.SaveChannel(ch, c.who.Name)
	if err != nil {
		return err
	}
	j := channelOut(ch)
	j.SigningSecret = ch.Signing.Reveal()
	return created(c, "/api/v1/notifications/"+ch.ID, j)
}

func (s *Server) apiChannel(c *request) error {
	ch, err := s.channel(c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, channelOut(ch))
}

func (s *Server) apiPatchChannel(c *request) error {
	var in channelInput
	if err := decode(c, &in); err != nil {
		return err
	}
	ch, err := s.channel(c.Param("id"))
	if err != nil {
		return err
	}
	if in.Kind != nil && *in.Kind != ch.Kind {
		return runs.Conflictf("A channel's kind never changes. Make another channel.")
	}
	in.onto(&ch)
	if ch, err = s.eng.SaveChannel(ch, c.who.Name); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, channelOut(ch))
}

func (s *Server) apiDeleteChannel(c *request) error {
	if err := s.eng.DeleteChannel(c.Param("id"), c.who.Name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// A channelTestJSON is what came of a test, with the peer's words.
type channelTestJSON struct {
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

func (s *Server) apiTestChannel(c *request) error {
	err := s.eng.TestChannel(c.Request().Context(), c.Param("id"), c.who.Name)
	if _, text, ok := formErrors(err); ok && statusOf(err) == http.StatusConflict {
		return c.JSON(http.StatusOK, channelTestJSON{Message: text})
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, channelTestJSON{OK: true, Message: "It arrived."})
}
