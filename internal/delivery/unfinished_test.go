package delivery

import (
	"testing"
	"time"
)

func TestUnfinished(t *testing.T) {
	t.Parallel()
	u, now := newUnfinished(), time.Unix(1e9, 0)
	key := func(i int) contentKey { return contentKey{from: "a@b.example", sum: uint64(i)} }
	done := map[place]bool{{"example.org/ann", ""}: true}
	for i := range maxUnfinished + 1 {
		u.set(key(i), done, now.Add(time.Duration(i)))
	}
	switch {
	case len(u.messages) != maxUnfinished:
		t.Errorf("remembers %d messages, want %d", len(u.messages), maxUnfinished)
	case u.done(key(0), now) != nil:
		t.Error("the oldest is remembered beyond the bound")
	case u.done(key(1), now) == nil:
		t.Error("a younger one is forgotten")
	case u.done(key(1), now.Add(unfinishedFor+time.Hour)) != nil:
		t.Error("one is remembered for ever")
	}
	u.set(key(2), nil, now)
	if u.done(key(2), now) != nil {
		t.Error("one that was delivered in the end is remembered")
	}
}
