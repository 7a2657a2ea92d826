package maillog

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stories returns the events that a query finds, a word a line, "|" between stories.
func stories(t *testing.T, l *Log, q Query) string {
	t.Helper()
	found, err := l.Find(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range found {
		var events []string
		for _, r := range s.Records {
			events = append(events, string(r.Event)+":"+r.To)
		}
		out = append(out, strings.Join(events, " "))
	}
	return strings.Join(out, " | ")
}

func TestStory(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Now().Add(-time.Hour)}
	dir := t.TempDir()
	l := open(t, Config{Dir: dir, Now: c.Now})
	start := c.Now()
	add := func(r Record) { l.Add(&r) }
	add(Record{Event: Accepted, ID: "M1", From: "Ann@example.org", To: "b@far.example", MessageID: "<one@example.org>"})
	add(Record{Event: Queued, ID: "M1", Queue: "Q1", From: "ann@example.org", To: "b@far.example"})
	add(Record{Event: Delivered, ID: "M2", From: "", To: "ann@example.org"})
	add(Record{Event: Deferred, Queue: "Q1", From: "ann@example.org", To: "b@far.example", Result: "451 4.7.1", Reason: `not "now"`})
	middle := c.Now()
	add(Record{Event: Sent, Queue: "Q1", From: "ann@example.org", To: "b@far.example", Result: "250 2.0.0"})
	add(Record{Event: Refused, ID: "M3", From: "x@far.example", To: "ann@example.org"})

	whole := "accepted:b@far.example queued:b@far.example deferred:b@far.example sent:b@far.example"
	for _, test := range []struct {
		name string
		q    Query
		want string
	}{
		{"by id", Query{ID: "M1"}, whole},
		{"by queue id", Query{ID: "q1"}, whole},
		{"by Message-ID", Query{ID: "<one@example.org>"}, whole},
		{"by sender", Query{From: "ann@EXAMPLE.org"}, whole},
		{"by the null sender", Query{From: "<>"}, "delivered:ann@example.org"},
		{"by recipient", Query{To: "ann@example.org"}, "delivered:ann@example.org | refused:ann@example.org"},
		{"by domain", Query{To: "@far.example"}, whole},
		{"by both", Query{From: "x@far.example", To: "ann@example.org"}, "refused:ann@example.org"},
		{"since", Query{Since: middle}, whole + " | refused:ann@example.org"},
		{"until", Query{Until: start}, ""},
		{"limit", Query{Limit: 1}, "refused:ann@example.org"},
		{"nothing", Query{ID: "M9"}, ""},
	} {
		if got := stories(t, l, test.q); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "index.db")); err != nil {
		t.Fatal(err)
	}
	l = open(t, Config{Dir: dir, Now: c.Now})
	defer l.Close()
	l.Add(&Record{Event: Failed, Queue: "Q1", To: "b@far.example"})
	if got := stories(t, l, Query{ID: "M1"}); got != whole+" failed:b@far.example" {
		t.Errorf("with a new index: %s", got)
	}
}

func TestFilesRotateAndExpire(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Now()}
	dir := t.TempDir()
	l := open(t, Config{Dir: dir, Now: c.Now, MaxFile: 2000, Keep: 48 * time.Hour})
	defer l.Close()
	for i := range 60 {
		l.Add(&Record{Event: Delivered, ID: fmt.Sprint("M", i), From: "a@example.org", To: "b@example.org"})
		l.flush()
	}
	if n := len(l.files()); n < 3 {
		t.Errorf("there are %d files", n)
	}
	if got := strings.Count(stories(t, l, Query{}), "delivered"); got != 60 {
		t.Errorf("found %d messages", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "mail.log")); err != nil || !strings.Contains(string(b), "id=M59 ") {
		t.Errorf("mail.log: %v, %s", err, b)
	}
	c.add(72 * time.Hour)
	l.Add(&Record{Event: Delivered, ID: "late", To: "b@example.org"})
	l.flush()
	if n := len(l.files()); n != 1 {
		t.Errorf("there are %d files after three days", n)
	}
	if got := stories(t, l, Query{}); got != "delivered:b@example.org" {
		t.Errorf("found %s", got)
	}
}

func TestTornLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, Config{Dir: dir})
	l.Add(&Record{Event: Delivered, ID: "M1", To: "a@example.org"})
	l.Close()
	f, err := os.OpenFile(filepath.Join(dir, "mail.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("2026-11-27T22:50:01.000000Z delivered id=M2 fr"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l = open(t, Config{Dir: dir})
	defer l.Close()
	l.Add(&Record{Event: Delivered, ID: "M3", To: "c@example.org"})
	if got := stories(t, l, Query{}); got != "delivered:a@example.org | delivered:c@example.org" {
		t.Errorf("found %s", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := open(t, Config{Dir: t.TempDir()})
	defer l.Close()
	l.fileMu.Lock() // the disk stands still
	long := strings.Repeat("x", 2000)
	for range 20000 {
		l.Add(&Record{Event: Refused, To: "a@example.org", Reason: long})
	}
	l.mu.Lock()
	size, lost := len(l.pending), l.lost
	l.mu.Unlock()
	l.fileMu.Unlock()
	if size > maxPending+2*maxValue || lost == 0 {
		t.Errorf("%d bytes are pending, %d lines lost", size, lost)
	}
}

func TestNilLog(t *testing.T) {
	t.Parallel()
	var l *Log
	l.Add(&Record{Event: Sent})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzLine looks for records that do not come back as they were written, and for
// lines that are more than one.
func FuzzLine(f *testing.F) {
	f.Add("a@b", "\"x y\"@b", "550 5.1.1", "no such user \r\n>", "<id@host>")
	f.Add("", "ü@ü", "", "=", "a=b c=d")
	f.Add(`"`, ">", "\\", "\"", "<>")
	f.Fuzz(func(t *testing.T, from, to, result, reason, id string) {
		in := Record{Time: time.UnixMicro(1700000000000000).UTC(), Event: Sent, From: from, To: to, Result: result, Reason: reason, MessageID: id, Size: 5, Delay: time.Second}
		for _, s := range []string{from, to, result, reason, id} {
			if len(s) > maxValue || strings.ToValidUTF8(s, "\uFFFD") != s {
				t.Skip()
			}
		}
		line := string(in.append(nil))
		if strings.Count(line, "\n") != 1 {
			t.Fatalf("%q is more than a line", line)
		}
		out, ok := parse(strings.TrimSuffix(line, "\n"))
		if !ok || out != in {
			t.Errorf("%q came back as %+v, %v", line, out, ok)
		}
		parse(reason)
	})
}

func BenchmarkAdd(b *testing.B) {
	l := open(b, Config{Dir: b.TempDir()})
	defer l.Close()
	b.ReportAllocs()
	for i := range b.N {
		l.Add(&Record{Event: Delivered, ID: "ABCDEFGHIJKLMNOP", From: "sender@example.org", To: "recipient@example.org", Size: int64(i),
			Result: "250 2.6.0", Delay: 1234 * time.Microsecond, With: "ESMTPS", TLS: "TLS 1.3", Client: "192.0.2.1", MessageID: "<abc@example.org>"})
	}
}
