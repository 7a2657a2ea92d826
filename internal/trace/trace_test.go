package trace

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var from = netip.MustParseAddr("192.0.2.1")

func newTracer() *Tracer {
	return New(func() time.Time { return time.Date(2003, 10, 1, 12, 0, 0, 0, time.UTC) })
}

// drain returns what waits for a watcher.
func drain(t *testing.T, w *Watch) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var list []string
	for {
		l, err := w.Next(ctx)
		if err != nil {
			return list
		}
		list = append(list, l)
	}
}

// play plays "C: " and "S: " lines, in pieces of some bytes, and returns what is
// shown, without time, session and address.
func play(t *testing.T, protocol, dialogue string, piece int) string {
	t.Helper()
	tr := newTracer()
	w := tr.Watch("ajay", "")
	defer w.Close()
	s := tr.Session("ajay", protocol, from)
	s.Begin()
	for line := range strings.Lines(strings.TrimPrefix(dialogue, "\n")) {
		say := s.Client
		if strings.HasPrefix(line, "S: ") {
			say = s.Server
		}
		text := strings.TrimSuffix(line[3:], "\n") + "\r\n"
		for len(text) > 0 {
			n := min(piece, len(text))
			say([]byte(text[:n]))
			text = text[n:]
		}
	}
	var shown strings.Builder
	for _, l := range drain(t, w) {
		_, text, ok := strings.Cut(l, from.String()+" ")
		if !ok {
			t.Fatalf("a line without the address: %q", l)
		}
		shown.WriteString(text + "\n")
	}
	return shown.String()
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ protocol, dialogue, want string }{
		"IMAP": {"imap", `
C: a SELECT INBOX
S: * 3 EXISTS
S: a OK [READ-WRITE] done
C: b FETCH 1 (FLAGS BODY[])
S: * 1 FETCH (FLAGS (\Seen) BODY[] {14}
S: secret one
S: )
S: * 2 FETCH (BODY[TEXT]<0> "secret two" PREVIEW "secret three" ENVELOPE ("d" "Subject"))
S: b OK
C: c APPEND INBOX {12}
S: + go ahead
C: secret now
C: 
S: c OK
C: d LOGIN ajay secret4
S: d NO
C: e LOGIN {4+}
C: ajay {7}
C: secret5
S: e NO
C: f AUTHENTICATE PLAIN
S: + 
C: c2VjcmV0Ng==
S: f OK
C: g AUTHENTICATE PLAIN c2VjcmV0Nw==
S: g OK
C: h NOOP
S: h OK
`, `C: a SELECT INBOX
S: * 3 EXISTS
S: a OK [READ-WRITE] done
C: b FETCH 1 (FLAGS BODY[])
S: * 1 FETCH (FLAGS (\Seen) BODY[] {14}
S: 
S: * 2 FETCH (BODY[TEXT]<0> <10 bytes> PREVIEW <12 bytes> ENVELOPE ("d" "Subject"))
S: b OK
C: c APPEND INBOX {12}
S: + go ahead
C: … 
S: c OK
C: d LOGIN <not shown>
S: d NO
C: e LOGIN <not shown>
C: … <not shown>
C: … <not shown>
S: e NO
C: f AUTHENTICATE PLAIN
S: + <not shown>
C: <not shown>
S: f OK
C: g AUTHENTICATE PLAIN <not shown>
S: g OK
C: h NOOP
S: h OK
`},
		"POP3": {"pop3", `
C: USER ajay
C: PASS secret
C: AUTH PLAIN
S: +OK
S: +OK
S: + 
C: c2VjcmV0
S: +OK 2 messages
C: UIDL
C: RETR 1
C: RETR 9
C: STAT
S: +OK
S: 1 abc
S: .
S: +OK 20 bytes
S: Subject: secret
S: 
S: ..
S: .
S: -ERR no such message
S: +OK 2 20
`, `C: USER ajay
C: PASS <not shown>
C: AUTH PLAIN
S: +OK
S: +OK
S: + <not shown>
C: <not shown>
S: +OK 2 messages
C: UIDL
C: RETR 1
C: RETR 9
C: STAT
S: +OK
S: 1 abc
S: .
S: +OK 20 bytes
S: <23 bytes>
S: -ERR no such message
S: +OK 2 20
`},
		"submission": {"submission", `
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
C: c2VjcmV0
S: 334 UGFzc3dvcmQ6
C: c2VjcmV0
S: 235 ok
C: MAIL FROM:<a@b>
S: 250 ok
C: DATA
S: 354 go
C: Subject: secret
C: 
C: ..secret
C: .
S: 250 queued
C: BDAT 8 LAST
C: secret
S: 250 queued
C: DATA
S: 503 RCPT first
C: QUIT
S: 221 bye
`, `C: AUTH LOGIN
S: 334 <not shown>
C: <not shown>
S: 334 <not shown>
C: <not shown>
S: 235 ok
C: MAIL FROM:<a@b>
S: 250 ok
C: DATA
S: 354 go
C: <29 bytes>
S: 250 queued
C: BDAT 8 LAST
S: 250 queued
C: DATA
S: 503 RCPT first
C: QUIT
S: 221 bye
`},
	} {
		for _, piece := range []int{1, 3, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, piece), func(t *testing.T) {
				t.Parallel()
				got := play(t, tt.protocol, tt.dialogue, piece)
				if got != tt.want {
					t.Errorf("shown:\n%s\nwant:\n%s", got, tt.want)
				}
				if strings.Contains(got, "secret") || strings.Contains(got, "c2Vjc") {
					t.Error("a secret is shown")
				}
			})
		}
	}
}

