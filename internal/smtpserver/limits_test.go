package smtpserver

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/mail"
)

// begin opens a session and a transaction for ann.
func begin(t *testing.T, n *node) *client {
	t.Helper()
	c := newClient(t, n)
	c.expect("220")
	c.send("HELO c.example")
	c.expect("250")
	c.send("MAIL FROM:<a@b.example>")
	c.expect("250")
	c.send("RCPT TO:<ann@example.org>")
	c.expect("250")
	return c
}

func TestTooManyRecipients(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{})
	c := newClient(t, n)
	c.expect("220")
	c.send("HELO c.example\r\nMAIL FROM:<a@b.example>")
	c.expect("250")
	c.expect("250")
	const all = 100_000
	go func() {
		for range all / 100 {
			if _, err := c.nc.Write([]byte(strings.Repeat("RCPT TO:<ann@example.org>\r\n", 100))); err != nil {
				return
			}
		}
	}()
	counts := map[string]int{}
	for range all {
		counts[c.reply()[:9]]++
	}
	if counts["250 2.1.5"] != 1000 || counts["452 4.5.3"] != all-1000 {
		t.Fatalf("replies: %v", counts)
	}
	c.send("DATA")
	c.expect("354")
	c.send("Subject: x\r\n.")
	c.expect("250")
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 1 {
		t.Errorf("%d copies, want 1", got)
	}
}

func TestTooManyErrors(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{Errors: 5, Idle: 7}})
	c := begin(t, n)
	for range 5 {
		c.send("RCPT TO:<nobody@example.org>")
		c.expect("550")
	}
	c.send("FOO")
	c.expect("500")
	c.expect("421 4.7.0")
	c.closed()
	c = newClient(t, n)
	c.expect("220")
	for range 7 {
		c.send("NOOP")
		c.expect("250")
	}
	c.send("NOOP")
	c.expect("250")
	c.expect("421 4.7.0")
	c.closed()
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{})
	c := begin(t, n)
	for _, size := range []int{commandLine, readBuffer - 4, readBuffer, 100_000} {
		c.send("NOOP " + strings.Repeat("x", size))
		c.expect("500 5.5.2 line too long")
	}
	c.send("NOOP")
	c.expect("250")
	c.send("DATA")
	c.expect("354")
	line := strings.Repeat("y", 2<<20)
	c.send("Subject: " + line + "\r\n\r\n" + line + "\r\n.")
	c.expect("250")
	if msg := n.messages(t, "ann", mail.Inbox)[0]; !strings.HasSuffix(string(msg), "Subject: "+line+"\r\n\r\n"+line+"\r\n") {
		t.Error("a long line did not arrive as it was sent")
	}
	c = newClient(t, n)
	c.expect("220")
	go func() { // the server does not read all of it
		for range 64 {
			if _, err := c.nc.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}()
	c.expect("500 5.5.2")
	c.closed()
}

func TestMessageSize(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{MessageSize: 10_000}})
	c := begin(t, n)
	c.send("DATA")
	c.expect("354")
	c.send(strings.Repeat(strings.Repeat("z", 98)+"\r\n", 100) + ".")
	c.expect("250")
	c.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\nDATA")
	c.expect("250")
	c.expect("250")
	c.expect("354")
	c.send(strings.Repeat(strings.Repeat("z", 98)+"\r\n", 10_000) + "z\r\n.")
	c.expect("552 5.3.4")
	c.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\nBDAT 20001\r\n" + strings.Repeat("z", 19999))
	c.expect("250")
	c.expect("250")
	c.expect("250 2.0.0 chunk")
	c.send("BDAT 2 LAST\r\n")
	c.expect("552 5.3.4")
	c.send("NOOP")
	c.expect("250")
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

