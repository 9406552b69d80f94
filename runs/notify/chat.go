package notify

import (
	"context"
	"encoding/json"
	"strings"
	"unicode"
)

// attachment is Slack's oldest form of a message, which Mattermost and Rocket.Chat take as well.
type attachment struct {
	Fallback  string      `json:"fallback"`
	Color     string      `json:"color"`
	Title     string      `json:"title"`
	TitleLink string      `json:"title_link,omitempty"`
	Text      string      `json:"text,omitempty"`
	Fields    []chatField `json:"fields,omitempty"`
	Footer    string      `json:"footer,omitempty"`
	TS        int64       `json:"ts,omitempty"`
}

type chatField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

var colours = map[string]string{"good": "#2e7d32", "warn": "#b26a00", "bad": "#c62828", "info": "#00707c"}

// Chat posts the message for people, as Slack and Mattermost show it.
func (s Sender) Chat(ctx context.Context, t Target, m Message) error {
	a := attachment{
		Fallback: chatText(m.Title), Color: colours[m.Tone], Title: chatText(m.Title), TitleLink: m.URL,
		Text: chatText(strings.TrimSpace(m.Text + "\n" + m.Mend)), Footer: "Groundcrew", TS: m.At.Unix(),
	}
	for _, f := range m.Fields {
		a.Fields = append(a.Fields, chatField{f.Name, chatText(f.Value), len(f.Value) < 40})
	}
	// The text is what phones show; the attachment says the rest.
	body, err := json.Marshal(map[string]any{"text": chatText(m.Title), "attachments": []attachment{a}})
	if err != nil {
		return err
	}
	return s.post(ctx, t, body, nil)
}

// chatText makes text from outside harmless: no mention, no link, no markup of Slack or Mattermost comes from a commit's
// message or an error. Slack asks for &, < and > escaped; a zero-width space after @ and ! keeps mentions from ringing.
func chatText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return -1
		}
		return r
	}, s)
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b", "`", "'", "](", "] (", "![", "! [").Replace(s)
}
