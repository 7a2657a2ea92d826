package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/mail"
)

// script is a far side: "S: " lines are sent, "C: " lines must come, "L: " bytes
// without a line end; "X" closes.
type script string

// serve plays a script to every client and returns the address. What went wrong
// comes through the channel.
func serve(t testing.TB, s script) (addr string, wrong chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrong = make(chan error, 100)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				wrong <- s.play(c)
			}()
		}
	}()
	return l.Addr().String(), wrong
}

func (s script) play(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	for line := range strings.Lines(strings.TrimPrefix(string(s), "\n")) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "S: "):
			if _, err := io.WriteString(c, line[3:]+"\r\n"); err != nil {
				return err
			}
		case strings.HasPrefix(line, "L: "):
			want := strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\xff`, "\xff", `\0`, "\x00").Replace(line[3:])
			got := make([]byte, len(want))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
				return fmt.Errorf("%v: %q came, want %q", err, got, want)
			}
		case strings.HasPrefix(line, "C: "):
			got, err := r.ReadString('\n')
			if err != nil || strings.TrimRight(got, "\r\n") != line[3:] {
				return fmt.Errorf("%v: %q came, want %q", err, got, line[3:])
			}
		case line == "X":
			return nil
		}
	}
	_, _ = io.Copy(io.Discard, r) // until the other side closes
	return nil
}

// open logs in at a far side as ajay@example.org.
func open(t testing.TB, protocol, addr, password string, change func(*Host, *Request)) (*Session, error) {
	t.Helper()
	h := &Host{Name: "old.example.org", TLS: ClearText, Login: "{local}"}
	switch protocol {
	case "imap":
		h.IMAP = "imap://" + addr
	case "pop3":
		h.POP3 = "pop3://" + addr
	default:
		h.Submission = "submission://" + addr
	}
	req := Request{Protocol: protocol, Account: &directory.Account{Address: "ajay@example.org", Host: h.Name}, Login: "AJAY", Password: password, Client: netip.MustParseAddr("192.0.2.7")}
	if change != nil {
		change(h, &req)
	}
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Hostname: "mail.example.org", Hosts: map[string]*Host{h.Name: h}, Timeout: 2 * time.Second}).Open(t.Context(), req)
	if s != nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func plain(parts ...string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Join(parts, "\x00")))
}

func TestLogins(t *testing.T) {
	t.Parallel()
	tell := func(h *Host, _ *Request) { h.TellClient = true }
	master := func(h *Host, _ *Request) { h.Master, h.MasterPassword = "admin", "m" }
	for name, tt := range map[string]struct {
		protocol, password string
		script             script
		change             func(*Host, *Request)
		kind               mail.Kind // of the error
		greeting           string    // where there is none
	}{
		"IMAP, SASL-IR": {"imap", "p w", `
S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello
C: x1 AUTHENTICATE PLAIN ` + script(plain("", "ajay", "p w")) + `
S: x1 OK [CAPABILITY IMAP4rev1 IDLE UNAUTHENTICATE] done
`, nil, 0, "IMAP4REV1 IDLE"},
		"IMAP, Exchange": {"imap", "p", `
S: * OK The Microsoft Exchange IMAP4 service is ready.
C: x1 CAPABILITY
S: * CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN UIDPLUS
S: x1 OK CAPABILITY completed.
C: x2 AUTHENTICATE PLAIN
S: + 
C: ` + script(plain("", `EXAMPLE\ajay`, "p")) + `
S: x2 OK AUTHENTICATE completed.
C: x3 CAPABILITY
S: * CAPABILITY IMAP4 IMAP4rev1 UIDPLUS
S: x3 OK CAPABILITY completed.
`, func(h *Host, _ *Request) { h.Login = `EXAMPLE\{local}` }, 0, "IMAP4 IMAP4REV1 UIDPLUS"},
		"IMAP, LOGIN, quoted": {"imap", `a"b\c`, `
