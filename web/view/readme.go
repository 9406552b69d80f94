package view

import (
	"bytes"
	"strings"

	"github.com/a-h/templ"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	gmtext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// readme renders Markdown that somebody else wrote: no HTML of theirs, no image, which would tell another server who
// reads it, no address but of the web and of mail, and headings below those of the page.
func readme(source string) templ.Component {
	md := goldmark.New(
		goldmark.WithExtensions(extension.GFM), // without WithUnsafe: HTML in the source and javascript: links are left out
		goldmark.WithParserOptions(parser.WithASTTransformers(util.Prioritized(tame{}, 500))),
	)
	var b bytes.Buffer
	if err := md.Convert([]byte(source), &b); err != nil {
		return templ.Raw("<pre>" + templ.EscapeString(source) + "</pre>")
	}
	return templ.Raw(b.String())
}

// tame changes what a readme may not have.
type tame struct{}

// Transform implements [parser.ASTTransformer].
func (tame) Transform(doc *ast.Document, _ gmtext.Reader, _ parser.Context) {
	var images []*ast.Image
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the visitor returns no error
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Image:
			images = append(images, n)
		case *ast.Heading:
			n.Level = min(6, n.Level+2)
		case *ast.Link:
			n.Destination = harmless(n.Destination)
			n.SetAttributeString("rel", []byte("noopener noreferrer nofollow"))
		case *extast.TableHeader:
			for cell := n.FirstChild(); cell != nil; cell = cell.NextSibling() {
				cell.SetAttributeString("scope", []byte("col"))
			}
		case *ast.AutoLink:
			n.SetAttributeString("rel", []byte("noopener noreferrer nofollow"))
		}
		return ast.WalkContinue, nil
	})
	for _, img := range images { // its text stays
		parent := img.Parent()
		for child := img.FirstChild(); child != nil; child = img.FirstChild() {
			parent.InsertBefore(parent, img, child)
		}
		parent.RemoveChild(parent, img)
	}
}

// harmless keeps addresses of the web and of mail; others, also paths in the repository, lead nowhere.
func harmless(address []byte) []byte {
	for _, scheme := range []string{"https://", "http://", "mailto:"} {
		if strings.HasPrefix(strings.ToLower(string(address)), scheme) {
			return address
		}
	}
	return []byte("#")
}
