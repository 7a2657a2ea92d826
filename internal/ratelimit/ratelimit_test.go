package ratelimit

import (
	"fmt"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	t.Parallel()
	l := New(Limit{Count: 10, Per: time.Minute})
	start := time.Unix(0, 0).Add(1000 * time.Minute)
	for i := range 12 {
		if got, want := l.Take("a", 1, start.Add(time.Duration(i)*time.Second)), i < 10; got != want {
			t.Errorf("the %d. of the first minute: %v", i+1, got)
		}
	}
	if !l.Take("b", 10, start) || l.Take("b", 1, start) || l.Take("c", 11, start) {
		t.Error("keys are not counted apart")
	}
	if l.Take("a", 1, start.Add(61*time.Second)) {
		t.Error("a burst may be had twice at the border of two windows")
	}
	n := 0
	for l.Take("a", 1, start.Add(90*time.Second)) {
		n++
	}
	if n != 5 {
		t.Errorf("half a minute later %d pass, want 5", n)
	}
	if !l.Take("a", 10, start.Add(5*time.Minute)) {
		t.Error("long after, the count is not back at zero")
	}
	var none *Limiter
	if !none.Take("a", 1000, start) || !New(Limit{}).Take("a", 1000, start) {
		t.Error("no limit refuses")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := New(Limit{Count: 1, Per: time.Hour})
	now := time.Now()
	for i := range maxKeys + 50000 {
		l.Take(fmt.Sprint(i), 1, now)
	}
	if n := len(l.keys); n > maxKeys {
		t.Errorf("%d keys are remembered", n)
	}
}
