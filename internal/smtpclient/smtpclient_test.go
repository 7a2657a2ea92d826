package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
)

// script is a server's side: "S: " what it says, "C: " what it must hear.
func serve(nc net.Conn, script string) error {
	defer nc.Close()
	in := bufio.NewReader(nc)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "S: "):
			if _, err := io.WriteString(nc, line[3:]+"\r\n"); err != nil {
				return err
			}
		case strings.HasPrefix(line, "C:"):
			want := strings.TrimPrefix(line[2:], " ")
			got, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("waiting for %q: %w", want, err)
			}
			if got != want+"\r\n" {
				return fmt.Errorf("got %q, want %q", got, want)
			}
		}
	}
	return nil
}

// dialogue runs what the client does against a script.
func dialogue(t *testing.T, script string, opt Options, do func(*Conn) error) error {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- serve(there, script) }()
	opt.LocalName = "me"
	opt.Timeouts = Timeouts{Greeting: 5 * time.Second, Command: 5 * time.Second, DataStart: 5 * time.Second, DataEnd: 5 * time.Second, Quit: time.Second}
	c, err := New(t.Context(), buffered(t, here), opt)
	if err == nil {
		err = do(c)
		c.Close()
	}
	if problem := <-served; problem != nil {
		t.Errorf("the dialogue went wrong: %v", problem)
	}
	return err
}

// buffered lets a server speak before all was written to it, as TCP does.
func buffered(t *testing.T, nc net.Conn) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	out, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(in, nc); in.Close() }()
	go func() { _, _ = io.Copy(nc, in); nc.Close() }()
	return out
}

// text is a message that needs its dots doubled.
var text = "Subject: x\r\n\r\n.dot\r\n..\r\nend"

func message(to ...mail.Address) *Message {
	m := &Message{From: "a@b.example", Body: bytes.NewBufferString(text), Size: int64(len(text))}
	for _, a := range to {
		m.Recipients = append(m.Recipients, Recipient{Address: a})
	}
	return m
}

// spooled is a message that is written as often as it is asked.
type spooled string

// WriteTo implements io.WriterTo.
func (s spooled) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(s))
	return int64(n), err
}

func eightBit(text string, to mail.Address) *Message {
	return &Message{EightBit: true, Body: spooled(text), Size: int64(len(text)), Recipients: []Recipient{{Address: to}}}
}

func utf8Header(text string, to mail.Address) *Message {
	m := eightBit(text, to)
	m.UTF8 = true
	return m
}

