package runs

import "strings"

// MaxNote is the most bytes of the note that a person gives with an act.
const MaxNote = 1000

// maxAbout is the most bytes of what a person writes about a stack.
const maxAbout = 2000

// CheckName checks what a person calls a thing: 1 to 100 bytes, all of them printable, because names stand in logs, mails and
// comments. ask is the error's text where there is no such name. The error is an [ErrInvalid] of the field name.
func CheckName(name, ask string) error {
	switch {
	case strings.TrimSpace(name) == "" || len(name) > 100:
		return Invalidf("name", "%s", ask)
	case unprintable(name):
		return Invalidf("name", "The name holds a line break or another character that cannot be printed.")
	default:
		return nil
	}
}

// CheckNote checks the note that a person gives with an act: it stands in the run's row and goes to GitLab and into messages.
// The error is an [ErrInvalid] of the field note.
func CheckNote(note string) error { return checkText("note", note, MaxNote) }

// checkText checks a text of several lines.
func checkText(field, text string, most int) error {
	switch {
	case len(text) > most:
		return Invalidf(field, "The %s has %d bytes; %d is the most.", field, len(text), most)
	case unprintable(strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(text)):
		return Invalidf(field, "The %s holds a character that cannot be printed.", field)
	default:
		return nil
	}
}
