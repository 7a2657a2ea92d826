// Package metrics counts what a node does, in the form that Prometheus reads:
// connections, messages by what became of them, the queue, the process itself.
package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"expost/internal/maillog"
)

// Config says what is counted beside what happens.
type Config struct {
	Version string
	// Queue returns how many recipients wait in each state of the queue.
	Queue func(ctx context.Context) (map[string]int64, error)
	Log   *slog.Logger
}

// Metrics is the counters of a node.
type Metrics struct {
	cfg         Config
	registry    *prometheus.Registry
	connections *prometheus.CounterVec
	open        *prometheus.GaugeVec
	messages    *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	delay       *prometheus.HistogramVec
}

// New returns counters that stand at zero.
func New(cfg Config) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "expost", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		cfg: cfg, registry: prometheus.NewRegistry(),
		connections: counter("connections_total", "Connections accepted, by service.", "service"),
		open:        prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "expost", Name: "connections_open", Help: "Connections open now, by service."}, []string{"service"}),
		messages:    counter("messages_total", "Messages by recipient and what became of them, as the mail log has it.", "event"),
		bytes:       counter("message_bytes_total", "Bytes of the messages of messages_total.", "event"),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "expost", Name: "message_delay_seconds", Help: "Time from a message's arrival until it was delivered or sent.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30, 60, 300, 1800, 7200, 43200, 172800},
		}, []string{"event"}),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "expost", Name: "build_info", Help: "The version, as a label; the value is 1."}, []string{"version"})
	info.WithLabelValues(cfg.Version).Set(1)
	m.registry.MustRegister(m.connections, m.open, m.messages, m.bytes, m.delay, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.Queue != nil {
		m.registry.MustRegister(queueCollector{m})
	}
	return m
}

// Mail counts a record of the mail log.
func (m *Metrics) Mail(r *maillog.Record) {
	event := string(r.Event)
	m.messages.WithLabelValues(event).Inc()
	m.bytes.WithLabelValues(event).Add(float64(r.Size))
	if r.Event == maillog.Delivered || r.Event == maillog.Sent {
		m.delay.WithLabelValues(event).Observe(r.Delay.Seconds())
	}
}

// Listener counts the connections that a listener of a service accepts.
func (m *Metrics) Listener(service string, l net.Listener) net.Listener {
	return &listener{l, m.connections.WithLabelValues(service), m.open.WithLabelValues(service)}
}

type listener struct {
	net.Listener
	total prometheus.Counter
	open  prometheus.Gauge
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.total.Inc()
	l.open.Inc()
	return &conn{Conn: nc, open: l.open}, nil
}

type conn struct {
	net.Conn
	open   prometheus.Gauge
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Dec()
	}
	return c.Conn.Close()
}

// NetConn returns the connection that is counted.
func (c *conn) NetConn() net.Conn { return c.Conn }

// ReadFrom implements io.ReaderFrom, and WriteTo io.WriterTo, so that bytes may
// go from one socket to another without coming by.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// WriteTo implements io.WriterTo.
func (c *conn) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.Conn) }

// queueCollector reads the queue when it is asked.
type queueCollector struct{ m *Metrics }

func queueDesc() *prometheus.Desc {
	return prometheus.NewDesc("expost_queue_recipients", "Recipients in the queue, by state.", []string{"state"}, nil)
}

// Describe implements prometheus.Collector.
func (q queueCollector) Describe(out chan<- *prometheus.Desc) { out <- queueDesc() }

// Collect implements prometheus.Collector.
func (q queueCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := q.m.cfg.Queue(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(queueDesc(), err)
		return
	}
	for state, n := range counts {
		out <- prometheus.MustNewConstMetric(queueDesc(), prometheus.GaugeValue, float64(n), state)
	}
}

// Serve answers GET /metrics on a listener until ctx ends.
func (m *Metrics) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(m.cfg.Log.Handler(), slog.LevelDebug),
	}
	var ended sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		defer ended.Done()
		_ = srv.Close() // a scrape may be cut
	})
	ended.Add(1)
	err := srv.Serve(l)
	if stop() {
		ended.Done()
	}
	ended.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