func TestWatchers(t *testing.T) {
	t.Parallel()
	tr := newTracer()
	s := tr.Session("ajay", "imap", from)
	s.Begin()
	s.Client([]byte("a NOOP\r\n"))
	ajay, pop3, anup := tr.Watch("ajay", ""), tr.Watch("ajay", "pop3"), tr.Watch("anup", "")
	s.Client([]byte("secret inside of a literal\r\n")) // it has not begun for the watcher
	s.Begin()
	s.Client([]byte("b NOOP\r\n"))
	tr.Note("ajay", "imap", from, "login refused")
	if got := drain(t, ajay); len(got) != 2 || got[0] != "12:00:00.000 imap#1 192.0.2.1 C: b NOOP" || got[1] != "12:00:00.000 imap 192.0.2.1 -- login refused" {
		t.Errorf("shown %q", got)
	}
	if got := append(drain(t, pop3), drain(t, anup)...); len(got) != 0 {
		t.Errorf("others are shown %q", got)
	}
	ajay.Close()
	pop3.Close()
	anup.Close()
	if tr.Active() {
		t.Error("somebody watches still")
	}
	s.Client([]byte("c NOOP\r\n")) // nobody must mind
	var none *Tracer
	none.Session("ajay", "imap", from).Client([]byte("x"))
	none.Note("ajay", "imap", from, "x")
}

func TestSlowWatcherMissesLines(t *testing.T) {
	t.Parallel()
	tr := newTracer()
	w := tr.Watch("ajay", "")
	defer w.Close()
	s := tr.Session("ajay", "imap", from)
	s.Begin()
	for i := range queueLines + 500 {
		s.Client(fmt.Appendf(nil, "%d NOOP\r\n", i))
	}
	got := drain(t, w)
	if len(got) != queueLines+1 || !strings.Contains(got[queueLines], "500 lines are left out") {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
}

// A session by proxy is shown from where something looks like a command.
func TestHeard(t *testing.T) {
	t.Parallel()
	tr := newTracer()
	w := tr.Watch("ajay", "")
	defer w.Close()
	s := tr.Session("ajay", "imap", from)
	s.Heard([]byte("this is a secret of a message that is being appended\r\n"))
	s.Server([]byte("secret\r\n"))
	s.Heard([]byte("a7 SELECT INBOX\r\n"))
	s.Server([]byte("* 1 EXISTS\r\n"))
	if got := strings.Join(drain(t, w), "\n"); strings.Contains(got, "secret") || !strings.Contains(got, "C: a7 SELECT INBOX") || !strings.Contains(got, "S: * 1 EXISTS") {
		t.Errorf("shown:\n%s", got)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	if got := printable("a\x1b[31m\xffé\t"); got != `a\x1b[31m\xffé`+"\t" {
		t.Errorf("%q", got)
	}
}

func FuzzRedaction(f *testing.F) {
	f.Add("a LOGIN {3}\r\nabc {3+}\r\nxyz\r\n", "* 1 FETCH (BODY[] {3}\r\nabc)\r\n")
	f.Add("RETR 1\r\nDATA\r\n.\r\nBDAT 99999999999999999999\r\n", "+OK\r\n354\r\n.\r\n")
	f.Fuzz(func(t *testing.T, client, server string) {
		for _, protocol := range []string{"imap", "pop3", "submission"} {
			r := newRedactor(protocol)
			r.client([]byte(client), func(string) {})
			r.server([]byte(server), func(string) {})
		}
	})
}

// What a session costs while nobody watches.
func BenchmarkUnwatched(b *testing.B) {
	s := newTracer().Session("ajay", "imap", from)
	line := []byte("a NOOP\r\n")
	b.ReportAllocs()
	for b.Loop() {
		s.Client(line)
		s.Server(line)
	}
}
