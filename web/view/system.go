package view

import (
	"strings"
	"time"

	"groundcrew/runs"
)

// SystemModel is the page about this server.
type SystemModel struct {
	PublicModules, GitProjects string // one per line

	Version, Commit, GoVersion string
	Started                    time.Time
	Listen, ExternalURL        string
	DataDir                    string
	Room                       string // what is wrong with the room on the disk, "" for nothing
	DBBytes, FreeBytes         int64
	BackupAt                   time.Time // of the newest backup; zero: none yet
	BackupBytes                int64
	Limits                     []LimitRow
	Typed                      map[string]string // by limit, when one was refused
	Errors                     map[string]string
	DeliveryDays, ReportDays   string // days they are kept, or what was typed and refused
	Working, QueuedRuns        int
	Tools                      []ToolVersion
	ToolDirs                   []string
	Isolation                  []string // what this kernel cannot give, in words
	Received, Refused          int      // webhook deliveries within the last day
	ReportsWaiting             int
	ReportsParked              int
	CanAdmin                   bool
}

// A LimitRow is a limit that can be changed.
type LimitRow struct {
	Name, Label, Help string
	Off               string // what “off” means; "" when it can't be off
	Value             string // as it is, or as typed when it was refused
	Start             string // what the server was started with
	Flag              string
}

func (r LimitRow) help() string {
	text := r.Help
	if r.Off != "" {
		text += "; “off” is " + r.Off
	}
	if r.Value != r.Start {
		text += "; started with " + r.Start
	}
	return text + " (" + r.Flag + ")"
}

// SetupModel is the form for the first admin.
type SetupModel struct {
	Token, Name string
	Errors      map[string]string
	Error       string
}

// LoginModel is the sign-in form.
type LoginModel struct {
	Username, Next      string
	Error               string
	GitLab, PasswordOff bool // what is offered
}

// ErrorModel is the page of a refused request.
type ErrorModel struct {
	Status int    // of HTTP
	What   string // happened
	Why    string
	Do     string // what to do
	// Back is where the person came from, "" for the start page.
	Back string
}

func (m SystemModel) buildText() string {
	var parts []string
	if m.Commit != "" {
		parts = append(parts, "commit "+runs.ShortSHA(m.Commit))
	}
	if m.GoVersion != "" {
		parts = append(parts, m.GoVersion)
	}
	return strings.Join(parts, " · ")
}

// do is what to do about an error when nobody said.
func (m ErrorModel) do() string {
	if m.Do != "" {
		return m.Do
	}
	switch m.Status {
	case 404:
		return "Check the address, or find it in the lists."
	case 403:
		return "Ask an admin, or sign in as somebody who may."
	case 409:
		return "Load the page again to see how things stand now, then decide."
	case 422:
		return "Go back, mend what is named, and send it again."
	default:
		return "Try again. If it happens again, the server's log says more."
	}
}
