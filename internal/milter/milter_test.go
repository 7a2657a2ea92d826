package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"
)

// program is a filter that does what a test wants, on go-milter's server.
type program struct {
	milter.NoOpMilter
	mu     sync.Mutex
	heard  []string
	macros map[string]string
	rcpt   func(string) milter.Response
	header func(name, value string) milter.Response
	end    func(*milter.Modifier) milter.Response
}

func (p *program) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, fmt.Sprintf(format, args...))
}

func (p *program) Connect(host, family string, port uint16, addr net.IP, m *milter.Modifier) (milter.Response, error) {
	p.note("connect %s %s", host, addr)
	return milter.RespContinue, nil
}

func (p *program) Helo(name string, m *milter.Modifier) (milter.Response, error) {
	p.note("helo %s", name)
	return milter.RespContinue, nil
}

func (p *program) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	p.note("mail %s", from)
	return milter.RespContinue, nil
}

func (p *program) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	p.note("rcpt %s", to)
	if p.rcpt != nil {
		return p.rcpt(to), nil
	}
	return milter.RespContinue, nil
}

func (p *program) Header(name, value string, m *milter.Modifier) (milter.Response, error) {
	p.note("header %s: %s", name, value)
	if p.header != nil {
		return p.header(name, value), nil
	}
	return milter.RespContinue, nil
}

func (p *program) Headers(h textproto.MIMEHeader, m *milter.Modifier) (milter.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.macros = m.Macros
	return milter.RespContinue, nil
}

func (p *program) BodyChunk(chunk []byte, m *milter.Modifier) (milter.Response, error) {
	p.note("body %q", chunk)
	return milter.RespContinue, nil
}

func (p *program) Body(m *milter.Modifier) (milter.Response, error) {
	if p.end != nil {
		return p.end(m), nil
	}
	return milter.RespContinue, nil
}

// serve runs a program and returns the filter that leads to it.
func (p *program) serve(t *testing.T) Filter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &milter.Server{NewMilter: func() milter.Milter { return p }, Actions: milter.OptAction(allActions)}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return Filter{Name: "test", Network: "tcp", Address: ln.Addr().String(), MessageTimeout: 10 * time.Second}
}

// session begins a message through filters.
func session(t *testing.T, filters ...Filter) (*Session, Verdict) {
	t.Helper()
	s := New(filters, "mail.example.org", "test", slog.New(slog.DiscardHandler)).Session()
	t.Cleanup(s.Close)
	return s, s.Mail(t.Context(), client(), Envelope{ID: "M1", From: "a@example.org", Args: []string{"SIZE=5"}})
}

func client() Client {
	return Client{Address: netip.MustParseAddr("192.0.2.1"), Port: 1234, Helo: "client.example.org", Protocol: "ESMTP"}
}

const text = "Subject: one\r\nX-Old: 1\r\nTo: b@example.org,\r\n\tc@example.org\r\nX-Old: 2\r\n\r\nhello\r\n"

// message shows the session a message.
func show(s *Session, text string) Outcome {
	return s.Message(context.Background(), strings.NewReader(text), int64(len(text)))
}

