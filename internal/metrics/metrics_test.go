package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"expost/internal/maillog"
)

// scrape serves the counters and reads them once.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	return string(b)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := New(Config{Version: "1.2", Log: slog.New(slog.DiscardHandler), Queue: func(context.Context) (map[string]int64, error) {
		return map[string]int64{"waiting": 3, "held": 1}, nil
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counted := m.Listener("imap", l)
	defer counted.Close()
	for i := range 2 {
		if _, err := net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		c, err := counted.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			c.Close()
			c.Close()
		} else {
			defer c.Close()
		}
	}
	m.Mail(&maillog.Record{Event: maillog.Delivered, Size: 1000, Delay: 20 * time.Millisecond})
	m.Mail(&maillog.Record{Event: maillog.Refused})
	text := scrape(t, m)
	for _, want := range []string{
		`expost_build_info{version="1.2"} 1`, `expost_connections_total{service="imap"} 2`, `expost_connections_open{service="imap"} 1`,
		`expost_messages_total{event="delivered"} 1`, `expost_messages_total{event="refused"} 1`, `expost_message_bytes_total{event="delivered"} 1000`,
		`expost_message_delay_seconds_bucket{event="delivered",le="0.05"} 1`, `expost_queue_recipients{state="waiting"} 3`,
		`expost_queue_recipients{state="held"} 1`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, want+" ") {
			t.Errorf("no %s", want)
		}
	}
}

func TestQueueAway(t *testing.T) {
	t.Parallel()
	m := New(Config{Log: slog.New(slog.DiscardHandler), Queue: func(context.Context) (map[string]int64, error) { return nil, errors.New("busy") }})
	if text := scrape(t, m); !strings.Contains(text, "go_goroutines") || strings.Contains(text, "expost_queue_recipients{") {
		t.Errorf("without the queue:\n%.200s", text)
	}
}
