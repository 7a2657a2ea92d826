package storetest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/fulltext"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// crashDir is the environment variable by which Main knows that it is the
// process to be killed.
const crashDir = "STORETEST_CRASH_DIR"

// Main is the TestMain of an engine's test, which Crash runs again as the
// process that it kills. It returns the exit status.
func Main(m *testing.M, open Open) int {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return m.Run()
	}
	s := store.New(open(&bareTB{}, dir), crashOptions)
	if err := newWork(s, os.Stdout, os.Getenv(crashDir+"_ROUND")).run(context.Background(), 8); err != nil {
		return 1
	}
	return 0
}

// bareTB is a testing.TB outside a test.
type bareTB struct{ testing.TB }

func (*bareTB) Helper()           {}
func (*bareTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

var crashOptions = store.Options{InlineMax: 8 << 10, IndexDelay: time.Millisecond, Log: slog.New(slog.DiscardHandler)}

// The states that each message goes through, one operation each.
const (
	stateNone = iota
	stateAppended
	stateFlagged
	stateMoved
	stateDeleted
	stateExpunged
	states
)

// work is a load on an account that reports what was acknowledged, a line a
// state: "<name of the message> <state>".
type work struct {
	store *store.Store
	round string

	mu  sync.Mutex
	out io.Writer
}

func newWork(s *store.Store, out io.Writer, round string) *work {
	return &work{store: s, out: out, round: round}
}

// report writes that a message has reached a state, in one write.
func (w *work) report(name string, state int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, "%s %d\n", name, state)
}

// run works from many sides until ctx ends or an operation fails.
func (w *work) run(ctx context.Context, sides int) error {
	a, err := w.store.Open(ctx, account)
	if err != nil {
		return err
	}
	defer a.Release()
	inbox, err := a.Mailbox(ctx, "INBOX")
	if err != nil {
		return err
	}
	trash, err := a.Mailbox(ctx, "Trash")
	if err != nil {
		return err
	}
	shared, err := w.sharedBox(ctx, a)
	if err != nil {
		return err
	}
	errs := make(chan error, sides+2)
	for _, do := range []func(context.Context, *store.Account, mail.MailboxID, int) error{w.share, w.read} {
		go func() {
			var err error
			for n := 0; err == nil && ctx.Err() == nil; n++ {
				err = do(context.Background(), a, shared, n)
			}
			errs <- err
		}()
	}
	for side := range sides {
		go func() {
			var err error
			for n := 0; err == nil && ctx.Err() == nil; n++ {
				err = w.message(a, inbox.ID, trash.ID, fmt.Sprintf("%s.%d.%d", w.round, side, n), n)
			}
			errs <- err
		}()
	}
	for range sides + 2 {
		if failed := <-errs; err == nil {
			err = failed
		}
	}
	return err
}

