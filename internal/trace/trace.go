// Package trace shows the live protocol dialogue of an account to whoever
// watches it. Passwords and the bodies of messages are left out.
//
// A session that nobody watches pays a nil check or an atomic load for each read
// and write. A watcher that is slow misses lines and is told how many; it never
// holds a session up.
package trace

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// queueLines is how many lines wait for a watcher, maxText how long one may be.
const (
	queueLines = 2000
	maxText    = 2000
)

// Tracer knows who watches what. It is safe for concurrent use; a nil one
// watches nothing.
type Tracer struct {
	now     func() time.Time
	mu      sync.Mutex
	watches atomic.Pointer[[]*Watch] // nil: nobody watches anything
	last    atomic.Uint64            // numbers the sessions
}

// New returns a Tracer. now is the clock, nil for the system's.
func New(now func() time.Time) *Tracer {
	if now == nil {
		now = time.Now
	}
	return &Tracer{now: now}
}

// Watch is somebody who watches an account.
type Watch struct {
	tracer            *Tracer
	account, protocol string // protocol "": any
	lines             chan string
	missed            atomic.Int64
}

// Watch begins to watch an account, by its key (mail.Address.Key). Close it.
func (t *Tracer) Watch(account, protocol string) *Watch {
	w := &Watch{tracer: t, account: account, protocol: protocol, lines: make(chan string, queueLines)}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []*Watch{w}
	if old := t.watches.Load(); old != nil {
		list = append(slices.Clone(*old), w)
	}
	t.watches.Store(&list)
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	t := w.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.watches.Load()
	if old == nil {
		return
	}
	list := slices.DeleteFunc(slices.Clone(*old), func(x *Watch) bool { return x == w })
	if len(list) == 0 {
		t.watches.Store(nil)
		return
	}
	t.watches.Store(&list)
}

// Next returns the next line, waiting for it. It is an error when ctx ends.
func (w *Watch) Next(ctx context.Context) (string, error) {
	select {
	case l := <-w.lines:
		return l, nil
	default:
	}
	if n := w.missed.Swap(0); n > 0 {
		return fmt.Sprintf("… %d lines are left out here: they came faster than they were read", n), nil
	}
	select {
	case l := <-w.lines:
		return l, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// send gives a line to the watcher, or counts it where there is no room.
func (w *Watch) send(line string) {
	select {
	case w.lines <- line:
	default:
		w.missed.Add(1)
	}
}

// watching returns those who watch an account.
func (t *Tracer) watching(account, protocol string) []*Watch {
	if t == nil {
		return nil
	}
	all := t.watches.Load()
	if all == nil {
		return nil
	}
	var list []*Watch
	for _, w := range *all {
		if w.account == account && (w.protocol == "" || w.protocol == protocol) {
			list = append(list, w)
		}
	}
	return list
}

// Active tells whether anybody watches anything.
func (t *Tracer) Active() bool { return t != nil && t.watches.Load() != nil }

// Note tells those who watch an account of something that is not part of a
// session, as a login that is refused.
func (t *Tracer) Note(account, protocol string, from netip.Addr, text string) {
	for _, w := range t.watching(account, protocol) {
		w.send(t.line(protocol, "", from, "--", text))
	}
}

// line makes a line of what is shown.
func (t *Tracer) line(protocol, number string, from netip.Addr, mark, text string) string {
	if len(text) > maxText {
		text = fmt.Sprintf("%s… (%d bytes)", text[:maxText], len(text))
	}
	return fmt.Sprintf("%s %s%s %s %s %s", t.now().Format("15:04:05.000"), protocol, number, from, mark, printable(text))
}

// printable makes bytes fit for a terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) && !strings.Contains(s, "\ufffd") {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == '\ufffd' || unprintable(r) {
			fmt.Fprintf(&b, `\x%02x`, s[i])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unprintable(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }

// Session is one session of an account. A nil one shows nothing.
type Session struct {
	tracer            *Tracer
	account, protocol string
	from              netip.Addr
	number            uint64

	mu  sync.Mutex
	red redactor // nil: not shown now
}

// redactor takes what is said in a session apart into lines fit to be shown.
type redactor interface {
	client(b []byte, show func(string))
	server(b []byte, show func(string))
}

// Session returns what a session of an account is shown by; nil of a nil Tracer.
func (t *Tracer) Session(account, protocol string, from netip.Addr) *Session {
	if t == nil {
		return nil
	}
	return &Session{tracer: t, account: account, protocol: protocol, from: from, number: t.last.Add(1)}
}

// Begin says that the client's next byte begins a command: from there on a
// session can be shown to a watcher who came after it had begun.
func (s *Session) Begin() {
	if s == nil || s.tracer.watches.Load() == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
}

// begin is Begin under the lock.
func (s *Session) begin() {
	if len(s.tracer.watching(s.account, s.protocol)) == 0 {
		s.red = nil
		return
	}
	if s.red == nil {
		s.red = newRedactor(s.protocol)
	}
}

// Client shows what has come from the client.
func (s *Session) Client(b []byte) { s.show(b, "C:", redactor.client) }

// Server shows what goes to the client.
func (s *Session) Server(b []byte) { s.show(b, "S:", redactor.server) }

// show shows bytes of one direction.
func (s *Session) show(b []byte, mark string, take func(redactor, []byte, func(string))) {
	if s == nil || s.tracer.watches.Load() == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.red == nil {
		return
	}
	watchers := s.tracer.watching(s.account, s.protocol)
	if len(watchers) == 0 { // what follows is not taken apart: begin anew for the next one
		s.red = nil
		return
	}
	take(s.red, b, func(text string) { s.tell(watchers, mark, text) })
}

// tell gives one line to the watchers.
func (s *Session) tell(watchers []*Watch, mark, text string) {
	line := s.tracer.line(s.protocol, fmt.Sprint("#", s.number), s.from, mark, text)
	for _, w := range watchers {
		w.send(line)
	}
}

// Say shows a line of a protocol that is not text, where text is called only if
// somebody watches.
func (s *Session) Say(mark string, text func() string) {
	if s == nil || s.tracer.watches.Load() == nil {
		return
	}
	if watchers := s.tracer.watching(s.account, s.protocol); len(watchers) > 0 {
		s.tell(watchers, mark, text())
	}
}

// Heard is Client for a session of which nobody knows where commands begin: one
// by proxy. It is shown from where something looks like a command.
func (s *Session) Heard(b []byte) {
	if s == nil || s.tracer.watches.Load() == nil {
		return
	}
	s.mu.Lock()
	if s.red == nil && looksLikeCommand(s.protocol, b) {
		s.begin()
	}
	s.mu.Unlock()
	s.Client(b)
}

// looksLikeCommand tells whether bytes begin with a command of a protocol.
func looksLikeCommand(protocol string, b []byte) bool {
	words := strings.Fields(strings.ToUpper(string(b[:min(len(b), 80)])))
	if len(words) == 0 {
		return false
	}
	word := words[0]
	if protocol == "imap" {
		if len(words) < 2 || len(word) > 20 {
			return false
		}
		word = words[1]
	}
	return slices.Contains(strings.Fields("NOOP CAPABILITY LOGOUT SELECT EXAMINE LIST LSUB STATUS FETCH UID STORE SEARCH COPY MOVE IDLE CLOSE UNSELECT EXPUNGE NAMESPACE ENABLE ID GETQUOTAROOT "+
		"STAT UIDL RETR TOP DELE RSET QUIT EHLO MAIL"), word)
}
