package smtpserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/dnsbl"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/queue"
	"expost/internal/ratelimit"
)

// masked is a listener whose clients seem to come from another address.
type masked struct {
	net.Listener
	from netip.Addr
}

type maskedConn struct {
	net.Conn
	from net.Addr
}

func (m masked) Accept() (net.Conn, error) {
	nc, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return maskedConn{nc, net.TCPAddrFromAddrPort(netip.AddrPortFrom(m.from, 4321))}, nil
}

func (c maskedConn) RemoteAddr() net.Addr { return c.from }

// from returns a client that seems to come from an address, before the greeting.
func (n *node) from(t *testing.T, ip string) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- n.server.Serve(ctx, masked{ln, netip.MustParseAddr(ip)}) }()
	t.Cleanup(func() { cancel(); <-stopped })
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return &client{t, nc, bufio.NewReader(nc)}
}

// zone is a DNS of fixed answers: addresses by name, names by address.
type zone map[string]string

func (z zone) get(name string) (string, error) {
	if v, ok := z[name]; ok && v != "servfail" {
		return v, nil
	} else if ok {
		return "", &net.DNSError{IsTemporary: true}
	}
	return "", &net.DNSError{IsNotFound: true}
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	v, err := z.get(addr)
	return []string{v}, err
}

func (z zone) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	v, err := z.get(strings.TrimSuffix(host, "."))
	return []net.IPAddr{{IP: net.ParseIP(v)}}, err
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	v, err := z.get("txt " + name)
	return []string{v}, err
}

func TestClientPolicy(t *testing.T) {
	t.Parallel()
	dns := zone{
		"192.0.2.1": "good.example.", "good.example": "192.0.2.1",
		"192.0.2.2": "liar.example.", "liar.example": "192.0.2.99",
		"192.0.2.4": "servfail",
		"192.0.2.5": "listed.example.", "listed.example": "192.0.2.5", "5.2.0.192.bl.example": "127.0.0.2", "txt 5.2.0.192.bl.example": "ask bl.example",
		"192.0.2.6": "junk.example.", "junk.example": "192.0.2.6", "6.2.0.192.junk.example": "127.0.0.2",
		"7.2.0.192.wl.example": "127.0.0.2",
	}
	n := newNode(t, Config{Policy: Policy{
		ReverseDNS: DemandMatch, Helo: DemandMatch, DNS: dns, Relay: []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")},
		Lists: dnsbl.Checker{Resolver: dns, Lists: []dnsbl.List{{Zone: "bl.example"}, {Zone: "junk.example", Action: dnsbl.Junk}, {Zone: "wl.example", Allow: true}}},
	}})
	for _, test := range []struct{ name, ip, helo, want string }{
		{"a good client", "192.0.2.1", "good.example", "250"},
		{"a name that leads elsewhere", "192.0.2.2", "good.example", "550 5.7.25"},
		{"no name", "192.0.2.3", "good.example", "550 5.7.25"},
		{"DNS is away", "192.0.2.4", "good.example", "450 4.7.25"},
		{"on a block list", "192.0.2.5", "good.example", "554 5.7.1 your address 192.0.2.5 is on the block list bl.example: ask bl.example"},
		{"on a list for junk", "192.0.2.6", "good.example", "250"},
		{"on a list of the good, without a name", "192.0.2.7", "good.example", "250"},
		{"our name", "192.0.2.1", "MAIL.example.org", "HELO 550 5.7.1"},
		{"our address", "192.0.2.1", "[127.0.0.1]", "HELO 550 5.7.1"},
		{"its address", "192.0.2.1", "[192.0.2.1]", "250"},
		{"no full name", "192.0.2.1", "laptop", "HELO 550 5.5.2"},
		{"a name that is not in DNS", "192.0.2.1", "no.example", "HELO 550 5.7.1"},
		{"a relay needs none of it", "192.0.2.200", "printer", "250"},
	} {
		c := n.from(t, test.ip)
		c.expect("220")
		c.send("EHLO " + test.helo)
		got := c.reply()
		if want, ok := strings.CutPrefix(test.want, "HELO "); ok || !strings.HasPrefix(got, "250") {
			if !ok || !strings.HasPrefix(got, want) {
				t.Errorf("%s: HELO is answered with %q", test.name, got)
			}
			continue
		}
		c.send("MAIL FROM:<x@y.example>")
		c.expect("250")
		c.send("RCPT TO:<ann@example.org>")
		if got := c.reply(); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		c.send("RCPT TO:<postmaster@example.org>")
		c.expect("250")
		c.send("QUIT")
	}
}

func TestEarlyTalkers(t *testing.T) {
	t.Parallel()
	n := newNode(t, Config{Policy: Policy{GreetDelay: 200 * time.Millisecond}})
	c := n.from(t, "192.0.2.1")
	c.send("EHLO spam.example")
	c.expect("554 5.5.1")
	c.closed()
	c = n.from(t, "192.0.2.1")
	c.expect("220")
	c.send("EHLO patient.example")
	c.expect("250")
	newClient(t, n).expect("220") // at once
}

