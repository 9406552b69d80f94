// Package bottle runs the whole server (store, engine, GitLab client, web) and a simulated GitLab in one bubble without a
// clock, and lets a seed drive random days through it: pushes, people, outages, lost deliveries, crashes. What must hold
// holds at each moment or, when everything is mended and quiet, at the end (invariants_test.go).
//
//	go test ./bottle                       the first 300 seeds, and every seed that ever failed
//	go test ./bottle -seed 1234 -v         one seed, with the trace of its day
//	go test ./bottle -seeds 5000           more of them; -from 100000 begins elsewhere, -events 60 makes longer days
//
// Every second seed is of the other kind of day, see other_test.go, and half of those are of the third, see
// commands_test.go, and half of these of the fourth, see guarded_test.go.
//
// One seed gives one day: what happens is drawn by one goroutine, which looks only at a world at rest. What a seed does not
// fix is the order of what the server does at one and the same moment, so a crash "after 17 contacts" may hit another of
// several that were about to happen; [TestOneSeedIsOneDay] says how far it goes.
package bottle

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run this seed alone and print its trace")
	seeds   = flag.Int("seeds", 300/fewer, "how many seeds to run")
	from    = flag.Uint64("from", 1, "the first seed")
	events  = flag.Int("events", 25, "how much happens in a day")
)

// TestMain keeps the data in memory where it can: nothing here is about the disk.
func TestMain(m *testing.M) {
	flag.Parse()
	if dir, err := os.MkdirTemp("/dev/shm", "bottle-"); err == nil {
		os.Setenv("TMPDIR", dir)
		code := m.Run()
		os.RemoveAll(dir)
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// day lets one seed's day happen and returns its world, ended.
func day(t *testing.T, seed uint64, events int) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, seed)
		defer w.close()
		w.live(events)
		if !w.isBroken() {
			w.heal()
		}
		if !w.isBroken() {
			w.judge()
		}
	})
	return w
}

// broke are the days that once broke an invariant, with what was wrong.
var broke = []struct {
	seed   uint64
	events int
	why    string
}{
	{7, 60, "the bot lost its role for a moment: a deployment was made anew and the first one hung"},
	{31, 60, "the status for a second merge request of a commit went into the pipeline of the first"},
	{52, 60, "a lost push, followed by one that arrived, was missed for good"},
	{45, 60, "the same, after a server that was down"},
	{2450, 30, "a lost push was missed for good when the bot had no role as the next one arrived"},
	{280, 60, "GitLab did not say which pipeline a second merge request has, and the status stood in the branch's twice"},
	{50016, 45, "a run that was read before its last commit was taken for one that came back to life"},
	{1_000_046, 25, "a stack that was saved after its project moved hid that the others knew the old path"},
	{1_002_373, 30, "the status of a commit was expected to change when one of its stacks was deleted"},
	{260, 60, "a project out of sight was taken for a commit that is gone, and its status was written blindly"},
}

func TestBottle(t *testing.T) {
	if *oneSeed != 0 {
		w := day(t, *oneSeed, *events)
		t.Log("\n" + w.story())
		w.verdict(t)
		return
	}
	for _, b := range broke {
		t.Run(fmt.Sprint("once broken/", b.seed), func(t *testing.T) {
			t.Parallel()
			day(t, b.seed, b.events).verdict(t)
		})
	}
	for i := range *seeds {
		seed := *from + uint64(i)
		if i%2 == 1 && seed < otherKind {
			seed += otherKind
		}
		if i%4 == 3 && seed < talkingKind {
			seed += talkingKind - otherKind
		}
		if i%8 == 7 && seed < guardedKind {
			seed += guardedKind - talkingKind
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			day(t, seed, *events).verdict(t)
		})
	}
}

// TestOneSeedIsOneDay: the same acts come each time. What the server does about them, and so what a person finds to
// confirm, is not compared: of several things at one moment the scheduler chooses.
func TestOneSeedIsOneDay(t *testing.T) {
	for seed := range uint64(3) {
		first, second := day(t, 7000+seed, *events).drawn, day(t, 7000+seed, *events).drawn
		if d := cmp.Diff(first, second); d != "" {
			t.Errorf("seed %d: %s", 7000+seed, d)
		}
	}
}

// verdict fails the test for what did not hold, with the trace.
func (w *world) verdict(t *testing.T) {
	t.Helper()
	for _, b := range w.broken {
		t.Errorf("seed %d: %s", w.seed, b)
	}
	if len(w.broken) > 0 && *oneSeed == 0 {
		t.Log("\n" + w.story())
	}
}

// story is the trace, and the last words of the servers.
func (w *world) story() string {
	return strings.Join(slices.Concat(w.tracked, []string{"", "The last words of the servers:"}, w.tail), "\n")
}
