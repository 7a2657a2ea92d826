// Package resolvertest serves DNS zones on loopback for tests.
package resolvertest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server answers with the records it was given. Names below "servfail." get
// SERVFAIL, those below "silent." no answer.
type Server struct {
	Addr string // host:port, UDP and TCP

	mu      sync.Mutex
	records map[string][]dns.RR // by lower-case name
	asked   map[string]int
}

// Serve starts a server with records in the form of a zone file, one a line
// (`example.org. TXT "v=spf1 -all"`), and stops it when the test ends.
func Serve(tb testing.TB, records ...string) *Server {
	tb.Helper()
	s := &Server{records: map[string][]dns.RR{}, asked: map[string]int{}}
	s.Add(tb, records...)
	pc, ln := listen(tb)
	s.Addr = pc.LocalAddr().String()
	var wg sync.WaitGroup
	servers := []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: ln, Handler: s}}
	for _, srv := range servers {
		up := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		wg.Go(func() { _ = srv.ActivateAndServe() })
		<-up
	}
	tb.Cleanup(func() {
		for _, srv := range servers {
			_ = srv.Shutdown()
		}
		wg.Wait()
	})
	return s
}

// listen returns a UDP and a TCP socket of the same free port.
func listen(tb testing.TB) (net.PacketConn, net.Listener) {
	tb.Helper()
	var err error
	for range 20 {
		var pc net.PacketConn
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			break
		}
		var ln net.Listener
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			return pc, ln
		}
		_ = pc.Close()
	}
	tb.Fatal(err)
	return nil, nil
}

// Add adds records.
func (s *Server) Add(tb testing.TB, records ...string) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			tb.Fatalf("record %q: %v", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		s.records[name] = append(s.records[name], rr)
	}
}

// Asked returns how often a name was asked for, "example.org.".
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	q := req.Question[0]
	name := strings.ToLower(q.Name)
	m := new(dns.Msg)
	m.SetReply(req)
	m.RecursionAvailable = true
	switch {
	case strings.HasSuffix(name, ".silent."):
		return
	case strings.HasSuffix(name, ".servfail."):
		m.Rcode = dns.RcodeServerFailure
	default:
		s.answer(m, name, q.Qtype)
	}
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// answer puts the records of a name and type into m, through CNAMEs.
func (s *Server) answer(m *dns.Msg, name string, qtype uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[name]++
	for range 10 {
		next := ""
		for _, rr := range s.records[name] {
			switch cname, ok := rr.(*dns.CNAME); {
			case rr.Header().Rrtype == qtype:
				m.Answer = append(m.Answer, rr)
			case ok:
				m.Answer = append(m.Answer, rr)
				next = strings.ToLower(cname.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(m.Answer) == 0 && len(s.records[name]) == 0 {
		m.Rcode = dns.RcodeNameError
	}
}

// TXT returns the zone-file form of a TXT record, cut into strings that fit.
func TXT(name, text string) string {
	var b strings.Builder
	b.WriteString(name + " TXT")
	for len(text) > 255 {
		b.WriteString(` "` + text[:255] + `"`)
		text = text[255:]
	}
	b.WriteString(` "` + text + `"`)
	return b.String()
}