S: * OK [CAPABILITY IMAP4rev1] hello
C: x1 LOGIN "ajay" "a\"b\\c"
S: * CAPABILITY IMAP4rev1 QUOTA
S: x1 OK done
`, nil, 0, "IMAP4REV1 QUOTA"},
		"IMAP, LOGIN, literal": {"imap", "\xffa\r\nb\x00", `
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello
C: x1 LOGIN "ajay" {6}
S: + go
L: \xffa\r\nb\0\r\n
S: x1 OK [CAPABILITY IMAP4rev1] done
`, nil, 0, "IMAP4REV1"},
		"IMAP, master and ID": {"imap", "", `
S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN ID] hello
C: x1 ID ("x-proxy-ttl" "2" "x-originating-ip" "192.0.2.7")
S: * ID NIL
S: x1 OK
C: x2 AUTHENTICATE PLAIN ` + script(plain("ajay", "admin", "m")) + `
S: x2 OK [CAPABILITY IMAP4rev1] done
`, func(h *Host, r *Request) { tell(h, r); master(h, r) }, 0, "IMAP4REV1"},
		"IMAP, wrong":           {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 LOGIN \"ajay\" \"p\"\nS: x1 NO [AUTHENTICATIONFAILED] no\n", nil, mail.KindAuth, ""},
		"IMAP, wrong, Exchange": {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 LOGIN \"ajay\" \"p\"\nS: x1 NO LOGIN failed.\n", nil, mail.KindAuth, ""},
		"IMAP, unavailable":     {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 LOGIN \"ajay\" \"p\"\nS: x1 NO [UNAVAILABLE] no\n", nil, mail.KindTemporary, ""},
		"IMAP, busy, Exchange":  {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 LOGIN \"ajay\" \"p\"\nS: x1 NO Server Unavailable. 15\n", nil, mail.KindTemporary, ""},
		"IMAP, BAD":             {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 LOGIN \"ajay\" \"p\"\nS: x1 BAD Command Error. 12\n", nil, mail.KindTemporary, ""},
		"IMAP, BYE":             {"imap", "p", "S: * BYE too many connections\nX\n", nil, mail.KindUnavailable, ""},
		"IMAP, PREAUTH":         {"imap", "p", "S: * PREAUTH as somebody\n", nil, mail.KindUnavailable, ""},
		"IMAP, breaks off":      {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 LOGIN \"ajay\" \"p\"\nX\n", nil, mail.KindUnavailable, ""},
		"IMAP, silent":          {"imap", "p", "", nil, mail.KindUnavailable, ""},
		"IMAP, no passwords":    {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\n", nil, mail.KindUnavailable, ""},
		"IMAP, no STARTTLS":     {"imap", "p", "S: * OK [CAPABILITY IMAP4rev1] x\nC: x1 STARTTLS\nS: x1 BAD what\n", func(h *Host, _ *Request) { h.TLS = VerifyFull }, mail.KindUnavailable, ""},
		"IMAP, too many hops":   {"imap", "p", "", func(_ *Host, r *Request) { r.Hops = MaxHops }, mail.KindUnavailable, ""},
		"POP3, AUTH": {"pop3", "p w", `
S: +OK hello
C: CAPA
S: +OK
S: SASL PLAIN LOGIN
S: .
C: AUTH PLAIN
S: + 
C: ` + script(plain("", "ajay", "p w")) + `
S: +OK 3 messages
`, nil, 0, "3 messages"},
		"POP3, old": {"pop3", "p w", `
S: +OK hello
C: CAPA
S: -ERR what
C: USER ajay
S: +OK
C: PASS p w
S: +OK 3 messages
`, nil, 0, "3 messages"},
		"POP3, XCLIENT": {"pop3", "p", `
