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

// BenchmarkIdleConnections tells what an idle IMAP connection costs the server
// in resident memory: EXPOST_IDLE connections (default 500), in IDLE on a
// selected INBOX, spread over 50 accounts.
func BenchmarkIdleConnections(b *testing.B) {
	n := 500
	if v := os.Getenv("EXPOST_IDLE"); v != "" {
		n, _ = strconv.Atoi(v)
	}
	for _, service := range []string{"imap", "imaps"} {
		b.Run(service, func(b *testing.B) {
			s := newServer(b)
			const accounts = 50
			names := make([]string, accounts)
			for i := range names {
				names[i] = fmt.Sprintf("u%d@linuxforu.com", i)
			}
			if _, errs, err := s.try(b.Context(), password+"\n", append([]string{"account", "add", "--password-stdin"}, names...)...); err != nil {
				b.Fatal(err, errs)
			}
			s.start()
			conns := make([]net.Conn, 0, n)
			defer func() {
				for _, c := range conns {
					_ = c.Close()
				}
			}()
			for i := range accounts { // every account is open, whatever the number of connections
				conns = append(conns, idleConnection(b, s.addr[service], service == "imaps", names[i]))
			}
			before := s.resident()
			for b.Loop() {
				var mu sync.Mutex
				var wg sync.WaitGroup
				for w := range 8 {
					wg.Go(func() {
						for i := w; i < n; i += 8 {
							c := idleConnection(b, s.addr[service], service == "imaps", names[i%accounts])
							mu.Lock()
							conns = append(conns, c)
							mu.Unlock()
						}
					})
				}
				wg.Wait()
			}
			// The buffers of the logins are given back when the collector runs twice.
			best := s.resident()
			tick := time.NewTicker(200 * time.Millisecond)
			for range 50 {
				<-tick.C
				best = min(best, s.resident())
			}
			tick.Stop()
			b.ReportMetric(float64(best-before)/float64(len(conns)-accounts), "KiB/conn")
			b.ReportMetric(float64(best)/1024, "MiB")
		})
	}
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
