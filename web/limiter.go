package web

import (
	"hash/maphash"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// limiterSlots bounds the memory of a limiter: keys share slots by a hash nobody outside can foresee.
const limiterSlots = 4096

// A slotLimiter limits tries by key in constant memory. Two keys may share a slot; with that many slots it is rare and
// costs a wait, never a way around the limit.
type slotLimiter struct {
	seed  maphash.Seed
	slots [limiterSlots]*rate.Limiter
}

func newSlotLimiter(every time.Duration, burst int) *slotLimiter {
	l := &slotLimiter{seed: maphash.MakeSeed()}
	for i := range l.slots {
		l.slots[i] = rate.NewLimiter(rate.Every(every), burst)
	}
	return l
}

func (l *slotLimiter) allow(key string) bool {
	return l.slots[maphash.String(l.seed, key)%limiterSlots].Allow()
}

// A loginLimiter slows guessing: tightly for one account from one address, loosely for an address and for an
// account as a whole, so that a stranger cannot lock a person out for long.
type loginLimiter struct{ pair, address, account *slotLimiter }

func newLoginLimiter() *loginLimiter {
	return &loginLimiter{
		pair:    newSlotLimiter(10*time.Second, 5),
		address: newSlotLimiter(2*time.Second, 30),
		account: newSlotLimiter(2*time.Second, 60),
	}
}

func (l *loginLimiter) allow(account, address string) bool {
	account = strings.ToLower(account)
	return l.address.allow(address) && l.pair.allow(account+"\x00"+address) && l.account.allow(account)
}