S: +OK hello
C: CAPA
S: +OK
S: XCLIENT ADDR TTL
S: .
C: XCLIENT ADDR=192.0.2.7 TTL=2
S: +OK
C: USER ajay
S: +OK
C: PASS p
S: +OK
`, tell, 0, ""},
		"POP3, injected":  {"pop3", "p\r\nDELE 1", "S: +OK\nC: CAPA\nS: -ERR\n", nil, mail.KindAuth, ""},
		"POP3, wrong":     {"pop3", "p", "S: +OK\nC: CAPA\nS: -ERR\nC: USER ajay\nS: +OK\nC: PASS p\nS: -ERR Logon failure: unknown user name or bad password.\n", nil, mail.KindAuth, ""},
		"POP3, in use":    {"pop3", "p", "S: +OK\nC: CAPA\nS: -ERR\nC: USER ajay\nS: +OK\nC: PASS p\nS: -ERR [IN-USE] locked\n", nil, mail.KindTemporary, ""},
		"POP3, temporary": {"pop3", "p", "S: +OK\nC: CAPA\nS: -ERR\nC: USER ajay\nS: +OK\nC: PASS p\nS: -ERR [SYS/TEMP] no\n", nil, mail.KindTemporary, ""},
		"SMTP": {"submission", "p", `
S: 220 hello
C: EHLO mail.example.org
S: 250-hello
S: 250-SIZE 1
S: 250-XCLIENT NAME ADDR
S: 250 AUTH LOGIN PLAIN
C: XCLIENT ADDR=192.0.2.7
S: 220 hello
C: EHLO mail.example.org
S: 250-hello
S: 250 AUTH LOGIN PLAIN
C: AUTH PLAIN
S: 334 
C: ` + script(plain("", "ajay", "p")) + `
S: 235 2.7.0 yes
`, tell, 0, "2.7.0 yes"},
		"SMTP, LOGIN alone": {"submission", "p", `