func TestSend(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script string
		opt          Options
		message      *Message
		want         []string
	}{
		{"plain old server", `
			S: 220 hello
			C: EHLO me
			S: 502 what?
			C: HELO me
			S: 250 hi
			C: MAIL FROM:<a@b.example>
			S: 250 ok
			C: RCPT TO:<c@d.example>
			S: 250 ok
			C: DATA
			S: 354 go
			C: Subject: x
			C:
			C: ..dot
			C: ...
			C: end
			C: .
			S: 250 2.0.0 queued
			C: QUIT
			S: 221 bye`, Options{}, message("c@d.example"), []string{"250 2.0.0 queued"}},
		{"pipelining, one refused", `
			S: 220-hello
			S: 220 there
			C: EHLO me
			S: 250-hi
			S: 250-PIPELINING
			S: 250-SIZE 1000
			S: 250 DSN
			C: MAIL FROM:<a@b.example> SIZE=27 RET=HDRS ENVID=x+2By
			C: RCPT TO:<c@d.example> NOTIFY=NEVER ORCPT=rfc822;c+2B1@d.example
			C: RCPT TO:<"e f"@d.example>
			C: DATA
			S: 250 ok
			S: 250 ok
			S: 550-5.1.1 no
			S: 550 5.1.1 such user
			S: 354 go
			C: Subject: x
			C:
			C: ..dot
			C: ...
			C: end
			C: .
			S: 250 ok
			C: QUIT
			S: 221 bye`, Options{}, &Message{From: "a@b.example", Body: bytes.NewBufferString(text), Size: 27, Return: "HDRS", EnvID: "x+y",
			Recipients: []Recipient{{Address: "c@d.example", Notify: "NEVER", Original: "rfc822;c+1@d.example"}, {Address: "e f@d.example"}}},
			[]string{"250 ok", "550 5.1.1 no such user"}},
		{"pipelining, all refused and DATA accepted", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250 PIPELINING
			C: MAIL FROM:<a@b.example>
			C: RCPT TO:<c@d.example>
			C: DATA
			S: 250 ok
			S: 450 later
			S: 354 go
			C: .
			S: 554 nobody
			C: QUIT
			S: 221 bye`, Options{}, message("c@d.example"), []string{"450 later"}},
		{"chunking", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250-CHUNKING
			S: 250 PIPELINING
			C: MAIL FROM:<>
			C: RCPT TO:<c@xn--bcher-kva.example>
			C: BDAT 14 LAST
			C: Subject: x
			C:
			S: 250 ok
			S: 250 ok
			S: 250 2.6.0 fine
			C: QUIT
			S: 221 bye`, Options{}, &Message{Body: bytes.NewBufferString("Subject: x\r\n\r\n"), Size: 14, Recipients: []Recipient{{Address: "c@bücher.example"}}},
			[]string{"250 2.6.0 fine"}},
		{"LMTP", `
			S: 220 hello
			C: LHLO me
			S: 250-hi
			S: 250 PIPELINING
			C: MAIL FROM:<a@b.example>
			C: RCPT TO:<c@d.example>
			C: RCPT TO:<e@d.example>
			C: DATA
			S: 250 ok
			S: 250 ok
			S: 250 ok
			S: 354 go
			C: Subject: x
			C:
			C: ..dot
			C: ...
			C: end
			C: .
			S: 250 ok
			S: 452 4.2.2 full
			C: QUIT
			S: 221 bye`, Options{LMTP: true}, message("c@d.example", "e@d.example"), []string{"250 ok", "452 4.2.2 full"}},
		{"too big, not asked", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250 SIZE 10
			C: QUIT
			S: 221 bye`, Options{}, message("c@d.example"), []string{"552 5.3.4 the message has 27 bytes, the receiving server takes at most 10"}},
		{"no 8BITMIME: converted", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250 SIZE
			C: MAIL FROM:<> SIZE=139
			S: 250 ok
			C: RCPT TO:<a@b>
			S: 250 ok
			C: DATA
			S: 354 go
			C: Subject: x
			C: MIME-Version: 1.0
			C: Content-Type: text/plain; charset=utf-8
			C: Content-Transfer-Encoding: quoted-printable
			C:
			C: long enough =C3=A4
			C: .
			S: 250 ok
			C: QUIT
			S: 221 bye`, Options{}, eightBit("Subject: x\r\n\r\nlong enough ä\r\n", "a@b"), []string{"250 ok"}},
		{"no 8BITMIME, too big when converted", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250 SIZE 100
			C: QUIT
			S: 221 bye`, Options{}, eightBit("Subject: x\r\n\r\nlong enough ä\r\n", "a@b"), []string{"552 5.3.4 the message has 139 bytes, the receiving server takes at most 100"}},
		{"no 8BITMIME, but a signature", `
			S: 220 hello
			C: EHLO me
			S: 250 hi
			C: QUIT
			S: 221 bye`, Options{}, eightBit("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nä\r\n--b--\r\n", "a@b"),
			[]string{"554 5.6.3 the receiving server takes no 8-bit text (no 8BITMIME), and the message cannot be converted: it has 8-bit text under a digital signature, which a conversion would break"}},
		{"no SMTPUTF8, but ASCII addresses", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250 8BITMIME
			C: MAIL FROM:<> BODY=8BITMIME
			S: 250 ok
			C: RCPT TO:<a@b>
			S: 250 ok
			C: DATA
			S: 354 go
			C: Subject: =?utf-8?b?w6Q=?=
			C:
			C: ä
			C: .
			S: 250 ok
			C: QUIT
			S: 221 bye`, Options{}, utf8Header("Subject: ä\r\n\r\nä\r\n", "a@b"), []string{"250 ok"}},
		{"no SMTPUTF8", `
			S: 220 hello
			C: EHLO me
			S: 250 hi
			C: QUIT
			S: 221 bye`, Options{}, message("ä@b.example"), []string{replyNoUTF8.String()}},
		{"no REQUIRETLS", `
			S: 220 hello
			C: EHLO me
			S: 250 hi
			C: QUIT
			S: 221 bye`, Options{}, &Message{From: "c@d", RequireTLS: true, Body: bytes.NewBufferString(""), Recipients: []Recipient{{Address: "a@b"}}}, []string{replyNoTLS.String()}},
		{"no REQUIRETLS, but a report", `
			S: 220 hello
			C: EHLO me
			S: 250 hi
			C: MAIL FROM:<>
			S: 250 ok
			C: RCPT TO:<a@b>
			S: 550 no
			C: RSET
			S: 250 ok
			C: QUIT
			S: 221 bye`, Options{}, &Message{RequireTLS: true, Body: bytes.NewBufferString(""), Recipients: []Recipient{{Address: "a@b"}}}, []string{"550 no"}},
		{"login", `
			S: 220 hello
			C: EHLO me
			S: 250-hi
			S: 250 AUTH=LOGIN PLAIN
			C: AUTH PLAIN AG1lAHNlY3JldA==
			S: 235 2.7.0 welcome
			C: MAIL FROM:<a@b.example>
			S: 550 5.7.1 not you
			C: RSET
			S: 250 ok
			C: QUIT
			S: 221 bye`, Options{TLS: TLSNever, Login: "me", Password: "secret"}, message("c@d.example"), []string{"550 5.7.1 not you"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := dialogue(t, test.script, test.opt, func(c *Conn) error {
				replies, err := c.Send(test.message)
				for i, r := range replies {
					if r.String() != test.want[i] {
						t.Errorf("recipient %d: got %q, want %q", i, r, test.want[i])
					}
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBadServers has servers that New or Send must give up on.
func TestBadServers(t *testing.T) {
	t.Parallel()
	hello := "S: 220 hello\nC: EHLO me\nS: 250-hi\n"
	for name, test := range map[string]struct {
		script string
		opt    Options
	}{
		"closes":              {"", Options{}},
		"refuses":             {"S: 554 no", Options{}},
		"speaks HTTP":         {"S: HTTP/1.1 400 Bad Request", Options{}},
		"changes its mind":    {"S: 220-hello\nS: 221 there", Options{}},
		"a very long line":    {"S: 220 " + strings.Repeat("x", maxReplyLine), Options{}},
		"no end of lines":     {strings.Repeat("S: 220-x\n", maxReplyLines+1), Options{}},
		"no TLS":              {hello + "S: 250 SIZE", Options{TLS: TLSMust}},
		"refuses TLS":         {hello + "S: 250 STARTTLS\nC: STARTTLS\nS: 454 later", Options{TLS: TLSVerify}},
		"injects before TLS":  {hello + "S: 250 STARTTLS\nC: STARTTLS\nS: 220 go\r\n250 injected", Options{}},
		"no AUTH":             {hello + "S: 250 SIZE", Options{TLS: TLSNever, Login: "a", Password: "b"}},
		"AUTH in clear text":  {hello + "S: 250 AUTH PLAIN", Options{Login: "a", Password: "b"}},
		"AUTH fails":          {hello + "S: 250 AUTH PLAIN\nC: AUTH PLAIN AGEAYg==\nS: 535 no", Options{TLS: TLSNever, Login: "a", Password: "b"}},
		"dies within message": {hello + "S: 250 PIPELINING\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go", Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := net.Pipe()
			go func() { _ = serve(there, test.script) }()
			opt := test.opt
			opt.LocalName = "me"
			c, err := New(t.Context(), buffered(t, here), opt)
			if err == nil {
				_, err = c.Send(message("c@d.example"))
				if c.Usable() {
					t.Error("the session is believed to be good")
				}
				c.Close()
			}
			if err == nil {
				t.Error("no error")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}

// TestUnheard has sessions that end within a transaction: only where the server
// said nothing of the message it is as good as not sent.
func TestUnheard(t *testing.T) {
	t.Parallel()
	hello := "S: 220 hello\nC: EHLO me\nS: 250-hi\nS: 250 PIPELINING\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\n"
	plain := "S: 220 hello\nC: EHLO me\nS: 250 hi\nC: MAIL FROM:<a@b.example>\n"
	for name, test := range map[string]struct {
		script string
		want   bool
	}{
		"closed":                     {hello, true},
		"421":                        {hello + "S: 421 4.4.2 idle too long", true},
		"421, without pipelining":    {plain + "S: 421 4.4.2 idle too long", true},
		"closed, without pipelining": {plain, true},
		"closed after MAIL":          {hello + "S: 250 ok", false},
		"421 after MAIL":             {hello + "S: 250 ok\nS: 421 4.3.2 going down", false},
		"closed after DATA":          {hello + "S: 250 ok\nS: 250 ok\nS: 354 go", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := dialogue(t, test.script, Options{}, func(c *Conn) error {
				_, err := c.Send(message("c@d.example"))
				if c.Usable() {
					t.Error("the session is believed to be good")
				}
				return err
			})
			if err == nil || errors.Is(err, ErrUnheard) != test.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	if _, err := New(t.Context(), here, Options{Timeouts: Timeouts{Greeting: 10 * time.Millisecond}}); err == nil {
		t.Error("no error")
	}
	here, there = net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, here, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDots(t *testing.T) {
	t.Parallel()
	content := ".a\r\n..b\r\nc.\r\n.\r\n\r\n.d"
	want := "..a\r\n...b\r\nc.\r\n..\r\n\r\n..d\r\n.\r\n"
	for size := 1; size <= len(content); size++ {
		var b bytes.Buffer
		d := &dotWriter{w: &b}
		for rest := content; rest != ""; {
			n := min(size, len(rest))
			if _, err := io.WriteString(d, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := d.end(); err != nil || b.String() != want {
			t.Errorf("in pieces of %d: got %q, %v", size, b.String(), err)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-2.1.5 a\r\n250 2.1.5 b\r\n", "550\n", "220-\x00\xff\r\n220 \r\n", "25", "250x\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readReply(bufio.NewReaderSize(bytes.NewReader(b), 16))
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || len(r.lines) > maxReplyLines {
			t.Errorf("reply %+v", r)
		}
		if strings.ContainsAny(r.String(), "\r\n\x00") || r.Status != "" && int(r.Status[0]-'0') != r.Code/100 {
			t.Errorf("reply %q", r)
		}
	})
}
