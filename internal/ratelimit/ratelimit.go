// Package ratelimit counts how much somebody has done lately, in bounded memory.
//
// The time is cut into windows; what was done in the one before counts for the
// part of it that the last window's length still covers, so that a burst cannot
// be had twice at the border. Counts are lost at a restart.
package ratelimit

import (
	"math"
	"sync"
	"time"
)

// Limit is how much may be done in a time. The zero Limit is none.
type Limit struct {
	Count int
	Per   time.Duration
}

// maxKeys is how many keys a Limiter remembers.
const maxKeys = 100000

// Limiter holds a Limit for each key. It is safe for concurrent use.
type Limiter struct {
	limit Limit
	mu    sync.Mutex
	keys  map[string]count
}

// count is what a key has done in the present window and in the one before.
type count struct {
	window    int64
	now, last int
}

// New returns a Limiter that has seen nothing.
func New(l Limit) *Limiter { return &Limiter{limit: l, keys: map[string]count{}} }

// Limit returns the limit.
func (l *Limiter) Limit() Limit { return l.limit }

// Take counts n for a key, where the limit is kept with them. Where it is not, it
// counts nothing and is false. A nil Limiter, or one without a limit, lets all pass.
func (l *Limiter) Take(key string, n int, now time.Time) bool {
	if l == nil || l.limit.Count <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.at(key, now)
	if c.sum(now, l.limit.Per)+n > l.limit.Count {
		return false
	}
	if _, ok := l.keys[key]; !ok && len(l.keys) >= maxKeys {
		l.evict(c.window)
	}
	c.now += n
	l.keys[key] = c
	return true
}

// at returns the count of a key in the window of now. l.mu is held.
func (l *Limiter) at(key string, now time.Time) count {
	c, w := l.keys[key], now.UnixNano()/int64(l.limit.Per)
	switch c.window {
	case w:
	case w - 1:
		c = count{window: w, last: c.now}
	default:
		c = count{window: w}
	}
	return c
}

// sum is what counts now of both windows.
func (c count) sum(now time.Time, per time.Duration) int {
	left := 1 - float64(now.UnixNano()%int64(per))/float64(per)
	return c.now + int(math.Ceil(float64(c.last)*left))
}

// evict forgets the keys of windows that are over, and any tenth where that is
// not enough. l.mu is held.
func (l *Limiter) evict(window int64) {
	for k, c := range l.keys {
		if c.window < window-1 {
			delete(l.keys, k)
		}
	}
	n := len(l.keys) - maxKeys*9/10
	for k := range l.keys {
		if n <= 0 {
			return
		}
		delete(l.keys, k)
		n--
	}
}
