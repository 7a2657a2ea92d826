package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
	"expost/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, open)) }

// TestKill kills a process under load: 5 times, or as often as the environment
// variable CRASH_ROUNDS says.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	storetest.Crash(t, open, rounds)
}

func TestPowerCut(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{"long journal": 0, "short journal": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newFaultVFS(t, t.TempDir())
			storetest.PowerCut(t, v.engine(t, size), v.image, open, 15)
		})
	}
}

// TestMadeAnew removes an account and makes it again under its name: after a
// power cut nothing that the journal has of the first is in the second.
func TestMadeAnew(t *testing.T) {
	t.Parallel()
	v := newFaultVFS(t, t.TempDir())
	s := store.New(v.engine(t, 0), store.Options{IndexDelay: -1})
	defer s.Close()
	for round := range 4 {
		if err := s.Create(t.Context(), ajay); err != nil {
			t.Fatal(err)
		}
		a, box := inbox(t, s, ajay)
		for n := range 5 * round {
			deliver(t, s, a, box.ID, fmt.Sprint("Subject: ", n, "\r\n\r\n"))
		}
		dir := t.TempDir()
		v.image(dir)
		left := store.New(open(t, dir), store.Options{})
		if got := findings(t, left, false); got != "" {
			t.Errorf("round %d: check found %q", round, got)
		}
		b, err := left.Open(t.Context(), ajay)
		if err != nil {
			t.Fatal(err)
		}
		if box, err := b.Mailbox(t.Context(), "INBOX"); err != nil || box.Messages != 5*round {
			t.Errorf("round %d: INBOX is %+v, %v", round, box, err)
		}
		b.Release()
		a.Release()
		if err := errors.Join(left.Close(), s.Remove(t.Context(), ajay)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCutBulk mixes changes that are too large for a record of the journal
// with small ones. Each is there wholly or not at all.
func TestPowerCutBulk(t *testing.T) {
	t.Parallel()
	v := newFaultVFS(t, t.TempDir())
	s := store.New(v.engine(t, 256<<10), store.Options{IndexDelay: -1})
	defer s.Close()
	if err := s.Create(t.Context(), ajay); err != nil {
		t.Fatal(err)
	}
	a, box := inbox(t, s, ajay)
	defer a.Release()
	const bulk = 70 // some write more, and some less, than makes SQLite begin its log anew
	var batch []store.BulkMessage
	for n := range bulk {
		body := make([]byte, 20_000)
		rand.NewChaCha8([32]byte{byte(n)}).Read(body)
		in, err := s.Spool(t.Context(), nil, strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n%x", n, body)), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		batch = append(batch, store.BulkMessage{Incoming: in})
	}
	var acked atomic.Int64
	var failed error
	done := make(chan bool)
	go func() {
		defer close(done)
		for round := 0; round < 30 && failed == nil; round++ {
			n := int64(1)
			if rand.IntN(3) == 0 {
				n = bulk
				_, failed = a.Bulk(t.Context(), box.ID, batch)
			} else {
				_, failed = a.Append(t.Context(), box.ID, batch[round].Incoming, store.AppendOptions{})
			}
			if failed == nil {
				acked.Add(n)
			}
		}
	}()
	type cut struct {
		dir            string
		before, behind int64
	}
	var cuts []cut
	for running := true; running; { // a cut every few steps
		c := cut{dir: t.TempDir(), before: acked.Load()}
		v.image(c.dir)
		next := v.steps.Load() + 1 + rand.Int64N(700)
		c.behind = acked.Load()
		cuts = append(cuts, c)
		for running && v.steps.Load() < next {
			select {
			case <-done:
				running = false
			default:
				runtime.Gosched()
			}
		}
	}
	if failed != nil {
		t.Fatal(failed)
	}
	for _, c := range cuts {
		left := store.New(open(t, c.dir), store.Options{})
		if got := findings(t, left, false); got != "" {
			t.Errorf("check found %q", got)
		}
		b, err := left.Open(t.Context(), ajay)
		if err != nil {
			t.Fatal(err)
		}
		box, err := b.Mailbox(t.Context(), "INBOX")
		if n := int64(box.Messages); err != nil || n < c.before || n > c.behind+bulk || n%bulk > 30 {
			t.Errorf("%d messages, %v; %d were acknowledged before, %d behind", n, err, c.before, c.behind)
		}
		b.Release()
		if err := left.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d power cuts", len(cuts))
}

// inbox opens an account, to be released, and returns its INBOX.
func inbox(t *testing.T, s *store.Store, id mail.AccountID) (*store.Account, mail.Mailbox) {
	t.Helper()
	a, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	box, err := a.Mailbox(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	return a, box
}

// deliver appends a message.
func deliver(t *testing.T, s *store.Store, a *store.Account, box mail.MailboxID, text string) {
	t.Helper()
	in, err := s.Spool(t.Context(), nil, strings.NewReader(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := a.Append(t.Context(), box, in, store.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestReadersAreNotLogged opens an account to read it, again and again: the
// journal hears of the one delivery behind that alone.
func TestReadersAreNotLogged(t *testing.T) {
	t.Parallel()
	v := newFaultVFS(t, t.TempDir())
	e := v.engine(t, 0)
	s := store.New(e, store.Options{IndexDelay: -1})
	defer s.Close()
	if err := s.Create(t.Context(), ajay); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		db, err := e.Open(t.Context(), ajay)
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(t.Context(), func(tx store.ReadTx) error { _, err := tx.Account(); return err })
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	a, box := inbox(t, s, ajay)
	defer a.Release()
	deliver(t, s, a, box.ID, "Subject: one\r\n\r\n")
	dir, log := t.TempDir(), new(bytes.Buffer)
	v.image(dir)
	left, err := sqlite.New(dir, sqlite.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "records=1\n") {
		t.Errorf("the log says %s", log)
	}
}

// TestSyncs counts syncs: deliveries to many accounts at once share them.
func TestSyncs(t *testing.T) {
	t.Parallel()
	v := newFaultVFS(t, t.TempDir())
	s := store.New(v.engine(t, 0), store.Options{IndexDelay: -1})
	defer s.Close()
	const accounts = 50
	var all []*store.Account
	var box mail.MailboxID
	for n := range accounts {
		id := mail.AccountID(fmt.Sprint("example.org/u", n))
		if err := s.Create(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		a, m := inbox(t, s, id)
		defer a.Release()
		all, box = append(all, a), m.ID
	}
	for n := range 20 {
		before := v.syncs.Load()
		deliver(t, s, all[n], box, "Subject: one\r\n\r\n")
		if got := v.syncs.Load() - before; got > 2 { // the first also makes the journal
			t.Errorf("one delivery took %d syncs", got)
		}
	}
	before := v.syncs.Load()
	const rounds = 10
	for range rounds {
		var wg sync.WaitGroup
		for _, a := range all {
			wg.Go(func() { deliver(t, s, a, box, "Subject: many\r\n\r\n") })
		}
		wg.Wait()
	}
	if got := v.syncs.Load() - before; got >= rounds*accounts {
		t.Errorf("%d deliveries took %d syncs", rounds*accounts, got)
	} else {
		t.Logf("%d deliveries took %d syncs", rounds*accounts, got)
	}
}

func TestDiskFails(t *testing.T) {
	t.Parallel()
	for _, failure := range diskFailures {
		t.Run(failure.name, func(t *testing.T) {
			t.Parallel()
			v := newFaultVFS(t, t.TempDir())
			storetest.Failing(t, v.engine(t, 0), func() { v.fail.Store(&failure.err) }, func() { v.fail.Store(nil) })
		})
	}
}

// TestDiskFull fills a real, small file system.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := dir + "/ballast"
	storetest.Failing(t, open(t, dir), func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}, func() { os.Remove(ballast) })
}
