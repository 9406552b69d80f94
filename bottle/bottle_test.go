// Package bottle runs the whole server (store, engine, GitLab client, web) and a simulated GitLab in one bubble without a
// clock, and lets a seed drive random days through it: pushes, people, outages, lost deliveries, crashes. What must hold
// holds at each moment or, when everything is mended and quiet, at the end (invariants_test.go).
//
//	go test ./bottle                       the first 300 seeds, and every seed that ever failed
//	go test ./bottle -seed 1234 -v         one seed, with the trace of its day
//	go test ./bottle -seeds 5000           more of them; -from 100000 begins elsewhere
//
// One seed gives one day: what happens is drawn by one goroutine, which looks only at a world at rest. What a seed does not
// fix is the order of what the server does at one and the same moment, so a crash "after 17 contacts" may hit another of
// several that were about to happen; [TestOneSeedIsOneDay] says how far it goes.
package bottle

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run this seed alone and print its trace")
	seeds   = flag.Int("seeds", 300, "how many seeds to run")
	from    = flag.Uint64("from", 1, "the first seed")
	events  = flag.Int("events", 30, "how much happens in a day")
)

// day lets one seed's day happen and returns its world, ended.
func day(t *testing.T, seed uint64) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, seed)
		defer w.close()
		w.live(*events)
		if !w.isBroken() {
			w.heal()
		}
		if !w.isBroken() {
			w.judge()
		}
	})
	return w
}

func TestBottle(t *testing.T) {
	if *oneSeed != 0 {
		w := day(t, *oneSeed)
		t.Log("\n" + w.story())
		w.verdict(t)
		return
	}
	for i := range *seeds {
		seed := *from + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := day(t, seed)
			if w.verdict(t); t.Failed() {
				t.Log("\n" + w.story())
			}
		})
	}
}

func (w *world) verdict(t *testing.T) {
	t.Helper()
	for _, b := range w.broken {
		t.Errorf("seed %d: %s", w.seed, b)
	}
}

// story is the trace, and the last words of the servers.
func (w *world) story() string {
	return strings.Join(slices.Concat(w.tracked, []string{"", "The last words of the servers:"}, w.tail), "\n")
}