// TestBigMessage sends more than it may cost in memory.
func TestBigMessage(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	n := newNode(t, Config{})
	c := begin(t, n)
	c.send("DATA")
	c.expect("354")
	c.send("Subject: big\r\n")
	chunk := []byte(strings.Repeat(strings.Repeat("0123456789abcdef", 4)+"\r\n", 1000))
	var peak uint64
	for sent := 0; sent < size; sent += len(chunk) {
		if _, err := c.nc.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if sent%(8<<20) < len(chunk) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
	c.send(".")
	c.expect("250")
	if peak > size {
		t.Errorf("receiving %d MiB took %d MiB of memory", size>>20, peak>>20)
	}
}

func TestCommandDeadline(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{CommandTime: 100 * time.Millisecond}})
	c := newClient(t, n)
	c.expect("220")
	c.expect("421 4.4.2")
	c.closed()
	c = newClient(t, n)
	c.expect("220")
	go c.drip(strings.Repeat("NOOP ", 200)) // a byte now and then does not help
	c.expect("421 4.4.2")
}

func TestDataDeadline(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{DataTime: 200 * time.Millisecond, DataRate: 1 << 20}})
	c := begin(t, n)
	c.send("DATA")
	c.expect("354")
	c.expect("421 4.4.2")
	c = begin(t, n)
	c.send("DATA")
	c.expect("354")
	go c.drip(strings.Repeat("line\r\n", 100))
	c.expect("421 4.4.2")
	c = begin(t, n)
	c.send("BDAT 2\r\n") // the chunk is CR LF
	c.expect("250")
	c.expect("421 4.4.2")
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 0 {
		t.Errorf("%d messages, want none", got)
	}
}

// drip sends a byte every 20 ms until the server has had enough.
func (c *client) drip(s string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range len(s) {
		<-tick.C
		if _, err := c.nc.Write([]byte(s[i : i+1])); err != nil {
			return
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{Connections: 1}})
	c := begin(t, n)
	d := newClient(t, n)
	d.expect("421 4.3.2 too many connections")
	d.closed()
	c.send("QUIT")
	c.expect("221")
	c.closed()
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{})
	idle, busy, greeted := newClient(t, n), begin(t, n), begin(t, n)
	idle.expect("220")
	busy.send("DATA")
	busy.expect("354")
	busy.send("Subject: finished all the same")
	n.stop()
	idle.expect("421 4.3.2")
	idle.closed()
	greeted.expect("421 4.3.2")
	greeted.closed()
	if nc, err := net.Dial("tcp", n.addr); err == nil {
		_ = nc.Close()
		t.Error("the listener is open")
	}
	busy.send("\r\n.")
	busy.expect("250 2.6.0")
	busy.expect("421 4.3.2")
	busy.closed()
	n.shutdown()
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

func TestShutdownCutsTheRest(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Limits: Limits{ShutdownTime: 50 * time.Millisecond}})
	c := begin(t, n)
	c.send("DATA")
	c.expect("354")
	n.shutdown()
	c.closed()
	if got := len(n.messages(t, "ann", mail.Inbox)); got != 0 {
		t.Errorf("%d messages, want none", got)
	}
}

func TestManyClients(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{})
	const clients, each = 8, 25
	var wg sync.WaitGroup
	for i := range clients {
		c := newClient(t, n)
		wg.Go(func() {
			c.expect("220")
			c.send("HELO c.example")
			c.expect("250")
			for j := range each {
				c.send(fmt.Sprintf("MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nSubject: %d-%d\r\n.", i, j))
				for _, code := range []string{"250", "250", "250", "354", "250 2.6.0"} {
					c.expect(code)
				}
			}
		})
	}
	wg.Wait()
	for _, who := range []string{"ann", "bob"} {
		seen := map[string]bool{}
		for _, m := range n.messages(t, who, mail.Inbox) {
			_, subject, _ := strings.Cut(string(m), "Subject: ")
			seen[subject] = true
		}
		if len(seen) != clients*each {
			t.Errorf("%s has %d different messages, want %d", who, len(seen), clients*each)
		}
	}
}
