package sim

import (
	"bytes"
	"html"
	"html/template"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer"
	gmhtml "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/util"
)

// markdown renders comments as GitLab does: tables, strikethrough and links, and of raw HTML only the folding
// <details> and <summary> and line breaks. Comments of HTML are left out, everything else is shown as text.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.GFM),
	goldmark.WithRendererOptions(gmhtml.WithHardWraps(), renderer.WithNodeRenderers(util.Prioritized(fewTags{}, 100))),
)

func renderMarkdown(text string) template.HTML {
	var out bytes.Buffer
	if err := markdown.Convert([]byte(text), &out); err != nil {
		return template.HTML(html.EscapeString(text))
	}
	return template.HTML(out.String())
}

var (
	htmlComment = regexp.MustCompile(`(?s)<!--.*?-->`)
	allowedTag  = regexp.MustCompile(`&lt;(/?(?:details|summary)|details open|br ?/?)&gt;`)
)

// fewHTML escapes all but the allowed tags, which have no attributes.
func fewHTML(text string) string {
	return allowedTag.ReplaceAllString(html.EscapeString(htmlComment.ReplaceAllString(text, "")), "<$1>")
}

// fewTags renders the raw HTML of a document.
type fewTags struct{}

// RegisterFuncs implements renderer.NodeRenderer.
func (fewTags) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindHTMLBlock, renderHTMLBlock)
	r.Register(ast.KindRawHTML, renderRawHTML)
}

func renderHTMLBlock(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.HTMLBlock)
	var text strings.Builder
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		text.WriteString(string(line.Value(source)))
	}
	if n.HasClosure() {
		text.WriteString(string(n.ClosureLine.Value(source)))
	}
	_, err := w.WriteString(fewHTML(text.String()))
	return ast.WalkContinue, err
}

func renderRawHTML(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkSkipChildren, nil
	}
	n := node.(*ast.RawHTML)
	var text strings.Builder
	for i := range n.Segments.Len() {
		segment := n.Segments.At(i)
		text.WriteString(string(segment.Value(source)))
	}
	_, err := w.WriteString(fewHTML(text.String()))
	return ast.WalkSkipChildren, err
}
