package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"groundcrew/runs"
)

// How many items a page of a list has, unless asked otherwise, and at most. Lists that are made whole ([paged]) are cut only for who
// asks for a part.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// A list is one page of a list; NextCursor is "" on the last one.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// listed answers a page; no items are [], never null.
func listed[T any](c *request, items []T, next string) error {
	if items == nil {
		items = []T{}
	}
	return c.JSON(http.StatusOK, list[T]{items, next})
}

// created answers a new thing and where it is.
func created(c *request, location string, v any) error {
	c.Response().Header().Set("Location", location)
	return c.JSON(http.StatusCreated, v)
}

// window reads the part of a list that is asked for.
func window(c *request) (cursor string, limit int, err error) {
	limit = defaultLimit
	if text := c.QueryParam("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxLimit {
			return "", 0, runs.Invalidf("limit", "“%s” is no number of items. Use 1 to %d.", text, maxLimit)
		}
	}
	return c.QueryParam("cursor"), limit, nil
}

// idWindow is window for lists whose cursors are ids: by any other text a list would begin anew without end, or end early.
func idWindow(c *request) (cursor string, limit int, err error) {
	cursor, limit, err = window(c)
	if err == nil && cursor != "" && (len(cursor) != 26 || strings.Trim(cursor, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "") {
		err = runs.Invalidf("cursor", "“%s” is no cursor of this list. Send next_cursor as it was answered, or none to begin.", runs.Shorten(cursor, 40))
	}
	return cursor, limit, err
}

// paged answers the part that is asked for of a list that was made whole; all of it where no part is asked for, as scripts that never
// asked for one rely on. key names an item among its like; a cursor is the key of the last one that was answered.
func paged[T any](c *request, items []T, key func(T) string) error {
	cursor, limit, err := window(c)
	if err != nil {
		return err
	}
	if cursor != "" {
		at := slices.IndexFunc(items, func(v T) bool { return key(v) == cursor })
		if at < 0 {
			return runs.Invalidf("cursor", "“%s” is no cursor of this list, or what it names is gone. Begin again without one.", runs.Shorten(cursor, 40))
		}
		items = items[at+1:]
	}
	return partOf(c, items, limit, key)
}

// pagedByID is paged for lists in the order of their ids, so that it goes on where a cursor's item is gone meanwhile.
func pagedByID[T any](c *request, items []T, id func(T) string) error {
	cursor, limit, err := idWindow(c)
	if err != nil {
		return err
	}
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	items = slices.DeleteFunc(items, func(v T) bool { return id(v) <= cursor })
	return partOf(c, items, limit, id)
}

// partOf answers the first items of what is left of a list, and all of them to who names neither limit nor cursor.
func partOf[T any](c *request, items []T, limit int, key func(T) string) error {
	next, whole := "", c.QueryParam("limit") == "" && c.QueryParam("cursor") == ""
	if !whole && len(items) > limit {
		items, next = items[:limit], key(items[limit-1])
	}
	return listed(c, items, next)
}

// decode reads the JSON body into v. A field that v does not have is an error that names it, so that a
// misspelt setting is never silently lost. An empty body leaves v as it is.
func decode(c *request, v any) error {
	d := json.NewDecoder(c.Request().Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return jsonError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return runs.Invalidf("", "The body holds more than one JSON value.")
	}
	return nil
}

func jsonError(err error) error {
	var wrong *json.UnmarshalTypeError
	var big *http.MaxBytesError
	var own *runs.Error
	switch {
	case errors.As(err, &big), errors.As(err, &own), errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.As(err, &wrong) && wrong.Field == "":
		return runs.Invalidf("", "The body is JSON of the kind %s. Send an object: {…}.", wrong.Value)
	case errors.As(err, &wrong):
		return runs.Invalidf(wrong.Field, "“%s” does not take JSON of the kind %s. /api/v1/openapi.json says what it takes.", wrong.Field, wrong.Value)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = strings.Trim(field, `"`)
		return runs.Invalidf(field, "There is no field “%s” here. /api/v1/openapi.json lists those there are.", field)
	}
	var at *time.ParseError
	if errors.As(err, &at) {
		return runs.Invalidf("", "“%s” is no time. Use RFC 3339, like 2027-01-31T12:00:00Z.", at.Value)
	}
	return runs.Invalidf("", "The body is not JSON: %s.", err)
}

// givenProject is the project that a request asks for: the one that is given, or the one it is, by its id; "" where there is none.
func givenProject(given *projectRef, id int64) string {
	switch {
	case given != nil:
		return string(*given)
	case id > 0:
		return strconv.FormatInt(id, 10)
	default:
		return ""
	}
}

// A projectRef is a GitLab project by path ("infra/network") or numeric id (42 or "42").
type projectRef string

// UnmarshalJSON takes both forms.
func (p *projectRef) UnmarshalJSON(raw []byte) error {
	var n json.Number
	if err := json.Unmarshal(raw, &n); err == nil {
		*p = projectRef(n.String())
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return runs.Invalidf("project", "Give the project's path or its numeric id.")
	}
	*p = projectRef(text)
	return nil
}

// at gives a time in UTC, nil for none.
func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// orNil gives nil for an empty text.
func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// number reads a number from the path.
func number(c *request, name string) (int64, error) {
	n, err := strconv.ParseInt(c.Param(name), 10, 64)
	if err != nil || n < 1 {
		return 0, runs.NotFoundf("There is no %s.", fmt.Sprintf("%s %q", name, c.Param(name)))
	}
	return n, nil
}
