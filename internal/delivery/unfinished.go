package delivery

import (
	"hash/maphash"
	"sync"
	"time"

	"expost/internal/mail"
)

// Bounds of what is remembered of partly delivered messages.
const (
	maxUnfinished = 4096
	unfinishedFor = 5 * 24 * time.Hour // how long hosts try again (RFC 5321 §4.5.4.1)
)

// contentKey names a message by its sender and its bytes as they were received.
type contentKey struct {
	from mail.Address
	sum  uint64
	size int64
}

// place is a mailbox of an account, as a Target names it.
type place struct {
	account mail.AccountID
	mailbox string
}

// unfinished remembers which mailboxes have a message whose sender was told to
// try again.
type unfinished struct {
	seed     maphash.Seed
	mu       sync.Mutex
	messages map[contentKey]progress
}

type progress struct {
	since time.Time
	done  map[place]bool
}

func newUnfinished() *unfinished {
	return &unfinished{seed: maphash.MakeSeed(), messages: map[contentKey]progress{}}
}

// done returns the places that have the message already.
func (u *unfinished) done(key contentKey, now time.Time) map[place]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, ok := u.messages[key]
	if !ok || now.Sub(p.since) > unfinishedFor {
		return nil
	}
	return p.done
}

// set replaces what is remembered of a message; nothing where done is empty.
func (u *unfinished) set(key contentKey, done map[place]bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.messages, key)
	if len(done) == 0 {
		return
	}
	if len(u.messages) >= maxUnfinished {
		u.evict()
	}
	u.messages[key] = progress{since: now, done: done}
}

// evict drops the oldest message.
func (u *unfinished) evict() {
	var oldest contentKey
	var since time.Time
	for k, p := range u.messages {
		if since.IsZero() || p.since.Before(since) {
			oldest, since = k, p.since
		}
	}
	delete(u.messages, oldest)
}
