package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// faulty is an engine whose writes can be made to fail, or to wait.
type faulty struct {
	store.Engine
	mu     sync.Mutex
	update func(mail.AccountID) error
	spool  error
}

// set replaces what happens before each write of an account.
func (f *faulty) set(update func(mail.AccountID) error, spool error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.update, f.spool = update, spool
}

func (f *faulty) before(id mail.AccountID) error {
	f.mu.Lock()
	update := f.update
	f.mu.Unlock()
	if update == nil {
		return nil
	}
	return update(id)
}

func (f *faulty) Open(ctx context.Context, id mail.AccountID) (store.DB, error) {
	db, err := f.Engine.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return faultyDB{db, id, f}, nil
}

func (f *faulty) TempFile() (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spool != nil {
		return nil, f.spool
	}
	return f.Engine.TempFile()
}

type faultyDB struct {
	store.DB
	id mail.AccountID
	f  *faulty
}

func (d faultyDB) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := d.f.before(d.id); err != nil {
		return err
	}
	return d.DB.Update(ctx, fn)
}

// newFaultyNode starts a server on a store that can fail.
func newFaultyNode(t *testing.T, cfg Config) (*node, *faulty) {
	t.Helper()
	f := &faulty{}
	st := newStore(t, func(e store.Engine) store.Engine {
		f.Engine = e
		return f
	})
	return newNodeWith(t, cfg, st, sameDirectory), f
}

func diskFull() error {
	return mail.WrapError(mail.KindUnavailable, syscall.ENOSPC, "the disk is full")
}

// fails makes the writes of some accounts fail.
func fails(err error, names ...string) func(mail.AccountID) error {
	return func(id mail.AccountID) error {
		for _, n := range names {
			if id == mail.AccountID("example.org/"+n) {
				return err
			}
		}
		return nil
	}
}

// send sends one message as a client and returns the replies to its end.
func (n *node) send(t *testing.T, hello, message string, to ...string) []string {
	t.Helper()
	c := newClient(t, n)
	c.expect("220")
	c.send(hello + " c.example")
	c.expect("250")
	c.send("MAIL FROM:<a@b.example>")
	c.expect("250")
	for _, a := range to {
		c.send("RCPT TO:<" + a + "@example.org>")
		c.expect("250")
	}
	c.send("DATA")
	c.expect("354")
	c.send(message + "\r\n.")
	replies := []string{c.reply()}
	if hello == "LHLO" {
		for range to[1:] {
			replies = append(replies, c.reply())
		}
	}
	c.send("QUIT")
	c.expect("221")
	return replies
}

func TestNothingIsAcknowledgedThatIsNotStored(t *testing.T) {
	t.Parallel()
	n, f := newFaultyNode(t, Config{})
	n.send(t, "HELO", "Subject: 0", "ann", "bob")
	f.set(fails(diskFull(), "ann"), nil)
	if got := n.send(t, "HELO", "Subject: 1", "ann")[0]; got != "452 4.3.1 the disk is full" {
		t.Errorf("disk full: %q", got)
	}
	f.set(fails(errors.New("secret cause"), "ann"), nil)
	if got := n.send(t, "HELO", "Subject: 2", "ann")[0]; got != "451 4.3.0 internal error" {
		t.Errorf("other error: %q", got)
	}
	f.set(nil, diskFull())
	noise := make([]byte, 300<<10) // does not compress into memory
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[x>>26]
	}
	if got := n.send(t, "HELO", "Subject: 3\r\n\r\n"+string(noise), "ann")[0]; got != "452 4.3.1 the disk is full" {
		t.Errorf("spool full: %q", got)
	}
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 1 {
		t.Errorf("%d messages, want the one that was acknowledged", got)
	}
	f.set(nil, nil)
	if got := n.send(t, "HELO", "Subject: 4", "ann")[0]; !strings.HasPrefix(got, "250 ") {
		t.Errorf("after the failures: %q", got)
	}
	log := n.log.String()
	if !strings.Contains(log, "secret cause") || strings.Count(log, "msg=delivered") != 3 || strings.Count(log, "msg=refused") != 3 {
		t.Errorf("log:\n%s", log)
	}
}

