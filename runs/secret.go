package runs

import "log/slog"

// A Secret is a value that must not be shown. It prints as [secret] in fmt, slog and JSON; package store
// seals it before it reaches the disk, and [Secret.Reveal] is the only way to its text.
type Secret string

const hidden = "[secret]"

// Reveal returns the text. Callers hand it to the one place that needs it and never log it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string               { return hidden }
func (s Secret) GoString() string             { return hidden }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
