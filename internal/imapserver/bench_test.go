package imapserver_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"expost/internal/imapserver"
)

// BenchmarkFetchBodies is one command for 1,000 messages of 8 KiB.
func BenchmarkFetchBodies(b *testing.B) {
	s := newSite(b, nil)
	var cmd strings.Builder
	cmd.WriteString("x APPEND INBOX")
	for i := range 1000 {
		msg := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat(fmt.Sprintf("line %d of a text that is not too dull\r\n", i), 200)
		fmt.Fprintf(&cmd, " {%d+}\r\n%s", len(msg), msg)
	}
	p := s.login(b)
	p.send(cmd.String() + "\r\n")
	p.line()
	p.must("SELECT INBOX")
	for _, item := range []string{"BODY.PEEK[]", "BODY.PEEK[TEXT]"} {
		b.Run(item, func(b *testing.B) {
			for b.Loop() {
				_ = p.nc.SetDeadline(time.Now().Add(time.Minute))
				p.send("x FETCH 1:* " + item + "\r\n")
				for {
					line, err := p.r.ReadSlice('\n')
					if err != nil && err != io.EOF {
						b.Fatal(err)
					}
					if strings.HasPrefix(string(line), "x OK") {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/1000")
		})
	}
}

// BenchmarkFirst asks 2,000 messages of 4 KiB for the first time: nothing of
// them is kept, and their texts are not indexed.
func BenchmarkFirst(b *testing.B) {
	benchmarkMessages(b, newSite(b, func(c *imapserver.Config) { c.Limits.Cards = 1 }))
}

// BenchmarkAgain asks what was asked before.
func BenchmarkAgain(b *testing.B) { benchmarkMessages(b, newSite(b, nil)) }

func benchmarkMessages(b *testing.B, s *site) {
	for i := range 2000 {
		s.deliver(b, "INBOX", fmt.Sprintf("Return-Path: <a@example.org>\r\nReceived: from mx%d.example.org (mx.example.org [192.0.2.1]) by mail.example.org with ESMTPS id %d; Wed, 1 Oct 2003 12:00:00 +0000\r\n"+
			"From: Ajay <ajay%d@example.org>\r\nTo: Bishal <bishal@example.org>\r\nSubject: budget number %d\r\nDate: Wed, 1 Oct 2003 12:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
			i, i, i%50, i, i)+strings.Repeat(fmt.Sprintf("line %d of a text that is not too dull\r\n", i), 80))
	}
	p := s.login(b)
	p.ask(b, "SELECT INBOX")
	for _, cmd := range []string{
		"FETCH 1:* (ENVELOPE)", "FETCH 1:* (BODYSTRUCTURE)", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])",
		"SEARCH SUBJECT nowhere", "SEARCH TEXT nowhere", "SEARCH BODY nowhere",
	} {
		b.Run(cmd, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				p.ask(b, cmd)
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N)/2000, "cpu-us/message")
		})
	}
}

// BenchmarkFetchBodyEach is a command for each of 1,000 messages.
func BenchmarkFetchBodyEach(b *testing.B) {
	s := newSite(b, nil)
	for i := range 1000 {
		s.deliver(b, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\n%04000d\r\n", i, i))
	}
	p := s.login(b)
	p.ask(b, "SELECT INBOX")
	for n := 0; b.Loop(); n++ {
		p.ask(b, fmt.Sprintf("UID FETCH %d (BODY.PEEK[])", n%1000+1))
	}
}

// cpuTime returns what the process, client and server, has had of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLogin is a connection, a login and a logout.
func BenchmarkLogin(b *testing.B) {
	s := newSite(b, nil)
	for b.Loop() {
		p := s.login(b)
		p.ask(b, "LOGOUT")
		_ = p.nc.Close()
	}
}

// BenchmarkChurn goes from one mailbox to another and back.
func BenchmarkChurn(b *testing.B) {
	s := newSite(b, nil)
	s.enlarge(b, 100_000)
	p := s.login(b)
	p.must("CREATE Other")
	for b.Loop() {
		p.ask(b, "SELECT Other")
		p.ask(b, "SELECT INBOX")
		p.ask(b, "UNSELECT")
	}
}

// BenchmarkManyMailboxes lists 400 mailboxes, and asks each for its STATUS.
func BenchmarkManyMailboxes(b *testing.B) {
	s := newSite(b, nil)
	p := s.login(b)
	for i := range 400 {
		p.ask(b, fmt.Sprintf("CREATE box%d", i))
	}
	for _, cmd := range []string{`LIST "" *`, `LIST "" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))`} {
		b.Run(cmd, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				p.ask(b, cmd)
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N)/400, "cpu-us/mailbox")
		})
	}
	b.Run("STATUS of each", func(b *testing.B) {
		before := cpuTime(b)
		for b.Loop() {
			for i := range 400 {
				p.ask(b, fmt.Sprintf("STATUS box%d (MESSAGES UNSEEN UIDNEXT)", i))
			}
		}
		b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N)/400, "cpu-us/mailbox")
	})
}
