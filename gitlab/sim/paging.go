package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxPage is how many items a page has at most; more is lowered, not refused (§0.5).
const maxPage = 100

// paging reads page and per_page.
func (c *call) paging() (number, size int, err error) {
	number, size = 1, 20
	for name, to := range map[string]*int{"page": &number, "per_page": &size} {
		if !c.in.has(name) {
			continue
		}
		n, err := strconv.Atoi(c.in.text(name))
		if err != nil {
			return 0, 0, parameter(http.StatusBadRequest, name+" is invalid")
		}
		if n < 0 || n == 0 && name == "page" {
			return 0, 0, parameter(http.StatusBadRequest, name+" does not have a valid value")
		}
		*to = n
	}
	return number, min(size, maxPage), nil
}

// page answers one page of all, with GitLab's headers and links.
func page[T any](c *call, all []T, render func(T) any) error {
	number, size, err := c.paging()
	if err != nil {
		return err
	}
	if size == 0 { // one item and no headers (§0.5)
		return c.answer(http.StatusOK, renderAll(all[:min(1, len(all))], render))
	}
	pages := max(1, (len(all)+size-1)/size)
	c.pageHeaders(number, size, number < pages)
	c.header.Set("X-Total", strconv.Itoa(len(all)))
	c.header.Set("X-Total-Pages", strconv.Itoa(pages))
	c.header.Set("Link", c.header.Get("Link")+", "+c.link(pages, size, "last"))
	return c.answer(http.StatusOK, renderAll(cut(all, number, size), render))
}

// openPage is page without totals, as for commits (§0.5).
func openPage[T any](c *call, all []T, render func(T) any) error {
	number, size, err := c.paging()
	if err != nil {
		return err
	}
	c.pageHeaders(number, size, number*size < len(all))
	return c.answer(http.StatusOK, renderAll(cut(all, number, size), render))
}

func cut[T any](all []T, number, size int) []T {
	start := min((number-1)*size, len(all))
	return all[start:min(start+size, len(all))]
}

// renderAll never gives nil, so that an empty list is [] and not null.
func renderAll[T any](all []T, render func(T) any) []any {
	out := make([]any, len(all))
	for i, v := range all {
		out[i] = render(v)
	}
	return out
}

func (c *call) pageHeaders(number, size int, more bool) {
	next, prev := "", ""
	var links []string
	if number > 1 {
		prev = strconv.Itoa(number - 1)
		links = append(links, c.link(number-1, size, "prev"))
	}
	if more {
		next = strconv.Itoa(number + 1)
		links = append(links, c.link(number+1, size, "next"))
	}
	links = append(links, c.link(1, size, "first"))
	c.header.Set("X-Page", strconv.Itoa(number))
	c.header.Set("X-Per-Page", strconv.Itoa(size))
	c.header.Set("X-Next-Page", next)
	c.header.Set("X-Prev-Page", prev)
	c.header.Set("Link", strings.Join(links, ", "))
}

// link keeps all query parameters, in alphabetical order.
func (c *call) link(number, size int, rel string) string {
	q := c.r.URL.Query()
	q.Set("page", strconv.Itoa(number))
	q.Set("per_page", strconv.Itoa(size))
	return c.linkTo(q, rel)
}

func (c *call) linkTo(q url.Values, rel string) string {
	path := strings.TrimPrefix(c.r.URL.EscapedPath(), c.opt.RelativeRoot)
	return fmt.Sprintf(`<%s%s?%s>; rel="%s"`, c.url(), path, q.Encode(), rel)
}
