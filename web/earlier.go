package web

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"

	"groundcrew/runs"
	"groundcrew/web/view"
)

// farthest is how far back the beginning of a line is looked for. What is longer is left out in parts.
const farthest = 8 << 20

// getEarlier sends the lines of a log before a place, as a list for the page that shows those after it. The number of the line
// at the place is the page's to know.
func (s *Server) getEarlier(c *request) error {
	phase := runs.State(c.Param("phase"))
	before, errBefore := strconv.ParseInt(c.QueryParam("before"), 10, 64)
	line, errLine := strconv.Atoi(c.QueryParam("line"))
	if errBefore != nil || errLine != nil || before <= 0 || line <= 0 {
		return runs.Invalidf("before", "before and line are numbers greater than zero: the place in the log and the number of the line there.")
	}
	r, err := s.run(c.Param("id"))
	if err != nil {
		return err
	}
	absent := runs.NotFoundf("The run has no log of the phase %q.", phase)
	if !slices.Contains(logPhases, phase) {
		return absent
	}
	f, err := s.eng.OpenLog(r.ID, phase)
	if errors.Is(err, fs.ErrNotExist) {
		return absent
	}
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := earlier(f, min(before, f.Size()))
	if err != nil {
		return err
	}
	first := max(1, line-e.ends)
	return render(c, http.StatusOK, view.EarlierLines(view.EarlierLog{
		PhaseLog: view.PhaseLog{Phase: string(phase), Text: e.text, FirstLine: first, Size: f.Size(), CutBytes: e.start},
		URL:      earlierURL(r.ID, phase, e.start, first), Gap: e.gap, Next: line,
	}))
}

func earlierURL(run string, phase runs.State, before int64, line int) string {
	return "/runs/" + run + "/logs/" + string(phase) + "/earlier?before=" + strconv.FormatInt(before, 10) + "&line=" + strconv.Itoa(line)
}

// A stretch is a part of a log.
type stretch struct {
	start int64 // where it begins
	text  []byte
	gap   int64 // bytes after the text that are left out: the rest of a line that is too long
	ends  int   // how many lines end in it
}

// earlier reads what stands before a place: whole lines, as much as a page holds, or the beginning of a very long one.
func earlier(f io.ReaderAt, before int64) (stretch, error) {
	from := max(0, before-tailBytes)
	text, err := readRange(f, from, before)
	if err != nil {
		return stretch{}, err
	}
	if from > 0 {
		i := bytes.IndexByte(text, '\n')
		if i < 0 || i == len(text)-1 {
			return longLine(f, before)
		}
		from, text = from+int64(i)+1, text[i+1:]
	}
	return stretch{start: from, text: text, ends: bytes.Count(text, []byte("\n"))}, nil
}

// longLine reads the beginning of the line that a place stands in or behind.
func longLine(f io.ReaderAt, before int64) (stretch, error) {
	ends := 0
	end := before
	if last, err := readRange(f, before-1, before); err != nil {
		return stretch{}, err
	} else if last[0] == '\n' {
		ends, end = 1, before-1
	}
	for from := end; from > max(0, before-farthest); {
		piece := max(0, from-tailBytes)
		text, err := readRange(f, piece, from)
		if err != nil {
			return stretch{}, err
		}
		if i := bytes.LastIndexByte(text, '\n'); i >= 0 || piece == 0 {
			start := piece + int64(i) + 1
			head, err := readRange(f, start, min(end, start+tailBytes))
			return stretch{start: start, text: head, gap: end - start - int64(len(head)), ends: ends}, err
		}
		from = piece
	}
	start := max(0, before-farthest)
	return stretch{start: start, gap: before - start, ends: ends}, nil
}

func readRange(f io.ReaderAt, from, to int64) ([]byte, error) {
	b := make([]byte, to-from)
	n, err := f.ReadAt(b, from)
	if errors.Is(err, io.EOF) && int64(n) == to-from {
		err = nil
	}
	return b[:n], err
}