S: 220 hello
C: EHLO mail.example.org
S: 250-hello
S: 250 AUTH GSSAPI NTLM LOGIN
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
C: ` + script(base64.StdEncoding.EncodeToString([]byte("ajay"))) + `
S: 334 UGFzc3dvcmQ6
C: ` + script(base64.StdEncoding.EncodeToString([]byte("p"))) + `
S: 235 yes
`, nil, 0, "yes"},
		"SMTP, wrong": {"submission", "p", "S: 220 x\nC: EHLO mail.example.org\nS: 250 AUTH PLAIN\nC: AUTH PLAIN\nS: 535 5.7.8 no\n", nil, mail.KindAuth, ""},
		"SMTP, later": {"submission", "p", "S: 220 x\nC: EHLO mail.example.org\nS: 250 AUTH PLAIN\nC: AUTH PLAIN\nS: 454 4.7.0 no\n", nil, mail.KindTemporary, ""},
		"SMTP, full":  {"submission", "p", "S: 421 busy\n", nil, mail.KindUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, wrong := serve(t, tt.script)
			s, err := open(t, tt.protocol, addr, tt.password, tt.change)
			if tt.kind != 0 {
				if err == nil || mail.KindOf(err) != tt.kind {
					t.Errorf("error %v of kind %v, want %v", err, mail.KindOf(err), tt.kind)
				}
				if err != nil && strings.Contains(mail.PublicText(err), "p w") {
					t.Errorf("the password is in %v", err)
				}
				return
			}
			if err != nil || s.Greeting != tt.greeting {
				t.Fatalf("%v, %+v, want the greeting %q", err, s, tt.greeting)
			}
			s.Close()
			if err := <-wrong; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHostCheck(t *testing.T) {
	t.Parallel()
	for service, ok := range map[string]bool{
		"imaps://a": true, "imap://a:1": true, "imaps://[::1]:993": true, "imaps://a/": true,
		"a:993": false, "pop3://a": false, "http://a": false, "imaps://u@a": false, "imaps://a/x": false, "imaps://": false,
	} {
		if err := (&Host{IMAP: service}).Check(); (err == nil) != ok {
			t.Errorf("%q: %v", service, err)
		}
	}
	if err := (&Host{TLS: "maybe"}).Check(); err == nil {
		t.Error("tls = maybe")
	}
}

// pair is a client and the near end of its connection.
func pair(t testing.TB) (client, near net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); near.Close() })
	return client, near
}

// echo is a far side that logs everybody in and says everything back.
func echo(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReaderSize(c, 512)
				_, _ = io.WriteString(c, "* OK [CAPABILITY IMAP4rev1] x\r\n")
				if _, err := r.ReadString('\n'); err == nil {
					_, _ = io.WriteString(c, "x1 OK [CAPABILITY IMAP4rev1] x\r\n")
					_, _ = io.Copy(c, r)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestSplice(t *testing.T) {
	t.Parallel()
	s, err := open(t, "imap", echo(t), "p", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, near := pair(t)
	var heard, said bytes.Buffer
	type end struct {
		clean bool
		err   error
	}
	done := make(chan end, 1)
	go func() {
		clean, err := s.Splice(t.Context(), Client{Conn: near, Pending: []byte("first\r\n"), Heard: func(b []byte) { heard.Write(b) }, Said: func(b []byte) { said.Write(b) }})
		near.Close()
		done <- end{clean, err}
	}()
	var want bytes.Buffer
	want.WriteString("first\r\n")
	for _, n := range []int{1, 511, 512, 513, 4096, 32 << 10, 1 << 20, 3} {
		want.Write(bytes.Repeat([]byte("x"), n))
	}
	want.WriteString("\r\n")
	go func() {
		_, _ = client.Write(want.Bytes()[len("first\r\n"):])
		_ = client.(*net.TCPConn).CloseWrite() // the answer must come all the same
	}()
	_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("%v: %d bytes came back of %d", err, len(got), want.Len())
	}
	if e := <-done; !e.clean || e.err != nil {
		t.Errorf("it ended with %v, %v", e.clean, e.err)
	}
	if !bytes.Equal(heard.Bytes(), want.Bytes()) || !bytes.Equal(said.Bytes(), want.Bytes()) {
		t.Errorf("the watcher has heard %d bytes and seen %d", heard.Len(), said.Len())
	}
}

func TestSpliceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, err := open(t, "imap", echo(t), "p", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, near := pair(t)
	why := errors.New("moved")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		clean, err := s.Splice(ctx, Client{Conn: near})
		if !clean {
			err = errors.Join(err, errors.New("not at a line's end"))
		}
		_, _ = io.WriteString(near, "* BYE\r\n")
		done <- err
	}()
	_, _ = io.WriteString(client, "hello\r\n")
	r := bufio.NewReader(client)
	if line, err := r.ReadString('\n'); err != nil || line != "hello\r\n" {
		t.Fatal(line, err)
	}
	cancel(why)
	if err := <-done; err != why {
		t.Errorf("it ended with %v", err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "* BYE\r\n" {
		t.Errorf("the client hears %q, %v", line, err)
	}
}

// BenchmarkIdleSessions tells what a session costs in which nothing is said.
func BenchmarkIdleSessions(b *testing.B) {
	addr := echo(b)
	for b.Loop() {
		const n = 1000
		var before, after runtime.MemStats
		var sessions []*Session
		var clients []net.Conn
		for range n { // the far ends are in this process too: count them before
			s, err := open(b, "imap", addr, "p", nil)
			if err != nil {
				b.Fatal(err)
			}
			_, near := pair(b)
			sessions, clients = append(sessions, s), append(clients, near)
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan struct{}, n)
		for i, s := range sessions {
			go func() { _, _ = s.Splice(ctx, Client{Conn: clients[i]}); ended <- struct{}{} }()
		}
		for runtime.NumGoroutine() < 3*n {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		grown := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)
		b.ReportMetric(float64(grown)/n, "B/session")
		cancel()
		for range n {
			<-ended
		}
	}
}

// BenchmarkThroughput sends through a session and back.
func BenchmarkThroughput(b *testing.B) {
	s, err := open(b, "imap", echo(b), "p", nil)
	if err != nil {
		b.Fatal(err)
	}
	client, near := pair(b)
	go func() { _, _ = s.Splice(b.Context(), Client{Conn: near}) }()
	block := bytes.Repeat([]byte("x"), 64<<10)
	got := make([]byte, len(block))
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		go func() { _, _ = client.Write(block) }()
		if _, err := io.ReadFull(client, got); err != nil {
			b.Fatal(err)
		}
	}
}
