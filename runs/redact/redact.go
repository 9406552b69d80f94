// Package redact removes known secret values from text: each stands there as [secret] instead, in whatever
// common form it was written.
package redact

import "io"

// Mark stands where a secret was.
const Mark = "[secret]"

// A Redactor knows a set of secret values. It is safe for use by several goroutines.
type Redactor struct{}

// New makes a redactor for the values.
func New(secrets []string) *Redactor { return &Redactor{} }

// String returns s with every form of every secret replaced by [Mark].
func (r *Redactor) String(s string) string { return s }

// Writer returns a writer that passes what it is given on to w without the secrets.
func (r *Redactor) Writer(w io.Writer) *Writer { return &Writer{w: w} }

// A Writer removes secrets from a stream.
type Writer struct{ w io.Writer }

// Write takes the next part of the stream.
func (w *Writer) Write(p []byte) (int, error) { return w.w.Write(p) }

// Flush passes on what can be passed on without the rest of the stream.
func (w *Writer) Flush() error { return nil }

// Close passes on everything held back. It does not close the underlying writer.
func (w *Writer) Close() error { return nil }