func TestEventsAndMacros(t *testing.T) {
	t.Parallel()
	p := &program{}
	s, v := session(t, p.serve(t))
	if v.Action != Continue {
		t.Fatalf("the verdict is %+v", v)
	}
	s.Rcpt("b@example.org", nil)
	if out := show(s, text); out.Action != Continue || out.Text != nil {
		t.Errorf("the outcome is %+v", out)
	}
	want := []string{"connect unknown 192.0.2.1", "helo client.example.org", "mail a@example.org", "rcpt b@example.org",
		"header Subject: one", "header X-Old: 1", "header To: b@example.org,\n\tc@example.org", "header X-Old: 2", `body "hello\r\n"`}
	if got := strings.Join(p.heard, "|"); got != strings.Join(want, "|") {
		t.Errorf("the filter heard\n%s\nand not\n%s", got, strings.Join(want, "|"))
	}
	if p.macros["i"] != "M1" {
		t.Errorf("the macros are %v", p.macros)
	}
	p.heard = nil
	if v := s.Mail(t.Context(), client(), Envelope{ID: "M2", From: ""}); v.Action != Continue {
		t.Errorf("the second message: %+v", v)
	}
	show(s, text)
	if got := strings.Join(p.heard, "|"); !strings.HasPrefix(got, "mail |header Subject") {
		t.Errorf("of the second message the filter heard %s", got)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	first := &program{end: func(m *milter.Modifier) milter.Response {
		err := errors.Join(
			m.AddHeader("X-Added", "folded\n\ttwice\nBcc: not@a.field\r\n\r\nno body"),
			m.InsertHeader(0, "X-Top", "zero"),
			m.InsertHeader(2, "X-Second", "two"),
			m.ChangeHeader(2, "x-old", "changed"),
			m.ChangeHeader(1, "X-Old", ""),
			m.ReplaceBody([]byte("new\nbody")),
			m.AddRecipient("d@example.org"),
			m.DeleteRecipient("b@example.org"),
			m.ChangeFrom("<>"),
			m.Quarantine("odd"),
		)
		if err != nil {
			t.Error(err)
		}
		return milter.RespAccept
	}}
	second := &program{}
	s, _ := session(t, first.serve(t), second.serve(t))
	out := show(s, text)
	if out.Action != Continue || out.Text == nil {
		t.Fatalf("the outcome is %+v", out)
	}
	got, err := io.ReadAll(out.Text)
	want := "X-Top: zero\r\nX-Second: two\r\nSubject: one\r\nTo: b@example.org,\r\n\tc@example.org\r\nx-old: changed\r\n" +
		"X-Added: folded\r\n\ttwice\r\n Bcc: not@a.field\r\n no body\r\n\r\nnew\r\nbody"
	if err != nil || string(got) != want {
		t.Errorf("the message is, %v,\n%q\nand not\n%q", err, got, want)
	}
	if out.From == nil || *out.From != "" || strings.Join(out.Added, " ") != "d@example.org" || strings.Join(out.Deleted, " ") != "b@example.org" || out.Hold != "odd" {
		t.Errorf("the envelope: from %v, added %v, deleted %v, hold %q", out.From, out.Added, out.Deleted, out.Hold)
	}
	if heard := strings.Join(second.heard, "|"); !strings.Contains(heard, `header X-Top: zero|`) || !strings.Contains(heard, `body "new\r\nbody"`) {
		t.Errorf("the second filter heard %s", heard)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer milter.Response
		want   Verdict
	}{
		"reject":   {milter.RespReject, Verdict{Refuse, 550, "5.7.1", "the message was refused", "test"}},
		"tempfail": {milter.RespTempFail, Verdict{Refuse, 451, "4.7.1", "try again later", "test"}},
		"reply":    {milter.NewResponseStr('y', "554 5.7.9 no %%s"), Verdict{Refuse, 554, "5.7.9", "no %s", "test"}},
		"bare":     {milter.NewResponseStr('y', "450 later"), Verdict{Refuse, 450, "4.7.1", "later", "test"}},
		"discard":  {milter.RespDiscard, Verdict{Action: Discard, Filter: "test"}},
	} {
		p := &program{end: func(*milter.Modifier) milter.Response { return test.answer }}
		s, _ := session(t, p.serve(t))
		if out := show(s, text); out.Verdict != test.want {
			t.Errorf("%s: got %+v, want %+v", name, out.Verdict, test.want)
		}
	}
	p := &program{rcpt: func(to string) milter.Response {
		if to == "bad@example.org" {
			return milter.RespReject
		}
		return milter.RespContinue
	}, header: func(name, _ string) milter.Response {
		if name == "X-Old" {
			return milter.RespAccept
		}
		return milter.RespContinue
	}}
	s, _ := session(t, p.serve(t))
	if v := s.Rcpt("bad@example.org", nil); v.Code != 550 {
		t.Errorf("a refused recipient: %+v", v)
	}
	if v := s.Rcpt("good@example.org", nil); v.Action != Continue {
		t.Errorf("the next recipient: %+v", v)
	}
	if out := show(s, text); out.Action != Continue {
		t.Errorf("an accepted message: %+v", out)
	}
	if n := len(p.heard); p.heard[n-1] != "header X-Old: 1" {
		t.Errorf("after it had accepted the filter heard %s", p.heard[n-1])
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // answers with what is no milter protocol, and then not at all
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			nc.Write([]byte("220 hello, this is SMTP\r\n"))
		}
	}()
	t.Cleanup(func() { ln.Close() })
	for def, want := range map[Default]int{TempFail: 451, Reject: 554, Accept: 0, Quarantine: 0} {
		s, v := session(t, Filter{Name: "x", Network: "tcp", Address: ln.Addr().String(), Default: def, ConnectTimeout: 200 * time.Millisecond})
		if v.Code != want {
			t.Errorf("%s: the verdict is %+v", def, v)
		}
		if want == 0 {
			if out := show(s, text); out.Action != Continue || (out.Hold != "") != (def == Quarantine) {
				t.Errorf("%s: the outcome is %+v", def, out)
			}
		}
	}
	slow := &program{end: func(*milter.Modifier) milter.Response { <-t.Context().Done(); return milter.RespContinue }}
	f := slow.serve(t)
	f.MessageTimeout = 100 * time.Millisecond
	s, _ := session(t, f)
	if out := show(s, text); out.Code != 451 {
		t.Errorf("a filter that takes too long: %+v", out.Verdict)
	}
}

func TestParseSocket(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"unix:/run/x": "unix /run/x", "local:/run/x": "unix /run/x", "/run/x": "unix /run/x", "inet:localhost:11332": "tcp localhost:11332",
		"inet:8891@127.0.0.1": "tcp 127.0.0.1:8891", "inet6:8891@::1": "tcp [::1]:8891", "[::1]:1": "tcp [::1]:1",
		"localhost": "error", "": "error", "unix:": "error", "inet:x": "error",
	} {
		network, address, err := ParseSocket(in)
		got := network + " " + address
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// FuzzHeader looks for messages that change when they are taken apart and put
// together, and for changes that break out of a field.
func FuzzHeader(f *testing.F) {
	f.Add(text, "X-A", "b\n\nc")
	f.Add("\r\nbody", "Name", "")
	f.Add("no colon\r\n more", "Na:me", "v\r\nw")
	f.Fuzz(func(t *testing.T, text, name, value string) {
		m, err := readMessage(strings.NewReader(text), int64(len(text)))
		if err != nil {
			t.Skip()
		}
		before := len(m.fields)
		if m.change(milter.ModifyAction{Code: milter.ActAddHeader, HeaderName: name, HeaderValue: value}) != nil {
			return
		}
		out, _ := io.ReadAll(m.reader())
		again, err := readMessage(strings.NewReader(string(out)), int64(len(out)))
		if err != nil || len(again.fields) != before+1 || again.fields[before].name != name {
			t.Errorf("%q with %q: %q became %q, %d fields and then %d", text, name, value, out, before, len(again.fields))
		}
	})
}
