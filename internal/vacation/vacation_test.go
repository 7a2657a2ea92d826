package vacation

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"expost/internal/mail"
)

func TestOnceInTwoWeeks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vacation")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	l, err := open(path, clock)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(account mail.AccountID, sender mail.Address, want bool) {
		t.Helper()
		if got, err := l.Claim(account, sender); err != nil || got != want {
			t.Errorf("%s to %s after %v: %v, %v", account, sender, now, got, err)
		}
	}
	claim("a", "x@far.example", true)
	claim("a", "X@Far.example", false)
	claim("a", "y@far.example", true)
	claim("b", "x@far.example", true)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 11)); err != nil { // a crash within a record
		t.Fatal(err)
	}
	f.Close()
	now = now.Add(Interval - time.Second)
	if l, err = open(path, clock); err != nil {
		t.Fatal(err)
	}
	claim("a", "x@far.example", false)
	claim("c", "x@far.example", true)
	now = now.Add(2 * time.Second)
	claim("a", "x@far.example", true)
	claim("c", "x@far.example", false)
	l.Close()
	if l, err = open(path, clock); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	claim("a", "x@far.example", false)
	if len(l.last) != 2 {
		t.Errorf("%d records are kept, want 2", len(l.last))
	}
}

func TestFileStaysSmall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vacation")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	l, err := open(path, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 5 {
		for i := range 400 {
			if ok, err := l.Claim("a", mail.Address(fmt.Sprintf("u%d@x.example", i))); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		now = now.Add(Interval)
	}
	if l.records > 1400 {
		t.Errorf("the file has %d records of %d senders", l.records, len(l.last))
	}
}
