package store

import (
	"cmp"
	"time"

	"groundcrew/runs"
)

// DefaultPrefix begins the names of commit statuses and environments.
const DefaultPrefix = "groundcrew"

// What an integration says of deliveries that are not signed, see [Integration.RequireSigned].
const (
	SignedAlways = "always"
	SignedNever  = "never"
)

// An Integration is the one GitLab of this installation. Its secrets are sealed on disk and open in memory.
type Integration struct {
	APIURL        string `json:"api_url"`                // API host URL
	ExternalURL   string `json:"external_url,omitempty"` // user facing host URL, "" = the same
	CA            string `json:"ca_pem,omitempty"`
	StatusPrefix  string `json:"status_prefix,omitempty"`
	Aggregate     bool   `json:"aggregate,omitempty"`      // one status for each kind of run and commit, not for each stack
	PassUntouched bool   `json:"pass_untouched,omitempty"` // merge requests that concern no stack get a passing status
	// DestroyThreads opens a thread for what a plan destroys or replaces, unless a stack says otherwise.
	DestroyThreads bool `json:"destroy_threads,omitempty"`
	// RequireSigned says when a delivery that is not signed is refused: SignedAlways, SignedNever, or "" for as soon as the
	// project's hook has delivered signed.
	RequireSigned string    `json:"require_signed,omitempty"`
	Linked        bool      `json:"linked"` // false: unlinked, stacks are detached, secrets and token are gone
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`

	Token  runs.Secret `json:"-"`
	Secret runs.Secret `json:"-"` // the webhook secret
	// OldSecret stays valid until OldSecretUntil, so that hooks can be moved to the new one.
	OldSecret      runs.Secret `json:"-"`
	OldSecretUntil time.Time   `json:"old_secret_until,omitzero"`

	// SigningSecret signs deliveries of GitLab 19.0 and later; OldSigningSecret is valid as long as OldSecret.
	SigningSecret    runs.Secret `json:"-"`
	OldSigningSecret runs.Secret `json:"-"`

	AutoRotate bool      `json:"auto_rotate,omitempty"` // let GitLab renew the token before it expires
	Rotation   *Rotation `json:"rotation,omitempty"`    // the last attempt to

	SealedSigningSecret    string `json:"sealed_signing_secret,omitempty"`
	SealedOldSigningSecret string `json:"sealed_old_signing_secret,omitempty"`

	SealedToken     string `json:"sealed_token,omitempty"`
	SealedSecret    string `json:"sealed_secret,omitempty"`
	SealedOldSecret string `json:"sealed_old_secret,omitempty"`

	Health TokenHealth `json:"health"`
}

// TokenHealth is what GitLab last said of the token.
type TokenHealth struct {
	CheckedAt time.Time  `json:"checked_at,omitzero"`
	Active    bool       `json:"active"`
	Name      string     `json:"name,omitempty"`
	Username  string     `json:"username,omitempty"`
	UserID    int64      `json:"user_id,omitempty"`
	Scopes    []string   `json:"scopes,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Version   string     `json:"version,omitempty"`   // of GitLab
	Trouble   string     `json:"trouble,omitempty"`   // in words, "" when all is well
	Cause     string     `json:"cause,omitempty"`     // of Trouble: revoked, expired, unknown, blocked, scope, network, tls, …
	CreatedAt time.Time  `json:"created_at,omitzero"` // of the token; zero when GitLab does not say
}

// Prefix begins the names of what we write to GitLab.
func (in Integration) Prefix() string { return cmp.Or(in.StatusPrefix, DefaultPrefix) }

// BrowserURL is where people find GitLab.
func (in Integration) BrowserURL() string { return cmp.Or(in.ExternalURL, in.APIURL) }

// Secrets are the webhook secrets that are valid at the moment, newest first.
func (in Integration) Secrets(now time.Time) []runs.Secret {
	var out []runs.Secret
	if in.Secret != "" {
		out = append(out, in.Secret)
	}
	if in.OldSecret != "" && now.Before(in.OldSecretUntil) {
		out = append(out, in.OldSecret)
	}
	return out
}

// SigningSecrets are the signing secrets that are valid at the moment, newest first.
func (in Integration) SigningSecrets(now time.Time) []runs.Secret {
	var out []runs.Secret
	if in.SigningSecret != "" {
		out = append(out, in.SigningSecret)
	}
	if in.OldSigningSecret != "" && now.Before(in.OldSecretUntil) {
		out = append(out, in.OldSigningSecret)
	}
	return out
}

// Integration returns the integration; ok is false when none was ever set up. An unlinked one is returned
// with Linked false.
func (tx *Tx) Integration() (in Integration, ok bool, err error) {
	if ok, err = get(tx, "integration", "gitlab", &in); !ok || err != nil {
		return in, ok, err
	}
	for _, f := range in.sealedFields() {
		plain, err := tx.s.seal.openText("integration/gitlab/"+f.name, *f.sealed)
		if err != nil {
			return in, true, err
		}
		*f.plain = runs.Secret(plain)
	}
	return in, true, nil
}

// PutIntegration seals and stores the integration.
func (tx *Tx) PutIntegration(in Integration) error {
	for _, f := range in.sealedFields() {
		*f.sealed = tx.s.seal.lockText("integration/gitlab/"+f.name, f.plain.Reveal())
	}
	in.UpdatedAt = tx.now
	tx.changed.Jobs, tx.changed.Reports, tx.changed.Inbox, tx.changed.Links = true, true, true, true
	return put(tx, "integration", "gitlab", in)
}

type sealedField struct {
	name   string
	plain  *runs.Secret
	sealed *string
}

func (in *Integration) sealedFields() []sealedField {
	return []sealedField{
		{"token", &in.Token, &in.SealedToken},
		{"secret", &in.Secret, &in.SealedSecret},
		{"old_secret", &in.OldSecret, &in.SealedOldSecret},
		{"signing_secret", &in.SigningSecret, &in.SealedSigningSecret},
		{"old_signing_secret", &in.OldSigningSecret, &in.SealedOldSigningSecret},
	}
}

// Settings are the installation's own, changeable at run time.
type Settings struct {
	Workers      int `json:"workers,omitempty"`       // 0: as the server was started
	SessionIdle  int `json:"session_idle,omitempty"`  // hours; 0: [DefaultSessionIdle]
	SessionLife  int `json:"session_life,omitempty"`  // days; 0: [DefaultSessionLife]
	AuditDays    int `json:"audit_days,omitempty"`    // 0: [DefaultAuditDays]
	DeliveryDays int `json:"delivery_days,omitempty"` // days processed deliveries are kept; 0: DefaultDeliveryDays
	ReportDays   int `json:"report_days,omitempty"`   // days reports that are over are kept; 0: DefaultReportDays
	// PublicModules are the hosts of registries whose module addresses lead here inside runs.
	PublicModules []string `json:"public_modules,omitempty"`
	// GitProjects are patterns of the projects that every run may read over git, beside its own and those of modules.
	GitProjects []string `json:"git_projects,omitempty"`
	// Limits are all but Workers; what is 0 is as the server was started.
	Limits runs.Limits `json:"limits,omitzero"`
}

// Settings returns the installation's settings.
func (tx *Tx) Settings() (Settings, error) {
	var s Settings
	_, err := get(tx, "settings", "system", &s)
	return s, err
}

// PutSettings stores the installation's settings.
func (tx *Tx) PutSettings(s Settings) error {
	tx.changed.Jobs = true
	return put(tx, "settings", "system", s)
}