func TestRates(t *testing.T) {
	t.Parallel()
	per := func(n int) *ratelimit.Limiter {
		return ratelimit.New(ratelimit.Limit{Count: n, Per: 1000 * time.Hour})
	}
	n := newNode(t, Config{Policy: Policy{HostConnections: per(3), HostMessages: per(4), RecipientMails: per(2)}})
	c := n.from(t, "2001:db8::1")
	c.expect("220")
	c.send("EHLO a.example")
	c.expect("250")
	for i, want := range []string{"250", "250", "452 4.2.1", "250"} {
		c.send("MAIL FROM:<x@y.example>")
		c.expect("250")
		to := "ann"
		if i == 3 {
			to = "bob"
		}
		c.send("RCPT TO:<" + to + "@example.org>")
		c.expect(want)
		c.send("RSET")
		c.expect("250")
	}
	c.send("MAIL FROM:<x@y.example>")
	c.expect("450 4.7.1")
	for range 2 {
		n.from(t, "2001:db8::2").expect("220")
	}
	n.from(t, "2001:db8::3").expect("421 4.7.0") // of one /64
	n.from(t, "192.0.2.1").expect("220")
}

// remote takes what leaves the node.
type remote struct {
	mu   sync.Mutex
	sent []queue.Envelope
}

func (r *remote) Enqueue(_ context.Context, env queue.Envelope, body io.Reader) (queue.ID, error) {
	_, err := io.Copy(io.Discard, body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, env)
	return queue.ID(len(r.sent)), err
}

// TestStolenPassword has a user send more than the limit.
func TestStolenPassword(t *testing.T) {
	t.Parallel()
	out := &remote{}
	n := newRelay(t, out, Config{Mode: Submission, PlaintextAuth: listener.PlaintextLoopback, Postmaster: "admin@example.org", Policy: Policy{
		User: ratelimit.New(ratelimit.Limit{Count: 5, Per: 1000 * time.Hour}),
	}})
	c := newClient(t, n)
	c.expect("220")
	c.send("EHLO laptop")
	c.expect("250")
	c.login("ann@example.org")
	for i := range 10 {
		c.send("MAIL FROM:<ann@example.org>")
		c.expect("250")
		c.send(fmt.Sprintf("RCPT TO:<victim%d@far.example>", i))
		c.expect("250")
		c.send("DATA")
		c.expect("354")
		c.send("Subject: spam\r\n\r\nspam\r\n.")
		c.expect("250")
	}
	held := 0
	for i, env := range out.sent {
		if (env.Hold != "") != (i >= 5) {
			t.Errorf("message %d: hold %q", i, env.Hold)
		}
		if env.Hold != "" {
			held++
		}
	}
	if len(out.sent) != 10 || held != 5 {
		t.Errorf("%d messages left, %d of them held", len(out.sent), held)
	}
	alerts := n.messages(t, "admin", mail.Inbox)
	if len(alerts) != 1 || !strings.Contains(string(alerts[0]), "over the limit of 5 recipients in 1000h of ann@example.org") {
		t.Errorf("the postmaster has %q", alerts)
	}
}

// TestRelayNetworks has a host send anywhere that may, and one that may not.
func TestRelayNetworks(t *testing.T) {
	t.Parallel()
	out := &remote{}
	n := newRelay(t, out, Config{Policy: Policy{Relay: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}})
	for ip, want := range map[string]string{"192.0.2.1": "250", "192.0.2.2": "550 5.7.1"} {
		c := n.from(t, ip)
		c.expect("220")
		c.send("EHLO a.example")
		c.expect("250")
		c.send("MAIL FROM:<x@example.org>")
		c.expect("250")
		c.send("RCPT TO:<y@far.example>")
		c.expect(want)
	}
}

// TestRelayNetworksAreNotUsers has a host send more than a user may.
func TestRelayNetworksAreNotUsers(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]int{0: 0, 2: 1} {
		out := &remote{}
		n := newRelay(t, out, Config{Policy: Policy{
			Relay: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
			User:  ratelimit.New(ratelimit.Limit{Count: 1, Per: 1000 * time.Hour}), RelayHost: ratelimit.New(ratelimit.Limit{Count: limit, Per: 1000 * time.Hour}),
		}})
		c := n.from(t, "192.0.2.1")
		c.expect("220")
		c.send("EHLO a.example")
		c.expect("250")
		for i := range 3 {
			c.send("MAIL FROM:<x@far.example>")
			c.expect("250")
			c.send(fmt.Sprintf("RCPT TO:<y%d@far.example>", i))
			c.expect("250")
			c.send("DATA")
			c.expect("354")
			c.send("Subject: x\r\n\r\nx\r\n.")
			c.expect("250")
		}
		held := 0
		for _, env := range out.sent {
			if strings.Contains(env.Hold, "of the host 192.0.2.1") {
				held++
			}
		}
		if len(out.sent) != 3 || held != want {
			t.Errorf("limit %d: %d left, %d of them held", limit, len(out.sent), held)
		}
	}
}