// message takes one message through some of its states.
func (w *work) message(a *store.Account, inbox, trash mail.MailboxID, name string, n int) error {
	ctx := context.Background()
	body := strings.Repeat("x", 1000)
	if n%6 == 0 {
		body = noise(20_000, uint64(n)) // a file
	}
	in, err := w.store.Spool(ctx, nil, strings.NewReader("Subject: "+name+"\r\n\r\n"+body), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	got, err := a.Append(ctx, inbox, in, store.AppendOptions{})
	if err != nil {
		return err
	}
	box, uid := inbox, set(got.UID)
	for state := stateAppended; ; state++ {
		w.report(name, state)
		if state >= 1+n%(states-1) || state == stateExpunged {
			return nil
		}
		switch state + 1 {
		case stateFlagged:
			_, err = a.StoreFlags(ctx, box, uid, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Flagged})
		case stateMoved:
			var moved store.Copied
			if moved, err = a.Move(ctx, box, uid, trash); err == nil {
				box, uid = trash, set(moved.Target...)
			}
		case stateDeleted:
			_, err = a.StoreFlags(ctx, box, uid, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
		case stateExpunged:
			_, err = a.Expunge(ctx, box, uid)
		}
		if err != nil {
			return err
		}
	}
}

// verify opens the account and compares it with what was acknowledged before it
// stopped, and at the latest. A state may be one further than that: what was
// under way may have been done.
func verify(t *testing.T, s *store.Store, acked, latest map[string]int) {
	t.Helper()
	ctx := t.Context()
	for finding, err := range s.Check(ctx, store.CheckOptions{Repair: true}) {
		if err != nil {
			t.Fatal(err)
		}
		// The index of shares may name an account too many, never one too few.
		if !strings.Contains(finding.Problem, "belongs to no message") && !strings.Contains(finding.Problem, "the index says that it shares with") {
			t.Errorf("check found: %v", finding)
		}
	}
	a, err := s.Open(ctx, account)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	if err := a.IndexTexts(ctx); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]int)
	for _, name := range []string{"INBOX", "Trash"} {
		v, err := a.Examine(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		messages := messagesOf(v.Snapshot())
		v.Close()
		ids := make([]mail.EmailID, len(messages))
		for i := range messages {
			ids[i] = messages[i].Email
		}
		err = a.Details(ctx, ids, func(i int, m *message.Message) error {
			state := stateAppended
			switch {
			case messages[i].Flags&mail.Deleted != 0:
				state = stateDeleted
			case name == "Trash":
				state = stateMoved
			case messages[i].Flags&mail.Flagged != 0:
				state = stateFlagged
			}
			if found[m.Envelope.Subject] != 0 {
				t.Errorf("message %s is there twice", m.Envelope.Subject)
			}
			found[m.Envelope.Subject] = state
			verifyText(t, a, ids[i], m.Envelope.Subject)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	verifyShared(t, a, acked, latest)
	for name, state := range acked {
		if strings.HasPrefix(name, sharedPrefix) {
			continue
		}
		is := found[name]
		if is == stateNone && latest[name] >= stateDeleted {
			is = stateExpunged
		}
		if is < state || is > latest[name]+1 {
			t.Errorf("message %s was acknowledged in state %d and is in %d", name, state, is)
		}
	}
}

// verifyText looks for a message by its subject.
func verifyText(t *testing.T, a *store.Account, id mail.EmailID, subject string) {
	t.Helper()
	needle := []fulltext.Needle{{Where: fulltext.InField, Field: "Subject", Text: fulltext.Fold(subject)}}
	hits, err := a.SearchTexts(t.Context(), []mail.EmailID{id}, needle)
	if err != nil {
		t.Fatal(err)
	}
	if !hits.Known(id) || !hits.Found(id, 0) {
		t.Errorf("message %s is indexed: %v, but not found", subject, hits.Known(id))
	}
}

// Crash kills a process that works on a store, again and again, and counts what
// it had acknowledged. The test's binary must call Main.
func Crash(t *testing.T, open Open, rounds int) {
	dir := t.TempDir()
	s := store.New(open(t, dir), crashOptions)
	if err := s.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	acked := make(map[string]int)
	for round := range rounds {
		killUnderLoad(t, dir, fmt.Sprint(round), acked)
		s := store.New(open(t, dir), crashOptions)
		verify(t, s, acked, acked)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d messages acknowledged", rounds, len(acked))
}

// killUnderLoad runs this binary as the process to be killed, kills it after a
// random number of acknowledgements, and adds what was acknowledged.
func killUnderLoad(t *testing.T, dir, round string, acked map[string]int) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashDir+"_ROUND="+round)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := 20 + rand.IntN(600)
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	n := 0
	for ; lines.Scan(); n++ {
		var name string
		var state int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &name, &state); err == nil {
			acked[name] = state
		}
		if n == limit {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	if n < limit {
		t.Fatalf("the process ended by itself after %d lines: %s", n, problems.String())
	}
}
