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
}

// InboxModel is what needs a person in the background.
type InboxModel struct {
	Notices   []Notice
	Dismissed []Notice
	Dismiss   Act
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
