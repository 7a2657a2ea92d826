package listener

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// echo is a session that says its number, then echoes lines until it is
// stopped or hears "quit"; "hold" makes it deaf to Stop, "panic" panics.
type echo struct {
	conn net.Conn
	id   uint64
	once sync.Once
}

func (e *echo) Run(ctx context.Context) {
	fmt.Fprintf(e.conn, "hello %d\n", e.id)
	for sc := bufio.NewScanner(e.conn); sc.Scan(); {
		switch sc.Text() {
		case "quit":
			return
		case "hold":
			io.WriteString(e.conn, "holding\n")
			<-ctx.Done()
			return
		case "panic":
			panic("as asked")
		}
		fmt.Fprintln(e.conn, sc.Text())
	}
	io.WriteString(e.conn, "bye\n")
}

func (e *echo) Refuse(why Refusal) { fmt.Fprintln(e.conn, why) }
func (e *echo) Stop()              { e.once.Do(func() { e.conn.SetReadDeadline(time.Unix(1, 0)) }) }

// serve runs a group until cancel and returns the listener's address.
func serve(t *testing.T, limits Limits) (addr string, cancel func(), done <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	g := NewGroup(limits, slog.New(slog.DiscardHandler))
	go func() {
		ended <- g.Serve(ctx, ln, func(c net.Conn, id uint64, _ func()) Session { return &echo{conn: c, id: id} })
	}()
	t.Cleanup(stop)
	return ln.Addr().String(), stop, ended
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return client{t, c, bufio.NewReader(c)}
}

func (c client) expect(want string) {
	c.t.Helper()
	if got, err := c.r.ReadString('\n'); got != want+"\n" {
		c.t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestShutdownInTwoSteps(t *testing.T) {
	t.Parallel()
	addr, cancel, done := serve(t, Limits{Connections: 10, PerHost: 10, ShutdownTime: 50 * time.Millisecond})
	polite, stubborn := dial(t, addr), dial(t, addr)
	polite.r.ReadString('\n')
	stubborn.r.ReadString('\n')
	io.WriteString(stubborn, "hold\n")
	stubborn.expect("holding")
	cancel()
	polite.expect("bye")
	if _, err := stubborn.r.ReadString('\n'); err == nil {
		t.Error("the stubborn session was not cut")
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestLimitOfConnections(t *testing.T) {
	t.Parallel()
	addr, _, _ := serve(t, Limits{Connections: 1, PerHost: 10, ShutdownTime: time.Second})
	first := dial(t, addr)
	first.expect("hello 1")
	dial(t, addr).expect("too many connections")
	io.WriteString(first, "quit\n")
	io.ReadAll(first)
	// The place is free again, once the server has noticed.
	for {
		c := dial(t, addr)
		if line, _ := c.r.ReadString('\n'); line != "too many connections\n" {
			return
		}
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	t.Parallel()
	addr, cancel, done := serve(t, Limits{Connections: 10, PerHost: 10, ShutdownTime: time.Second})
	bad := dial(t, addr)
	io.WriteString(bad, "panic\n")
	io.ReadAll(bad)
	good := dial(t, addr)
	good.expect("hello 2")
	cancel()
	good.expect("bye")
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestHostsAreCounted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ addr, want string }{
		{"192.0.2.7:1", "192.0.2.7/32"},
		{"[2001:db8::1:2]:1", "2001:db8::/64"},
		{"[::ffff:192.0.2.7]:1", "192.0.2.7/32"},
		{"127.0.0.1:1", "invalid Prefix"},
		{"[::1]:1", "invalid Prefix"},
	} {
		if got := hostOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.addr))).String(); got != tt.want {
			t.Errorf("hostOf(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
	g := NewGroup(Limits{Connections: 10, PerHost: 1}, slog.New(slog.DiscardHandler))
	a, b := &entry{conn: from("192.0.2.7:1")}, &entry{conn: from("192.0.2.7:2")}
	if why, _ := g.enter(t.Context(), a); why != 0 {
		t.Fatalf("first: %v", why)
	}
	if why, _ := g.enter(t.Context(), b); why != TooManyFromHost {
		t.Fatalf("second: %v", why)
	}
	g.trust(a)
	if why, _ := g.enter(t.Context(), b); why != 0 {
		t.Fatalf("after the first is trusted: %v", why)
	}
	g.leave(a)
	g.leave(b)
	if len(g.hosts) != 0 {
		t.Errorf("hosts left: %v", g.hosts)
	}
}

// from is a connection that only knows where it comes from.
func from(addr string) net.Conn {
	return remote{addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}
}

type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }

func TestPlaintextAuth(t *testing.T) {
	t.Parallel()
	loop, far := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		p    PlaintextAuth
		from netip.Addr
		tls  bool
		want bool
	}{
		{PlaintextNever, loop, false, false}, {PlaintextNever, far, true, true}, {"", loop, false, false},
		{PlaintextLoopback, loop, false, true}, {PlaintextLoopback, far, false, false}, {PlaintextAlways, far, false, true},
	} {
		if got := tt.p.Allows(tt.from, tt.tls); got != tt.want {
			t.Errorf("%q.Allows(%v, %v) = %v", tt.p, tt.from, tt.tls, got)
		}
	}
}
