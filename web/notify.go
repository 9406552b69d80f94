package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/runs/notify"
	"groundcrew/store"
	"groundcrew/web/view"
)

const notificationsURL = "/settings/notifications"

func (s *Server) notificationsFrame(c *request, title string, more ...view.Crumb) (view.Page, error) {
	crumbs := []view.Crumb{{Text: "Settings", URL: "/settings/vcs"}, {Text: "Notifications", URL: notificationsURL}}
	return s.page(c, title, view.NavSettings, append(crumbs, more...)...)
}

// shownFailures is how many given-up notifications the page lists.
const shownFailures = 20

func (s *Server) getNotifications(c *request) error {
	p, err := s.notificationsFrame(c, "Notifications")
	if err != nil {
		return err
	}
	var m view.NotificationsModel
	err = s.st.View(func(tx *store.Tx) error {
		channels, err := tx.Channels()
		for _, ch := range channels {
			row := channelRow(ch)
			if err := tx.EachNotification(ch.ID, func(n store.Notification) bool {
				if n.State == store.NotificationWaiting {
					row.Waiting++
				} else {
					m.Failures = append(m.Failures, view.NotificationRow{Title: failureTitle(n), Channel: ch.Name, Error: n.LastError, At: n.At})
				}
				return true
			}); err != nil {
				return err
			}
			m.Channels = append(m.Channels, row)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(m.Failures, func(a, b view.NotificationRow) int { return b.At.Compare(a.At) })
	m.Failures = m.Failures[:min(len(m.Failures), shownFailures)]
	return render(c, http.StatusOK, view.NotificationsPage(p, m))
}

func failureTitle(n store.Notification) string {
	if n.Said.Title != "" {
		return n.Said.Title
	}
	return view.EventWord(n.Topic) + ": " + n.Said.Stack
}

func channelRow(c store.Channel) view.ChannelRow {
	row := view.ChannelRow{
		ID: c.ID, Name: c.Name, Kind: c.Kind, Where: reaches(c), Off: c.Off, LastError: c.LastError, ToldAt: c.ToldAt, FailedAt: c.FailedAt,
		Events: view.Count(len(c.Topics), "event", "events"),
	}
	var of []string
	if len(c.Labels) > 0 {
		of = append(of, "labelled "+strings.Join(c.Labels, ", "))
	}
	if len(c.Stacks) > 0 {
		of = append(of, strings.Join(c.Stacks, ", "))
	}
	if row.Stacks = "every stack"; len(of) > 0 {
		row.Stacks = "stacks " + strings.Join(of, " or ")
	}
	return row
}

// reaches says whom a channel reaches: of an address only its host, because the rest opens the door.
func reaches(c store.Channel) string {
	if c.Kind == store.ChannelEmail {
		return strings.Join(c.SMTP.To, ", ")
	}
	return receiverHost(c.URL)
}

func receiverHost(address runs.Secret) string {
	u, err := url.Parse(address.Reveal())
	if err != nil {
		return "?"
	}
	return u.Host
}

func (s *Server) channelForm(c *request, status int, m view.ChannelFormModel) error {
	title := m.Title()
	p, err := s.notificationsFrame(c, title, view.Crumb{Text: title})
	if err != nil {
		return err
	}
	return render(c, status, view.ChannelFormPage(p, m))
}

func (s *Server) getNewChannel(c *request) error {
	kind := c.QueryParam("kind")
	if !slices.Contains([]string{store.ChannelEmail, store.ChannelChat, store.ChannelWebhook}, kind) {
		kind = store.ChannelEmail
	}
	m := view.NewChannelForm(kind)
	if kind == store.ChannelWebhook {
		m.Signing = notify.NewSigning().Reveal() // made here, so that it can be copied before it is kept
	}
	return s.channelForm(c, http.StatusOK, m)
}

func (s *Server) channel(id string) (ch store.Channel, err error) {
	err = s.st.View(func(tx *store.Tx) (err error) {
		ch, err = tx.Channel(id)
		return err
	})
	return ch, err
}

func (s *Server) getChannel(c *request) error {
	ch, err := s.channel(c.Param("id"))
	if err != nil {
		return err
	}
	m := view.ChannelFormModel{
		ID: ch.ID, Kind: ch.Kind, Name: ch.Name, On: !ch.Off, Stacks: strings.Join(ch.Stacks, ", "), Labels: strings.Join(ch.Labels, ", "),
		Proposed: ch.Proposed, Host: receiverHost(ch.URL), CAPEM: ch.CA, AllowLocal: ch.AllowLocal, HasPassword: ch.Password != "",
		SMTP: view.SMTPForm{
			Host: ch.SMTP.Host, Port: strconv.Itoa(ch.SMTP.Port), Security: ch.SMTP.Security, Username: ch.SMTP.Username,
			From: ch.SMTP.From, To: strings.Join(ch.SMTP.To, ", "),
		},
	}
	if ch.GiveUp > 0 {
		m.GiveUp = strconv.Itoa(ch.GiveUp)
	}
	for _, t := range ch.Topics {
		m.Events = append(m.Events, string(t))
	}
	return s.channelForm(c, http.StatusOK, m)
}

// readChannel reads the form of a channel; the model is what is shown again when it is refused, without its secrets.
func readChannel(c *request) (store.Channel, view.ChannelFormModel, error) {
	v := func(name string) string { return strings.TrimSpace(c.FormValue(name)) }
	on := func(name string) bool { return c.FormValue(name) != "" }
	m := view.ChannelFormModel{
		ID: c.Param("id"), Kind: v("kind"), Name: v("name"), On: on("on"), Events: c.Request().PostForm["events"],
		Stacks: v("stacks"), Labels: v("labels"), Proposed: on("proposed"), CAPEM: v("ca_pem"), AllowLocal: on("allow_local"), GiveUp: v("give_up_minutes"),
		SMTP: view.SMTPForm{Host: v("smtp_host"), Port: v("smtp_port"), Security: v("smtp_security"), Username: v("smtp_username"), From: v("from"), To: v("to")},
	}
	ch := store.Channel{
		ID: m.ID, Name: m.Name, Kind: m.Kind, Off: !m.On, Stacks: split(m.Stacks, ","), Labels: split(m.Labels, ","), Proposed: m.Proposed,
		URL: runs.Secret(v("url")), Signing: runs.Secret(v("signing_secret")), Password: runs.Secret(c.FormValue("smtp_password")),
		CA: m.CAPEM, AllowLocal: m.AllowLocal,
	}
	if m.ID == "" {
		m.Signing = ch.Signing.Reveal() // a new one, not kept yet: it is still to be copied
	}
	for _, t := range m.Events {
		ch.Topics = append(ch.Topics, runs.Topic(t))
	}
	var err error
	if m.GiveUp != "" {
		if ch.GiveUp, err = strconv.Atoi(m.GiveUp); err != nil || ch.GiveUp < 1 {
			return ch, m, runs.Invalidf("give_up_minutes", "“%s” is no number of minutes.", m.GiveUp)
		}
	}
	if ch.Kind == store.ChannelEmail {
		ch.SMTP = store.SMTP{Host: m.SMTP.Host, Security: m.SMTP.Security, Username: m.SMTP.Username, From: m.SMTP.From, To: split(m.SMTP.To, ",")}
		if ch.SMTP.Port, err = strconv.Atoi(m.SMTP.Port); err != nil {
			return ch, m, runs.Invalidf("smtp_port", "“%s” is no port.", m.SMTP.Port)
		}
	}
	return ch, m, nil
}

func (s *Server) postChannel(c *request) error {
	ch, m, err := readChannel(c)
	if err == nil {
		ch, err = s.eng.SaveChannel(ch, c.who.Name)
	}
	if fields, text, ok := formErrors(err); ok {
		m.Errors, m.Error = fields, text
		if old, err := s.channel(m.ID); m.ID != "" && err == nil {
			m.Kind, m.Host, m.HasPassword = old.Kind, receiverHost(old.URL), old.Password != ""
		}
		return s.channelForm(c, statusOf(err), m)
	}
	return s.after(c, err, notificationsURL, "Saved. Test “"+ch.Name+"” to see that it arrives.")
}

func (s *Server) postDeleteChannel(c *request) error {
	return s.after(c, s.eng.DeleteChannel(c.Param("id"), c.who.Name), notificationsURL, "The channel is gone.")
}

// postTestChannel says what really came of it.
func (s *Server) postTestChannel(c *request) error {
	ch, err := s.channel(c.Param("id"))
	if err != nil {
		return err
	}
	err = s.eng.TestChannel(c.Request().Context(), ch.ID, c.who.Name)
	if _, text, ok := formErrors(err); ok {
		return s.flashTo(c, notificationsURL, view.KindBad, "The test over “"+ch.Name+"” did not arrive. "+text)
	}
	return s.after(c, err, notificationsURL, "The test over “"+ch.Name+"” was taken by "+reaches(ch)+".")
}
