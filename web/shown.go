package web

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
	"groundcrew/store"
)

// shown are the keys of the rows somebody has before their eyes, by list, in order. What moves rows under a pointer leads to the
// wrong click, so rows stay where they are, with what became of them; what is new is counted, or comes where nothing is pushed
// away. It is nil for a page that is just opened, and a list that was empty holds nothing.
type shown map[string][]string

// mostShown bounds how many rows of a list a reader can name.
const mostShown = 200

func readShown(q url.Values) shown {
	out := shown{}
	for name, values := range q {
		list, ok := strings.CutPrefix(name, paramShown)
		if keys := strings.Split(values[0], keySplit); ok && values[0] != "" {
			out[list] = keys[:min(len(keys), mostShown)]
		}
	}
	return out
}

// keep remembers the rows of a list that is sent now; without a stream there is nobody to remember them for.
func (sh shown) keep(list string, keys []string) {
	if sh != nil {
		sh[list] = keys
	}
}

// holdRuns lays out the runs of a list that somebody reads: those shown, wherever they belong now, as far as the one who reads may
// still see them, and apart from them those that are new. fresh is the list as a page opened now has it.
func (sh shown) holdRuns(tx *store.Tx, list string, fresh []runs.Run, may func(runs.Run) bool) (held, more []runs.Run, err error) {
	ids := sh[list]
	if len(ids) == 0 {
		sh.keep(list, idsOf(fresh))
		return fresh, nil, nil
	}
	for _, id := range ids {
		r, err := tx.Run(id)
		if errors.Is(err, runs.ErrNotFound) || err == nil && !may(r) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		held = append(held, r)
	}
	for _, r := range fresh {
		if !slices.Contains(ids, r.ID) {
			more = append(more, r)
		}
	}
	return held, more, nil
}

func idsOf(list []runs.Run) []string {
	var ids []string
	for _, r := range list {
		ids = append(ids, r.ID)
	}
	return ids
}

// overFor is how long a row that does not belong to its list any more keeps its place: long enough to be read and clicked.
const overFor = time.Minute

// trim leaves out the rows at the end of a list that are over for a while.
func trim(list []runs.Run, over func(runs.Run) bool, now time.Time) []runs.Run {
	for len(list) > 0 && over(list[len(list)-1]) && now.Sub(list[len(list)-1].Entered()) > overFor {
		list = list[:len(list)-1]
	}
	return list
}

// refill gives the places of rows that are over for a while to new ones. It returns what found no place.
func refill(held, more []runs.Run, over func(runs.Run) bool, now time.Time) (list, rest []runs.Run) {
	list = slices.Clone(held)
	for i, r := range list {
		if len(more) > 0 && over(r) && now.Sub(r.Entered()) > overFor {
			list[i], more = more[0], more[1:]
		}
	}
	return list, more
}
