package view

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// accessible is what a page has against itself, of WCAG 2.2 AA, beside contrast (TestContrast), names and labels (checkPage).
//
//go:embed testdata/accessible.js
var accessible string

// TestAccessible asks every page, wide and at 360 px: language, title, headings in order, landmarks that can be told apart, targets
// of 24 px, focus that shows and is not hidden below a bar, nothing that moves for who wants no motion, states said aloud.
func TestAccessible(t *testing.T) {
	s, b := newSite(t), browser(t)
	b.run(t, call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	for _, p := range samples() {
		for _, width := range []int64{1280, 360} {
			b.run(t, size(width, 740), scheme(false), chromedp.Navigate(s.URL+"/"+p.Name))
			bad := get(t, b, chromedp.Evaluate[[]string](accessible))
			slices.Sort(bad)
			for _, text := range slices.Compact(bad) {
				t.Errorf("%s at %d px: %s", p.Name, width, text)
			}
		}
		if strings.HasPrefix(p.Name, "run-") && !get(t, b, chromedp.Evaluate[bool](`!!document.querySelector("#announce[role=status], #announce[aria-live=polite]")`)) {
			t.Errorf("%s: no live region says a new state", p.Name)
		}
	}
}
