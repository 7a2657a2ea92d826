package imapserver_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/imapserver"
)

// FuzzAppend sends an APPEND and whatever follows it to a server: it never
// panics, answers, and serves others.
func FuzzAppend(f *testing.F) {
	for _, seed := range []string{
		"INBOX {5}\r\nhello", "INBOX (\\Seen key) \" 1-Oct-2003 12:00:00 +0000\" {3+}\r\nabc {1+}\r\nx", "INBOX CATENATE (TEXT {2+}\r\nab URL \"/INBOX;UID=1/;SECTION=1.MIME\")",
		"INBOX UTF8 (~{3+}\r\n\xc3\xa9x)", "INBOX ~{1}\r\n\x00", "\"a\\\"b\" {0+}\r\n", "INBOX {99999999999}", "INBOX (\\Seen", "INBOX \"not a date\" {1+}\r\nx",
		"INBOX {1+}\r\nx\r\ny SELECT INBOX\r\nz REPLACE 1 INBOX {1+}\r\nx\r\nw SEARCH RETURN (UPDATE) ALL", "INBOX {1+}\r\nx\r\ny NOTIFY SET (personal (MessageNew MessageExpunge))",
	} {
		f.Add(seed)
	}
	var logged atomic.Int64
	s := newSite(f, func(c *imapserver.Config) {
		c.Limits.MessageSize = 1000
		c.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			if strings.Contains(string(b), "level=ERROR") {
				logged.Add(1)
				f.Logf("%s", b)
			}
			return len(b), nil
		}), nil))
	})
	f.Fuzz(func(t *testing.T, data string) {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		in := bufio.NewReader(nc)
		if _, err := io.WriteString(nc, "a LOGIN ajay secret\r\n"); err != nil {
			t.Fatal(err)
		}
		for line := ""; !strings.HasPrefix(line, "a OK "); {
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatalf("%v after %q", err, line)
			}
		}
		go func() {
			_, _ = io.WriteString(nc, "b APPEND "+data+"\r\nc NOOP\r\nd LOGOUT\r\n")
			_ = nc.(*net.TCPConn).CloseWrite() // whoever waits for more ends now
		}()
		answer, err := io.ReadAll(in)
		if err != nil && !strings.Contains(err.Error(), "reset by peer") {
			t.Fatalf("%q: %v after %q", data, err, answer)
		}
		if logged.Load() > 0 {
			t.Fatalf("%q is answered by %q", data, answer)
		}
	})
}

// writerFunc is a function that is a writer.
type writerFunc func(b []byte) (int, error)

func (w writerFunc) Write(b []byte) (int, error) { return w(b) }
