package engine

import (
	"maps"
	"time"

	"groundcrew/store"
)

// grain is the difference in time at work that counts as none: then who waits longest for a turn is next.
const grain = 100 * time.Millisecond

// shares is how long each project, and each stack, had workers. Turns alone would be unfair where plans take seconds in
// one stack and minutes in the other: ten quick merge requests would wait for ten slow ones.
//
// It is start-time fair queueing (Goyal, Vin, Cheng 1996): who had nothing to do for a while has no claim on the past, but
// begins where the least served of those who wait is. It is forgotten with the process.
type shares struct {
	used  map[string]time.Duration // by project or stack
	floor map[string]time.Duration // what who comes anew is taken to have had: among projects (""), among a project's stacks
}

func newShares() shares {
	return shares{used: map[string]time.Duration{}, floor: map[string]time.Duration{}}
}

// of is what a project or stack had, as far as it counts.
func (s shares) of(among, key string) time.Duration { return max(s.used[key], s.floor[among]) }

// charge notes that the job had a worker for so long.
func (s shares) charge(j store.Job, took time.Duration) {
	project := projectKey(j)
	s.used[project] = s.of("", project) + took
	s.used[stackKey(j)] = s.of(project, stackKey(j)) + took
}

// lift brings the floors up to the least served of those who wait.
func (s shares) lift(waiting []store.Job) {
	least := map[string]time.Duration{}
	lower := func(among string, used time.Duration) {
		if now, ok := least[among]; !ok || used < now {
			least[among] = used
		}
	}
	for _, j := range waiting {
		project := projectKey(j)
		lower("", s.of("", project))
		lower(project, s.of(project, stackKey(j)))
	}
	maps.Copy(s.floor, least)
}
