package view

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// accessible is what a page has against itself, of WCAG 2.2 AA, beside contrast (TestContrast), names and labels (checkPage).
//
//go:embed testdata/accessible.js
var accessible string

// accessible asks the page that is open: language, title, headings in order, landmarks that can be told apart, targets
// of 24 px, focus that shows and is not hidden below a bar, nothing that moves for who wants no motion, states said aloud.
func (b *browserTab) accessible(t *testing.T, name string, width int64) {
	t.Helper()
	bad := get(t, b, chromedp.Evaluate[[]string](accessible))
	slices.Sort(bad)
	for _, text := range slices.Compact(bad) {
		t.Errorf("%s at %d px: %s", name, width, text)
	}
	if strings.HasPrefix(name, "run-") && !get(t, b, chromedp.Evaluate[bool](`!!document.querySelector("#announce[role=status], #announce[aria-live=polite]")`)) {
		t.Errorf("%s: no live region says a new state", name)
	}
}
