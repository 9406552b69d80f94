package engine

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"groundcrew/gitlab"
	"groundcrew/store"
)

// How many comments are made in any minute: four fifths of GitLab's limit, 300 for each user by default and 60 on
// gitlab.com (GOTCHAS 72). Edits are not limited.
const (
	notesPerMinute     = 240
	notesPerMinuteSaaS = 48
)

// silent is how long a kind of report waits after a 429 that doesn't say how long: such limits count by the minute.
const silent = time.Minute

// downAfter is how many targets have to fail for want of an answer, with no success between, until GitLab is taken
// to be away. One target's trouble never stops the others.
const downAfter = 3

// maxProbe is how long GitLab is left alone at most while it is away.
const maxProbe = 30 * time.Second

// A budget keeps the outbox within GitLab's limits, whatever the number of targets: what one answer says of limits
// holds for all lanes, and while GitLab is away or refuses the token, one report at a time finds out whether it is
// back. Nothing of it is stored: after a restart the first answers teach it again.
type budget struct {
	jitter  func(time.Duration) time.Duration // below its argument; not changed
	mu      sync.Mutex
	key     string               // of the integration's settings; new settings begin anew
	notes   int                  // comments a minute
	made    []turn               // comments of the last minute
	until   time.Time            // nothing is sent before
	kinds   map[string]time.Time // nor anything of this kind
	failing map[string]bool      // targets that got no answer since the last one that did
	down    bool
	probing string // target of the one report that looks whether GitLab is back
	last    string // target that looked last
	probes  int
	probeAt time.Time
}

// use begins anew when the settings are other ones.
func (b *budget) use(key string, in store.Integration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.key == key {
		return
	}
	b.key, b.notes, b.until, b.kinds, b.failing = key, notesPerMinute, time.Time{}, map[string]time.Time{}, map[string]bool{}
	b.down, b.probing, b.probes, b.probeAt = false, "", 0, time.Time{}
	if u, err := url.Parse(in.APIURL); err == nil && strings.EqualFold(u.Hostname(), "gitlab.com") {
		b.notes = notesPerMinuteSaaS
	}
}

// wait is how long nothing may be sent at all. probe says that only one report may be sent, to find out whether
// GitLab is back.
func (b *budget) wait(now time.Time) (d time.Duration, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case now.Before(b.until):
		return b.until.Sub(now), false
	case !b.down:
		return 0, false
	case b.probing != "":
		return idle, true // its end wakes the pump
	default:
		return max(b.probeAt.Sub(now), 0), true
	}
}

// probe takes the one turn, done gives it back.
func (b *budget) probe(target string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing, b.last = target, target
}

func (b *budget) probed() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

func (b *budget) done(target string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing == target {
		b.probing = ""
	}
}

// kindWait is how long nothing of a kind may be sent.
func (b *budget) kindWait(kind string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kinds[kind].Sub(now)
}

// A turn is a comment that was made.
type turn struct {
	at     time.Time
	answer bool // to a command
}

// note takes a turn to make a comment, or says how long to wait for one. Half of the turns are never for answers to commands, so
// that however many are asked for, what runs came to is told in time.
func (b *budget) note(answer bool, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made = slices.DeleteFunc(b.made, func(t turn) bool { return now.Sub(t.at) >= time.Minute })
	if len(b.made) >= b.notes {
		return time.Minute - now.Sub(b.made[0].at)
	}
	if answers := keepIf(b.made, func(t turn) bool { return t.answer }); answer && len(answers) >= b.notes/2 {
		return time.Minute - now.Sub(answers[0].at)
	}
	b.made = append(b.made, turn{now, answer})
	return 0
}

// saw learns from what an answer says of limits. A window that is nearly used up is left to people and pages.
func (b *budget) saw(l gitlab.Limits, now time.Time) {
	reserve := min(2*lanes, l.Limit/4)
	if l.Wait <= 0 || !l.Refused && l.Remaining > reserve {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := now.Add(l.Wait); until.After(b.until) {
		b.until = until
	}
}

// away reports whether an error says that GitLab, and not this one target, is the trouble.
func away(kind gitlab.Kind) bool {
	switch kind {
	case gitlab.KindNetwork, gitlab.KindTLS, gitlab.KindNotGitLab, gitlab.KindServer, gitlab.KindRedirect:
		return true
	}
	return kind.TokenTrouble()
}

// sent learns from the end of a send. back is true when GitLab was away and is there again.
func (b *budget) sent(r store.Report, err error, now time.Time) (back bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind := gitlab.KindOf(err)
	wasProbe := b.probing == r.Target
	switch {
	case err != nil && kind == "": // our own trouble says nothing of GitLab
		return false
	case kind == gitlab.KindRateLimited:
		if waitOf(err) == 0 {
			b.kinds[r.Kind] = now.Add(silent + b.jitter(time.Second))
		}
	case away(kind):
		b.failing[r.Target] = true
		if kind.TokenTrouble() || len(b.failing) >= downAfter || wasProbe {
			b.lost(now, wasProbe)
		}
		return false
	}
	clear(b.failing)
	back, b.down, b.probes = b.down, false, 0
	return back
}

// lost puts off the next look at GitLab: from one second on, doubling. The caller holds mu.
func (b *budget) lost(now time.Time, wasProbe bool) {
	switch {
	case !b.down:
		b.down, b.probes = true, 0
	case wasProbe:
		b.probes++
	default:
		return // one of those that were under way when the first failed
	}
	d := min(time.Second<<min(b.probes, 5), maxProbe)
	b.probeAt = now.Add(d/2 + b.jitter(d/2+1))
}
