package view

import "time"

// A Notice is trouble in the background that needs a person.
type Notice struct {
	Key         string // names it when it is dismissed
	Kind        string // KindBad, KindWarn or KindInfo
	Text        string // what happened
	Cause       string // why
	Mend        string // what to do
	LinkText    string // "" for none
	LinkURL     string
	Since       time.Time
	DismissedBy string
	Dismiss     Act // may this one be dismissed; the zero value: as the model says of all
}

// InboxModel is what needs a person in the background.
type InboxModel struct {
	Notices   []Notice
	Dismissed []Notice
	Dismiss   Act
	New       int // notices that came while the page was read
}

// dismiss is whether a notice may be dismissed, and why not.
func (n Notice) dismiss(all Act) Act {
	if n.Dismiss.Shown() && all.Shown() {
		return n.Dismiss
	}
	return all
}

func noticeWord(kind string) string {
	switch kind {
	case KindBad:
		return "trouble"
	case KindWarn:
		return "warning"
	default:
		return "to do"
	}
}
