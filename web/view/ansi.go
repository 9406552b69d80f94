package view

import "html"

// A Pen is the graphic state of a terminal between two pieces of a log. The zero value is plain.
type Pen struct{ class string }

// LogLines renders a piece of a phase's log that consists of whole lines as list items with ids
// ({phase}-L{number}), numbered from first, and returns the pen to go on with. Colours become classes; every
// other escape sequence is dropped; the text is escaped.
func LogLines(phase string, text []byte, first int, pen Pen) (string, Pen) {
	return html.EscapeString(string(text)), pen
}
