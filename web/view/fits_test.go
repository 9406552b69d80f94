package view

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// fits is what does not fit on a page: width, text cut off, text on text.
//
//go:embed testdata/fits.js
var fits string

// What names are like at their worst: no place to break; longer than anybody thinks, written from right to left with an override
// that wants to turn round the rest of the page, and letters stacked upon letters.
var worstNames = map[string]string{
	"long":  strings.Repeat("n", 120),
	"right": "\u202e" + strings.Repeat("إنتاجالشبكة", 20) + strings.Repeat("a\u0301\u0316\u0489", 20),
}

// TestEverythingFits opens every page with the worst names in every field that comes from outside, and 40 labels, at both ends of
// the sizes people use: no sideways scrolling of the page, no text cut off, none on top of other text.
func TestEverythingFits(t *testing.T) {
	s, b := newSite(t), browser(t)
	for kind, name := range worstNames {
		for _, p := range filled(name) {
			p.Name = "worst-" + kind + "-" + p.Name
			if !strings.HasPrefix(p.Name, *only) {
				continue
			}
			s.pages["/"+p.Name] = p
			for _, width := range []int64{1280, 360} {
				b.run(t, size(width, 800), scheme(false), chromedp.Navigate(s.URL+"/"+p.Name))
				for _, text := range get(t, b, chromedp.Evaluate[[]string](fits)) {
					t.Errorf("%s at %d px: %s", p.Name, width, text)
				}
				if *shots != "" {
					keep(t, p.Name+map[int64]string{1280: "-light.png", 360: "-phone.png"}[width], get(t, b, chromedp.FullScreenshot(100)))
				}
			}
		}
	}
}
