package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/peertest"
	"expost/internal/route"
)

// openRemote opens a queue that sends everything to addr.
func openRemote(dir, addr string) (*Queue, error) {
	relay, err := route.ParseRelay(addr)
	if err != nil {
		return nil, err
	}
	table := &route.Table{Default: relay}
	return Open(Config{
		Dir: dir, Hostname: "mail.example.org", Postmaster: "postmaster@example.org", Routes: table, Log: slog.New(slog.DiscardHandler),
		Carrier:    &Remote{Router: &route.Router{Table: table}, LocalName: "mail.example.org"},
		Inject:     func(context.Context, mail.Address, io.Reader) error { return errors.New("nobody wants reports") },
		MinBackoff: 50 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	})
}

func TestSmtpSink(t *testing.T) {
	t.Parallel()
	q, err := openRemote(t.TempDir(), peertest.StartSMTPSink(t, "-c"))
	if err != nil {
		t.Fatal(err)
	}
	sendAll(t, q, 1000)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// sendAll enqueues n messages from several senders at once and waits until all have left.
func sendAll(tb testing.TB, q *Queue, n int) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx, time.Second) }()
	text := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 80)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1); int(i) <= n; i = next.Add(1) {
				env := Envelope{From: "me@example.org", Recipients: []Recipient{{Address: mail.Address(fmt.Sprintf("u%d@x.example", i))}}}
				if _, err := q.Enqueue(ctx, env, strings.NewReader(text)); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	wg.Wait()
	left := func() (left int64) {
		err := q.view(func(db *database) (err error) { left, err = db.int64(`SELECT count(*) FROM message`); return err })
		if err != nil {
			tb.Fatal(err)
		}
		return left
	}
	for deadline := time.Now().Add(60 * time.Second); left() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%d messages are left", left())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		tb.Error(err)
	}
}

func BenchmarkOutbound(b *testing.B) {
	q, err := openRemote(b.TempDir(), peertest.StartSMTPSink(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	sendAll(b, q, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	if err := q.Close(); err != nil {
		b.Fatal(err)
	}
}

// counter is a server that counts what it takes, by the first word of the
// Subject. It loses some sessions on purpose.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
	n    int
}

func (c *counter) listen(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go c.serve(nc)
		}
	}()
	return ln.Addr().String()
}

func (c *counter) serve(nc net.Conn) {
	defer nc.Close()
	in := bufio.NewScanner(nc)
	say := func(s string) { _, _ = io.WriteString(nc, s+"\r\n") }
	say("220 hello")
	for in.Scan() {
		switch word, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); word {
		case "EHLO":
			say("250-hi\r\n250 PIPELINING")
		case "DATA":
			say("354 go")
			subject := ""
			for in.Scan() && in.Text() != "." {
				if s, ok := strings.CutPrefix(in.Text(), "Subject: "); ok {
					subject = s
				}
			}
			c.mu.Lock()
			c.n++
			lose := c.n%17 == 0
			if !lose {
				c.seen[subject]++
			}
			c.mu.Unlock()
			if lose {
				return
			}
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if addr := os.Getenv("QUEUE_CRASH_ADDR"); addr != "" {
		if err := crashChild(os.Getenv("QUEUE_CRASH_DIR"), addr, os.Getenv("QUEUE_CRASH_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashChild enqueues and sends until it is killed, and prints the subject of
// each message that was accepted. In the round "last" it sends what is left.
func crashChild(dir, addr, round string) error {
	q, err := openRemote(dir, addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx, time.Second) }()
	for i := 0; round != "last"; i++ {
		subject := round + "-" + strconv.Itoa(i)
		size := 200
		if i%20 == 0 {
			size = 300 << 10
		}
		noise := make([]byte, size)
		for j := range noise {
			noise[j] = "abcdefghijklmnopqrstuvwxyz0123456789+/\n"[(j*j*7+i*j)>>5%39]
		}
		text := "Subject: " + subject + "\r\n\r\n" + strings.ReplaceAll(string(noise), "\n", "\r\n") + "\r\n"
		env := Envelope{From: "me@example.org", Recipients: []Recipient{{Address: mail.Address(fmt.Sprintf("u%d@x%d.example", i, i%3))}}}
		if _, err := q.Enqueue(ctx, env, strings.NewReader(text)); err != nil {
			return err
		}
		fmt.Println(subject)
	}
	for left := int64(1); left > 0; <-time.After(5 * time.Millisecond) {
		if err := q.view(func(db *database) (err error) { left, err = db.int64(`SELECT count(*) FROM message`); return err }); err != nil {
			return err
		}
	}
	cancel()
	return errors.Join(<-ended, q.Close())
}

// TestKill kills a sending process again and again, 8 times or CRASH_ROUNDS:
// what it had accepted arrives, and only what was under way arrives twice.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 8
	if n, err := strconv.Atoi(os.Getenv("CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	c := &counter{seen: map[string]int{}}
	addr, dir := c.listen(t), t.TempDir()
	child := func(round string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "QUEUE_CRASH_ADDR="+addr, "QUEUE_CRASH_DIR="+dir, "QUEUE_CRASH_ROUND="+round)
		cmd.Stderr = os.Stderr
		return cmd
	}
	var accepted []string
	for round := range rounds {
		cmd := child(strconv.Itoa(round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); n++ {
			accepted = append(accepted, in.Text())
			if n == 60+round*13 {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
	}
	if err := child("last").Run(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	twice := 0
	for _, subject := range accepted {
		if c.seen[subject] == 0 {
			t.Errorf("%s was accepted and did not arrive", subject)
		}
	}
	for _, n := range c.seen {
		twice += n - 1
	}
	if most := rounds * 20; twice > most { // sessions that one kill may interrupt
		t.Errorf("%d messages arrived twice, more than %d", twice, most)
	}
	files, err := os.ReadDir(dir + "/bodies")
	if err != nil || len(files) > 0 {
		t.Errorf("%d bodies stayed behind, %v", len(files), err)
	}
	t.Logf("%d accepted, %d twice, %d kills", len(accepted), twice, rounds)
}
