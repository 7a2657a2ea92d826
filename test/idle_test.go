package test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// idleAccounts are the accounts over which idle connections are spread.
const idleAccounts = 50

// idleNames returns their names.
func idleNames() []string {
	names := make([]string, idleAccounts)
	for i := range names {
		names[i] = fmt.Sprintf("u%d@linuxforu.com", i)
	}
	return names
}

// BenchmarkIdleConnections tells what an idle IMAP connection costs the server
// in resident memory: EXPOST_IDLE connections (default 500), in IDLE on a
// selected INBOX, spread over 50 accounts.
func BenchmarkIdleConnections(b *testing.B) {
	for _, service := range []string{"imap", "imaps"} {
		b.Run(service, func(b *testing.B) {
			s := newServer(b)
			addIdleAccounts(b, s)
			s.start()
			benchmarkIdle(b, s, service)
		})
	}
}

// BenchmarkIdleProxied is the same for accounts whose mailHost is another node,
// which is reached by TLS.
func BenchmarkIdleProxied(b *testing.B) {
	far := newServer(b)
	addIdleAccounts(b, far)
	far.start()
	s := newServer(b)
	s.configure("[log]", fmt.Sprintf("[[host]]\nname = \"far.linuxforu.com\"\nimap = \"imaps://%s\"\nca = %q\n[log]", far.addr["imaps"], far.dir+"/data/tls/cert.pem"))
	s.start()
	s.run(append([]string{"account", "add", "--mail-host", "far.linuxforu.com", "--no-password"}, idleNames()...)...)
	for _, service := range []string{"imap", "imaps"} {
		b.Run(service, func(b *testing.B) { benchmarkIdle(b, s, service) })
	}
}

// addIdleAccounts makes the accounts.
func addIdleAccounts(b *testing.B, s *server) {
	b.Helper()
	if _, errs, err := s.try(b.Context(), password+"\n", append([]string{"account", "add", "--password-stdin"}, idleNames()...)...); err != nil {
		b.Fatal(err, errs)
	}
}

// benchmarkIdle makes the connections and reports what each of them costs.
func benchmarkIdle(b *testing.B, s *server, service string) {
	n, names := 500, idleNames()
	if v := os.Getenv("EXPOST_IDLE"); v != "" {
		n, _ = strconv.Atoi(v)
	}
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range idleAccounts { // every account is open, whatever the number of connections
		conns = append(conns, idleConnection(b, s.addr[service], service == "imaps", names[i]))
	}
	before := s.settled()
	for b.Loop() {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := w; i < n; i += 8 {
					c := idleConnection(b, s.addr[service], service == "imaps", names[i%idleAccounts])
					mu.Lock()
					conns = append(conns, c)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	best := s.settled()
	b.ReportMetric(float64(best-before)/float64(len(conns)-idleAccounts), "KiB/conn")
	b.ReportMetric(float64(best)/1024, "MiB")
}

// idleConnection logs in, selects INBOX and begins IDLE.
func idleConnection(b *testing.B, addr string, encrypted bool, login string) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	if encrypted {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the server made its certificate a moment ago
	}
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReaderSize(nc, 512)
	for _, cmd := range []string{"", `a LOGIN ` + login + ` "` + password + `"`, "b SELECT INBOX", "c IDLE"} {
		if cmd != "" {
			if _, err := nc.Write([]byte(cmd + "\r\n")); err != nil {
				b.Fatal(err)
			}
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				b.Fatalf("%s: %v", cmd, err)
			}
			if cmd == "" || strings.HasPrefix(line, "+ ") || strings.HasPrefix(line, cmd[:1]+" OK") {
				break
			}
		}
	}
	return nc
}

// settled returns the KiB of memory in use once the buffers of logins are given
// back, when the collector has run twice.
func (s *server) settled() int64 {
	best := s.resident()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 75 {
		<-tick.C
		best = min(best, s.resident())
	}
	return best
}

// resident returns the KiB of memory that the server has in use.
func (s *server) resident() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return kib
}
