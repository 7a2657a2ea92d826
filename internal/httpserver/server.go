// Package httpserver tells mail programs how to reach this server, and people
// how to set them up: autodiscover for Outlook ([MS-OXDSCLI], and the JSON probe
// of newer ones), autoconfig for Thunderbird and what follows it, a profile for
// Apple's devices, a page of instructions, and the health of the server.
//
// Nothing here is secret and nobody logs in: an answer is the same for every
// address of a domain, whether it exists or not.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"expost/internal/mail"
)

// Protocol is one way in, as clients are told of it.
type Protocol struct {
	Name string // "IMAP", "POP3", "SMTP", "LDAP"
	Port int
	TLS  bool // from the first byte; else STARTTLS
}

// Config of a Server.
type Config struct {
	Hostname string
	Domains  []string
	// Protocols are the ways in, the one that a client should take first of those
	// with the same Name.
	Protocols []Protocol
	BaseDN    string                      // of the address book; "": it is not shown
	Healthy   func(context.Context) error // what keeps the server from working, or nil
	Log       *slog.Logger

	Connections int // at once: 1000
}

// Limits of a request.
const (
	maxBody        = 64 << 10
	maxHeader      = 32 << 10
	headerTime     = 10 * time.Second
	requestTime    = 30 * time.Second
	idleTime       = time.Minute
	connections    = 1000
	shutdownPeriod = 5 * time.Second
)

// Server answers over HTTP. It is safe for concurrent use.
type Server struct {
	cfg Config
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Connections <= 0 {
		cfg.Connections = connections
	}
	return &Server{cfg}
}

// Serve answers on l until ctx ends. Over a listener without TLS everything
// but health and autoconfig is sent to HTTPS.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	done := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPeriod)
		defer cancel()
		done <- srv.Shutdown(ending)
	})
	bounded := newBounded(l, s.cfg.Connections)
	srv.ConnState = bounded.changed
	err := srv.Serve(bounded)
	if !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	if err := <-done; err != nil { // requests that do not end are cut
		return srv.Close()
	}
	return nil
}

// bounded is a listener with a limit on connections at once. The connections
// are those of the listener itself, so that the server sees their TLS.
type bounded struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	close  func() error
}

func newBounded(l net.Listener, n int) *bounded {
	b := &bounded{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
	b.close = sync.OnceValue(func() error {
		close(b.closed)
		return l.Close()
	})
	return b
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
	}
	return conn, err
}

// Close implements net.Listener.
func (b *bounded) Close() error { return b.close() }

// changed is http.Server.ConnState.
func (b *bounded) changed(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		<-b.slots
	}
}

// Handler answers requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /mail/config-v1.1.xml", s.autoconfig)
	mux.HandleFunc("GET /.well-known/autoconfig/mail/config-v1.1.xml", s.autoconfig)
	mux.HandleFunc("/autodiscover/autodiscover.xml", s.secure(s.autodiscover))
	mux.HandleFunc("GET /autodiscover/autodiscover.json", s.secure(s.autodiscoverJSON))
	mux.HandleFunc("GET /autodiscover/autodiscover.json/{version}/{address}", s.secure(s.autodiscoverJSON))
	mux.HandleFunc("GET /setup.mobileconfig", s.secure(s.profile))
	mux.HandleFunc("GET /{$}", s.secure(s.page))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		if strings.EqualFold(r.URL.Path, "/autodiscover/autodiscover.xml") { // Outlook writes it in several ways
			r.URL.Path = "/autodiscover/autodiscover.xml"
		} else if path := strings.ToLower(r.URL.Path); strings.HasPrefix(path, "/autodiscover/autodiscover.json") {
			r.URL.Path = "/autodiscover/autodiscover.json" + r.URL.Path[len("/autodiscover/autodiscover.json"):]
		}
		mux.ServeHTTP(w, r)
	})
}

// secure sends requests in clear text to HTTPS: Outlook asks there to be told.
func (s *Server) secure(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Redirect(w, r, "https://"+s.cfg.Hostname+r.URL.RequestURI(), http.StatusFound)
			return
		}
		next(w, r)
	}
}

// health says whether the server works.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.cfg.Healthy != nil {
		if err := s.cfg.Healthy(r.Context()); err != nil {
			s.cfg.Log.Warn("not healthy", "error", err)
			http.Error(w, "not working", http.StatusServiceUnavailable)
			return
		}
	}
	w.Write([]byte("ok\n"))
}

// address returns the address that a client asks for, where it is one of our
// domains.
func (s *Server) address(text string) (mail.Address, bool) {
	addr, err := mail.ParseAddress(strings.TrimSpace(text))
	if err != nil {
		return "", false
	}
	for _, d := range s.cfg.Domains {
		if strings.EqualFold(d, addr.Domain()) {
			return addr, true
		}
	}
	return "", false
}

// find returns the first protocol of a name.
func (s *Server) find(name string) (Protocol, bool) {
	for _, p := range s.cfg.Protocols {
		if p.Name == name {
			return p, true
		}
	}
	return Protocol{}, false
}

// TLSConfig returns cfg for HTTPS.
func TLSConfig(cfg *tls.Config) *tls.Config {
	c := cfg.Clone()
	c.NextProtos = []string{"http/1.1"}
	return c
}