// TestReplyWaitsForTheDisk holds the commit back and checks that nothing is said before it.
func TestReplyWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	n, f := newFaultyNode(t, Config{})
	n.send(t, "HELO", "Subject: 0", "ann")
	entered, leave := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(release)
	f.set(func(mail.AccountID) error {
		close(entered)
		<-leave
		return nil
	}, nil)
	c := newClient(t, n)
	c.send("HELO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n.")
	for _, code := range []string{"220", "250", "250", "250", "354"} {
		c.expect(code)
	}
	<-entered
	if c.pending() {
		t.Error("the reply came before the message was on disk")
	}
	f.set(nil, nil)
	release()
	c.expect("250 2.6.0")
}

func TestPartialFailureIsTriedAgainWithoutDuplicates(t *testing.T) {
	t.Parallel()
	n, f := newFaultyNode(t, Config{})
	n.send(t, "HELO", "Subject: 0", "ann", "bob", "admin")
	f.set(fails(diskFull(), "bob"), nil)
	const msg = "Subject: twice\r\n\r\nbody"
	for range 2 {
		if got := n.send(t, "HELO", msg, "ann", "bob", "admin")[0]; got != "452 4.3.1 the disk is full" {
			t.Fatalf("partial failure: %q", got)
		}
	}
	f.set(nil, nil)
	if got := n.send(t, "HELO", msg, "ann", "bob", "admin")[0]; !strings.HasPrefix(got, "250 ") {
		t.Fatalf("second try: %q", got)
	}
	for _, who := range []string{"ann", "bob", "admin"} {
		if got := len(n.messages(t, who, mail.Inbox)); got != 2 {
			t.Errorf("%s has %d messages, want 2", who, got)
		}
	}
	// Once it is delivered, the same message is a new one.
	n.send(t, "HELO", msg, "ann")
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 3 {
		t.Errorf("sent again on purpose: %d messages, want 3", got)
	}
}

func TestPartialFailureOverLMTP(t *testing.T) {
	t.Parallel()
	n, f := newFaultyNode(t, Config{Mode: LMTP})
	n.send(t, "LHLO", "Subject: 0", "ann", "bob")
	f.set(fails(diskFull(), "bob"), nil)
	got := n.send(t, "LHLO", "Subject: 1", "ann", "bob")
	if !strings.HasPrefix(got[0], "250 ") || got[1] != "452 4.3.1 <bob@example.org> the disk is full" {
		t.Errorf("got %q", got)
	}
	f.set(nil, nil)
	n.send(t, "LHLO", "Subject: 1", "bob")
	n.send(t, "LHLO", "Subject: 1", "ann") // it was told 250, so this is another message
	if a, b := len(n.messages(t, "ann", mail.Inbox)), len(n.messages(t, "bob", mail.Inbox)); a != 3 || b != 2 {
		t.Errorf("ann has %d, bob %d", a, b)
	}
}

// TestFullDisk fills a real file system.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	engine, err := sqlite.New(filepath.Join(dir, "store"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(engine, store.Options{})
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Logf("closing the store on a full disk: %v", err)
		}
	})
	n := newNodeWith(t, Config{}, st, sameDirectory)
	body := make([]byte, 0, 40<<10)
	x := uint32(7)
	for len(body) < 30<<10 {
		x = x*1664525 + 1013904223
		body = fmt.Appendf(body, "%08x%08x\r\n", x, x*x)
	}
	acknowledged := 0
	for i := range 1000 {
		got := n.send(t, "HELO", fmt.Sprintf("Subject: %d\r\n\r\n%s", i, body), "ann")[0]
		if strings.HasPrefix(got, "250 ") {
			acknowledged++
			continue
		}
		if !strings.HasPrefix(got, "452 4.3.1 ") {
			t.Errorf("full disk: %q", got)
		}
		break
	}
	got := n.messages(t, "ann", mail.Inbox)
	if acknowledged < 10 || len(got) != acknowledged {
		t.Errorf("%d acknowledged, %d there", acknowledged, len(got))
	}
}

func TestDirectoryAway(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Mode: Submission, PlaintextAuth: listener.PlaintextAlways})
	c := newClient(t, n)
	c.expect("220")
	c.send("EHLO c.example")
	c.expect("250")
	c.login("ann@example.org")
	c.send("MAIL FROM:<ann@example.org>")
	c.expect("250")
	n.directory.SetAway(true)
	c.send("RCPT TO:<bob@example.org>")
	c.expect("451 4.3.0 the directory does not answer, try again later")
	d := newClient(t, n)
	d.expect("220")
	d.send("EHLO c.example")
	d.expect("250")
	d.send("AUTH PLAIN " + plain("ann@example.org"))
	d.expect("454 4.7.0")
	n.directory.SetAway(false)
	c.send("RCPT TO:<bob@example.org>")
	c.expect("250")
}
