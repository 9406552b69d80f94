package view

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// Which text stands on which ground. Text needs 4.5:1, the borders of controls and the shapes of states 3:1
// (WCAG 2.2, 1.4.3 and 1.4.11).
var pairs = []struct {
	text    string
	grounds []string
	ratio   float64
}{
	{"ink", []string{"paper", "raised", "sunken", "accent-tint", "wait-tint", "bad-tint", "good-tint", "work-tint"}, 4.5},
	{"ink-soft", []string{"paper", "raised", "sunken"}, 4.5},
	{"accent", []string{"paper", "raised", "sunken", "accent-tint"}, 4.5},
	{"on-accent", []string{"accent"}, 4.5},
	{"on-bad", []string{"solid-bad"}, 4.5},
	{"idle", []string{"idle-tint", "paper", "raised", "sunken"}, 4.5},
	{"work", []string{"work-tint", "paper", "raised", "sunken"}, 4.5},
	{"wait", []string{"wait-tint", "paper", "raised", "sunken"}, 4.5},
	{"good", []string{"good-tint", "paper", "raised", "sunken"}, 4.5},
	{"bad", []string{"bad-tint", "paper", "raised", "sunken"}, 4.5},
	{"ended", []string{"ended-tint", "paper", "raised", "sunken"}, 4.5},
	{"c5", []string{"sunken"}, 4.5},
	{"line-strong", []string{"raised", "paper"}, 3},
	{"paper", []string{"ink"}, 4.5}, // toasts, inverse log text
}

func TestContrast(t *testing.T) {
	css, err := os.ReadFile("../../static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	colours := tokens(string(css))
	for _, p := range pairs {
		for _, ground := range p.grounds {
			for i, name := range []string{"light", "dark"} {
				text, ok := colours[p.text]
				under, there := colours[ground]
				if !ok || !there {
					t.Fatalf("no token %s or %s", p.text, ground)
				}
				if got := ratio(text[i], under[i]); got < p.ratio {
					t.Errorf("%s: %s on %s has %.2f:1, needs %.1f:1", name, p.text, ground, got, p.ratio)
				}
			}
		}
	}
}

// A colour is linear RGB, each part from 0 to 1.
type colour [3]float64

var token = regexp.MustCompile(`--([a-z0-9-]+): light-dark\(oklch\(([\d.]+)% ([\d.]+) ([\d.]+)\), oklch\(([\d.]+)% ([\d.]+) ([\d.]+)\)\)`)

// tokens reads the colours of the style sheet, light and dark.
func tokens(css string) map[string][2]colour {
	out := map[string][2]colour{}
	for _, m := range token.FindAllStringSubmatch(css, -1) {
		var n [6]float64
		for i := range n {
			n[i], _ = strconv.ParseFloat(m[i+2], 64) // the pattern admits numbers only
		}
		out[m[1]] = [2]colour{oklch(n[0]/100, n[1], n[2]), oklch(n[3]/100, n[4], n[5])}
	}
	return out
}

// oklch converts to linear sRGB, cut to what a screen can show. The numbers are those of CSS Color 4, §9.
func oklch(l, c, h float64) colour {
	a, b := c*math.Cos(h*math.Pi/180), c*math.Sin(h*math.Pi/180)
	cube := func(x float64) float64 { return x * x * x }
	l3 := cube(l + 0.3963377774*a + 0.2158037573*b)
	m3 := cube(l - 0.1055613458*a - 0.0638541728*b)
	s3 := cube(l - 0.0894841775*a - 1.2914855480*b)
	clip := func(x float64) float64 { return math.Min(1, math.Max(0, x)) }
	return colour{
		clip(4.0767416621*l3 - 3.3077115913*m3 + 0.2309699292*s3),
		clip(-1.2684380046*l3 + 2.6097574011*m3 - 0.3413193965*s3),
		clip(-0.0041960863*l3 - 0.7034186147*m3 + 1.7076147010*s3),
	}
}

// ratio is WCAG's contrast ratio.
func ratio(a, b colour) float64 {
	la, lb := luminance(a), luminance(b)
	return (math.Max(la, lb) + 0.05) / (math.Min(la, lb) + 0.05)
}

func luminance(c colour) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }

func TestRatioOfBlackAndWhite(t *testing.T) {
	if got := ratio(oklch(1, 0, 0), oklch(0, 0, 0)); math.Abs(got-21) > 0.01 {
		t.Errorf("black on white has %.2f:1, not 21:1", got)
	}
}
