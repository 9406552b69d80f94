package gitlab

import "log/slog"

// A Token is a GitLab access token or the secret of a webhook. It prints as [secret] in fmt, slog and JSON;
// [Token.Reveal] is the only way to its text.
type Token string

const hidden = "[secret]"

// Reveal returns the text. Callers hand it to the one place that needs it and never log it.
func (t Token) Reveal() string { return string(t) }

func (t Token) String() string               { return hidden }
func (t Token) GoString() string             { return hidden }
func (t Token) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (t Token) MarshalText() ([]byte, error) { return []byte(hidden), nil }
