package imapserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/imapserver"
	"expost/internal/listener"
)

// noVerify is a client's TLS configuration.
func noVerify() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func TestSTARTTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.TLSConfig, c.PlaintextAuth = testTLS(t), listener.PlaintextNever })
	p := s.dial(t)
	if greeting := p.line(); !strings.Contains(greeting, " STARTTLS ") || !strings.Contains(greeting, " LOGINDISABLED ") || strings.Contains(greeting, "AUTH=") {
		t.Errorf("greeting is %s", greeting)
	}
	for _, cmd := range []string{"LOGIN ajay secret", "AUTHENTICATE PLAIN AGFqYXkAc2VjcmV0", "AUTHENTICATE LOGIN"} {
		if _, tagged := p.do(cmd); !strings.HasPrefix(tagged, "NO [PRIVACYREQUIRED]") {
			t.Errorf("%s in clear text: %s", cmd, tagged)
		}
	}
	p.must("STARTTLS")
	secured := tls.Client(p.nc, noVerify())
	p.nc, p.r = secured, bufio.NewReader(secured)
	if caps := p.must("CAPABILITY")[0]; strings.Contains(caps, "STARTTLS") || strings.Contains(caps, "LOGINDISABLED") || !strings.Contains(caps, " AUTH=PLAIN ") {
		t.Errorf("behind TLS: %s", caps)
	}
	if _, tagged := p.do("STARTTLS"); !strings.HasPrefix(tagged, "BAD") {
		t.Errorf("a second STARTTLS: %s", tagged)
	}
	p.must("LOGIN ajay secret")
	p.must("SELECT INBOX")
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", testTLS(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := imapserver.New(imapserver.Config{Store: s.store, Directory: people(), Hostname: "x"})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx, ln) }()
	nc, err := tls.Dial("tcp", ln.Addr().String(), noVerify())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	p := &peer{t: t, nc: nc, r: bufio.NewReader(nc)}
	p.deadline()
	p.line()
	p.must("LOGIN ajay secret")
	stop()
	if bye := p.line(); !strings.HasPrefix(bye, "* BYE [UNAVAILABLE]") {
		t.Errorf("at shutdown: %s", bye)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A command under way ends before the server does; one that waits is told BYE.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	idle, busy := s.login(t), s.login(t)
	idle.must("SELECT INBOX")
	idle.send("x IDLE\r\n")
	idle.line()
	busy.send("x APPEND INBOX {12}\r\n")
	busy.line()
	busy.send("Subject")
	s.stop()
	if got := idle.line(); !strings.HasPrefix(got, "* BYE [UNAVAILABLE]") {
		t.Errorf("idle client hears %s", got)
	}
	busy.send(": x\r\n\r\n")
	if got := busy.line(); !strings.HasPrefix(got, "x OK [APPENDUID ") {
		t.Errorf("busy client hears %s", got)
	}
	if got := busy.line(); !strings.HasPrefix(got, "* BYE [UNAVAILABLE]") {
		t.Errorf("then busy client hears %s", got)
	}
}

// panicking is a directory with a fault.
type panicking struct{ logins }

// Login fails badly for one login.
func (p panicking) Login(ctx context.Context, login, password string) (*directory.Account, error) {
	if login == "boom" {
		panic("boom")
	}
	return p.logins.Login(ctx, login, password)
}

func TestPanicEndsOneConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Directory = panicking{people()} })
	p := s.dial(t)
	p.line()
	p.send("a LOGIN boom x\r\n")
	if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after a panic: %v", err)
	}
	s.login(t).must("NOOP")
}

func TestTooManyErrors(t *testing.T) {
	t.Parallel()
	p := newSite(t, nil).dial(t)
	p.line()
	p.send(strings.Repeat("x\r\n", 5))
	for range 5 {
		p.line()
	}
	if got := p.line(); !strings.HasPrefix(got, "* BYE") {
		t.Errorf("after five errors: %s", got)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) {
		c.Limits.LoginTime, c.Limits.IdleTime = 50*time.Millisecond, 100*time.Millisecond
	})
	p := s.dial(t)
	p.line()
	if got := p.line(); !strings.HasPrefix(got, "* BYE") {
		t.Errorf("without a login: %s", got)
	}
	p = s.login(t)
	if got := p.line(); !strings.HasPrefix(got, "* BYE") {
		t.Errorf("without a command: %s", got)
	}
}

// A client that does not read is cut, and nobody waits for it.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Limits.WriteTime = 200 * time.Millisecond })
	stuck := s.login(t)
	if err := stuck.nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	s.deliver(t, "INBOX", "Subject: big\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 1<<20))
	stuck.must("SELECT INBOX")
	stuck.send("x FETCH 1 BODY.PEEK[]\r\n")
	other := s.login(t)
	other.must("SELECT INBOX")
	other.must(`STORE 1 +FLAGS (\Seen)`)
	s.deliver(t, "INBOX", "Subject: small\r\n\r\n")
	if got := other.must("NOOP"); !slices.Contains(got, "* 2 EXISTS") {
		t.Errorf("the other client hears %q", got)
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	s.ended <- nil
}

// A body comes as it is, in pieces; parts of it too.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	msg := "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 1<<18)
	s.deliver(t, "INBOX", msg)
	p := s.login(t)
	p.must("SELECT INBOX")
	for _, tc := range []struct {
		item string
		want string
	}{{"BODY.PEEK[]", msg}, {"BODY.PEEK[TEXT]", msg[16:]}, {"BODY.PEEK[]<1000000.300000>", msg[1000000:1300000]}} {
		p.deadline()
		p.send("x FETCH 1 " + tc.item + "\r\n")
		head := p.line()
		size := head[strings.LastIndexByte(head, '{')+1 : len(head)-1]
		if size != strconv.Itoa(len(tc.want)) {
			t.Fatalf("%s: %s, want %d bytes", tc.item, head, len(tc.want))
		}
		b := make([]byte, len(tc.want))
		if _, err := io.ReadFull(p.r, b); err != nil || string(b) != tc.want {
			t.Errorf("%s: the bytes differ (%v)", tc.item, err)
		}
		p.line()
		p.line()
	}
}

// An APPEND that breaks off leaves nothing.
func TestAppendThatBreaksOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.login(t)
	p.send("x APPEND INBOX {100+}\r\nSubject: half of it")
	_ = p.nc.Close()
	p = s.login(t)
	if got := p.must("STATUS INBOX (MESSAGES)"); got[0] != "* STATUS INBOX (MESSAGES 0)" {
		t.Errorf("afterwards: %q", got)
	}
}

// Messages of one command count together against the quota, and none is kept
// where they do not fit.
func TestMultiAppendOverQuota(t *testing.T) {
	t.Parallel()
	p := newSite(t, nil).dial(t)
	p.line()
	p.must("LOGIN bishal secret")
	msg := "Subject: x\r\n\r\n" + strings.Repeat("x", 886)
	p.send("x APPEND INBOX" + strings.Repeat(" {900+}\r\n"+msg, 3) + "\r\n")
	if got := p.line(); !strings.HasPrefix(got, "x NO [OVERQUOTA]") {
		t.Errorf("three messages: %s", got)
	}
	p.send("x APPEND INBOX" + strings.Repeat(" {900+}\r\n"+msg, 2) + "\r\n")
	if got := p.line(); !strings.HasPrefix(got, "x OK [APPENDUID ") {
		t.Errorf("two messages: %s", got)
	}
	if got := p.must("STATUS INBOX (MESSAGES)"); got[0] != "* STATUS INBOX (MESSAGES 2)" {
		t.Errorf("afterwards: %q", got)
	}
}
