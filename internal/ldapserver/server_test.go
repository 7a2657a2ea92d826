package ldapserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"expost/internal/certificate"
	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
	"expost/internal/mail"
)

// scripted is a directory whose searches do what a test wants. Its one
// password is "secret".
type scripted struct {
	search func(ctx context.Context, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error
}

var _ directory.Directory = (*scripted)(nil)

func (*scripted) Suffix() ldap.DN {
	return ldap.DN{{{Type: "dc", Value: "linuxforu"}}, {{Type: "dc", Value: "com"}}}
}

func (s *scripted) Search(ctx context.Context, _ directory.Identity, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	return s.search(ctx, req, yield)
}

func (*scripted) Bind(_ context.Context, dn ldap.DN, password []byte) (directory.Identity, error) {
	if string(password) != "secret" {
		return directory.Identity{}, ldap.Errorf(ldap.InvalidCredentials, "")
	}
	return directory.Identity{DN: dn}, nil
}

func (*scripted) Login(_ context.Context, login, password string) (*directory.Account, error) {
	if login != "ajay" && login != "ajay@linuxforu.com" || password != "secret" {
		return nil, mail.Errorf(mail.KindAuth, "wrong login or password")
	}
	return &directory.Account{DN: ldap.DN{{{Type: "uid", Value: "ajay"}}}}, nil
}

func (*scripted) Lookup(_ context.Context, login string) (*directory.Account, error) {
	if login != "ajay" && login != "ajay@linuxforu.com" {
		return nil, mail.Errorf(mail.KindNotExist, "there is no account %q", login)
	}
	return &directory.Account{DN: ldap.DN{{{Type: "uid", Value: "ajay"}}}}, nil
}

func (*scripted) Add(context.Context, directory.Identity, *ldap.Entry) error {
	return errors.New("the disk is on fire")
}

func (*scripted) Modify(context.Context, directory.Identity, ldap.DN, []ldap.Change) error {
	return mail.Errorf(mail.KindUnavailable, "no space left on the disk")
}

func (*scripted) Delete(context.Context, directory.Identity, ldap.DN) error {
	return &ldap.Error{Code: ldap.NoSuchObject, Matched: ldap.DN{{{Type: "dc", Value: "com"}}}}
}

func (*scripted) Resolve(context.Context, mail.Address) (*directory.Account, error) { return nil, nil }
func (*scripted) Accounts(context.Context) iter.Seq2[*directory.Account, error]     { return nil }
func (*scripted) Close() error                                                      { return nil }

// entries is a search that yields n entries of about 1 KiB, or without end for n < 0.
func entries(n int) func(context.Context, *ldap.SearchRequest, func(*ldap.Entry) error) error {
	e := &ldap.Entry{
		DN:         ldap.DN{{{Type: "cn", Value: "x"}}},
		Attributes: []ldap.Attribute{ldap.NewAttribute("description", strings.Repeat("d", 1000))},
	}
	return func(ctx context.Context, _ *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
		for i := 0; i != n; i++ {
			if err := errors.Join(ctx.Err(), yield(e)); err != nil {
				return err
			}
		}
		return nil
	}
}

// untilCancelled is a search that ends when it is given up, telling started first.
func untilCancelled(started chan<- struct{}) func(context.Context, *ldap.SearchRequest, func(*ldap.Entry) error) error {
	return func(ctx context.Context, _ *ldap.SearchRequest, _ func(*ldap.Entry) error) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
}

// serverTLS returns a server's TLS configuration.
func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	source, err := certificate.SelfSigned(t.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return source.Config()
}

// start serves on a free port until the test ends and returns the address and
// what stops the server earlier.
func start(t testing.TB, cfg Config) (addr string, stop func()) {
	t.Helper()
	return startOn(t, cfg, func(l net.Listener) net.Listener { return l })
}

func startOn(t testing.TB, cfg Config, wrap func(net.Listener) net.Listener) (addr string, stop func()) {
	t.Helper()
	if cfg.PlaintextAuth == "" {
		cfg.PlaintextAuth = PlaintextLoopback
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := New(cfg).Serve(ctx, wrap(l)); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// client speaks LDAP by hand.
type client struct {
	t  testing.TB
	nc net.Conn
	in *ldapwire.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := &client{t: t}
	c.use(nc)
	return c
}

func (c *client) use(nc net.Conn) {
	c.nc, c.in = nc, ldapwire.NewReader(bufio.NewReader(nc), 1<<24)
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) sendRaw(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) send(id int32, op ldapwire.Op, controls ...ldapwire.Control) {
	c.t.Helper()
	c.sendRaw((&ldapwire.Message{ID: id, Op: op, Controls: controls}).Append(nil))
}

func (c *client) receive() *ldapwire.Message {
	c.t.Helper()
	m, err := c.in.Next()
	if err != nil {
		c.t.Fatalf("reading an answer: %v", err)
	}
	return m
}

// result receives until a message with a result and returns it, with the
// number of entries before it.
func (c *client) result() (id int32, r ldapwire.Result, entries int) {
	c.t.Helper()
	for {
		m := c.receive()
		if r, ok := resultIn(m.Op); ok {
			return m.ID, r, entries
		}
		entries++
	}
}

// expect receives a result and checks its message and code.
func (c *client) expect(id int32, code ldap.ResultCode) ldapwire.Result {
	c.t.Helper()
	got, r, _ := c.result()
	if got != id || r.Code != code {
		c.t.Errorf("message %d has result %d (%s), want %d with %d", got, r.Code, r.Text, id, code)
	}
	return r
}

// expectNotice receives the notice of disconnection and the end.
func (c *client) expectNotice(code ldap.ResultCode) {
	c.t.Helper()
	m := c.receive()
	r, ok := m.Op.(*ldapwire.ExtendedResponse)
	if !ok || m.ID != 0 || r.Name != ldapwire.OIDNoticeOfDisconnection || r.Code != code {
		c.t.Errorf("got %+v, want a notice of disconnection with %d", m.Op, code)
	}
	c.expectEnd()
}

func (c *client) expectEnd() {
	c.t.Helper()
	if m, err := c.in.Next(); err == nil {
		c.t.Errorf("got %T, want the end", m.Op)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Error("the connection was not ended")
	}
}

func filter(t testing.TB, s string) *ldap.Filter {
	t.Helper()
	f, err := ldap.ParseFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// anySearch is a search of the whole tree.
func anySearch(t testing.TB) *ldapwire.SearchRequest {
	return &ldapwire.SearchRequest{SearchRequest: ldap.SearchRequest{Base: (*scripted)(nil).Suffix(), Scope: ldap.ScopeSub, Filter: filter(t, "(cn=*)")}}
}

func simpleBind(name, password string) *ldapwire.BindRequest {
	return &ldapwire.BindRequest{Version: 3, Name: name, Password: []byte(password)}
}

func TestBind(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		cfg  Config
		req  *ldapwire.BindRequest
		code ldap.ResultCode
		who  string
	}{
		{"anonymous", Config{}, simpleBind("", ""), ldap.Success, ""},
		{"by DN", Config{}, simpleBind("cn=manager", "secret"), ldap.Success, "dn:cn=manager"},
		{"by address", Config{}, simpleBind("ajay@linuxforu.com", "secret"), ldap.Success, "dn:uid=ajay"},
		{"by login", Config{}, simpleBind("ajay", "secret"), ldap.Success, "dn:uid=ajay"},
		{"as Outlook writes a Windows login", Config{}, simpleBind(`LFY\ajay`, "secret"), ldap.Success, "dn:uid=ajay"},
		{"wrong password", Config{}, simpleBind("cn=manager", "x"), ldap.InvalidCredentials, ""},
		{"wrong login", Config{}, simpleBind("nobody@linuxforu.com", "secret"), ldap.InvalidCredentials, ""},
		{"a DN that is none", Config{}, simpleBind("cn=a=,b", "secret"), ldap.InvalidDNSyntax, ""},
		{"without a password", Config{}, simpleBind("cn=manager", ""), ldap.UnwillingToPerform, ""},
		{"without a name", Config{}, simpleBind("", "secret"), ldap.InvalidCredentials, ""},
		{"clear text", Config{PlaintextAuth: PlaintextNever}, simpleBind("cn=manager", "secret"), ldap.ConfidentialityRequired, ""},
		{"anonymous in clear text", Config{PlaintextAuth: PlaintextNever}, simpleBind("", ""), ldap.Success, ""},
		{"version 2", Config{}, &ldapwire.BindRequest{Version: 2}, ldap.ProtocolError, ""},
		{"version 2 where allowed", Config{AllowV2: true}, &ldapwire.BindRequest{Version: 2, Name: "cn=manager", Password: []byte("secret")}, ldap.Success, "dn:cn=manager"},
		{"version 4", Config{}, &ldapwire.BindRequest{Version: 4}, ldap.ProtocolError, ""},
		{"Outlook's SPA", Config{}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthOther, Credentials: []byte("NTLM")}, ldap.AuthMethodNotSupported, ""},
		{"an unknown mechanism", Config{}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "GSS-SPNEGO"}, ldap.AuthMethodNotSupported, ""},
		{"PLAIN", Config{}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "PLAIN", Credentials: []byte("\x00ajay\x00secret")}, ldap.Success, "dn:uid=ajay"},
		{"PLAIN with a DN", Config{}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "PLAIN", Credentials: []byte("\x00dn:cn=manager\x00secret")}, ldap.Success, "dn:cn=manager"},
		{"PLAIN for another", Config{}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "PLAIN", Credentials: []byte("u:root\x00ajay\x00secret")}, ldap.InappropriateAuth, ""},
		{"PLAIN without credentials", Config{}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "PLAIN"}, ldap.InvalidCredentials, ""},
		{"PLAIN in clear text", Config{PlaintextAuth: PlaintextNever}, &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "PLAIN", Credentials: []byte("\x00ajay\x00secret")}, ldap.ConfidentialityRequired, ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.cfg.Directory = &scripted{}
			addr, _ := start(t, test.cfg)
			c := dial(t, addr)
			if test.code != ldap.Success && test.cfg.PlaintextAuth == "" { // a failed bind makes anonymous
				c.send(9, simpleBind("cn=manager", "secret"))
				c.expect(9, ldap.Success)
			}
			c.send(1, test.req)
			c.expect(1, test.code)
			c.send(2, &ldapwire.ExtendedRequest{Name: ldapwire.OIDWhoAmI})
			if m := c.receive(); string(m.Op.(*ldapwire.ExtendedResponse).Value) != test.who {
				t.Errorf("Who am I: %+v, want %q", m.Op, test.who)
			}
		})
	}
}

func TestOperationsAreAnswered(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(3)}})
	c := dial(t, addr)
	dn := ldap.DN{{{Type: "cn", Value: "x"}}}
	c.send(1, anySearch(t))
	if id, r, n := c.result(); id != 1 || r.Code != ldap.Success || n != 3 {
		t.Errorf("search: message %d, %+v, %d entries", id, r, n)
	}
	c.send(2, &ldapwire.AddRequest{Entry: ldap.Entry{DN: dn}})
	if r := c.expect(2, ldap.Other); r.Text != "internal error" {
		t.Errorf("the client was told %q", r.Text)
	}
	c.send(3, &ldapwire.ModifyRequest{DN: dn})
	if r := c.expect(3, ldap.Unavailable); r.Text != "no space left on the disk" {
		t.Errorf("the client was told %q", r.Text)
	}
	c.send(4, &ldapwire.DeleteRequest{DN: dn})
	if r := c.expect(4, ldap.NoSuchObject); r.Matched != "dc=com" {
		t.Errorf("matched DN %q", r.Matched)
	}
	c.send(5, &ldapwire.ModifyDNRequest{DN: dn, NewRDN: dn[0]})
	c.expect(5, ldap.UnwillingToPerform)
	c.send(6, &ldapwire.ExtendedRequest{Name: "1.2.3"})
	c.expect(6, ldap.ProtocolError)
	c.send(7, anySearch(t), ldapwire.Control{OID: "1.2.3", Critical: true})
	c.expect(7, ldap.UnavailableCriticalExt)
	c.send(8, anySearch(t), ldapwire.Control{OID: "1.2.3"}, ldapwire.Control{OID: ldapwire.OIDManageDsaIT, Critical: true})
	c.expect(8, ldap.Success)
	c.send(9, &ldapwire.AbandonRequest{ID: 1000}, ldapwire.Control{OID: "1.2.3", Critical: true})
	c.send(10, &ldapwire.UnbindRequest{})
	c.expectEnd()
}

func TestMalformedRequestsEndInANotice(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(1)}, Limits: Limits{ReadTime: 50 * time.Millisecond}})
	for name, request := range map[string]string{
		"an unknown operation": "\x30\x05\x02\x01\x01\x5f\x00",
		"a response":           string((&ldapwire.Message{ID: 1, Op: &ldapwire.BindResponse{}}).Append(nil)),
		"message ID 0":         string((&ldapwire.Message{Op: simpleBind("", "")}).Append(nil)),
		"HTTP":                 "GET / HTTP/1.0\r\n\r\n",
		"too long":             "\x30\x83\x04\x00\x01",
		"wrong lengths":        "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x09\x80\x00",
	} {
		c := dial(t, addr)
		c.sendRaw([]byte(request))
		t.Log(name)
		c.expectNotice(ldap.ProtocolError)
	}
	c := dial(t, addr)
	c.sendRaw([]byte("\x30\x40\x02\x01"))
	c.expectNotice(ldap.Unavailable) // the rest never comes
}

func TestWhoHasBoundMaySendMore(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{}})
	photo := &ldapwire.AddRequest{Entry: ldap.Entry{Attributes: []ldap.Attribute{ldap.NewAttribute("jpegPhoto", strings.Repeat("x", 300<<10))}}}
	c := dial(t, addr)
	c.send(1, simpleBind("cn=manager", "secret"))
	c.expect(1, ldap.Success)
	c.send(2, photo)
	c.expect(2, ldap.Other) // from the directory
	c.send(3, simpleBind("", ""))
	c.expect(3, ldap.Success)
	b := (&ldapwire.Message{ID: 4, Op: photo}).Append(nil)
	go func() { _, _ = c.nc.Write(b) }()
	c.expectNotice(ldap.ProtocolError)
}

func TestRefusedRequestsKeepTheConnection(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(1)}})
	c := dial(t, addr)
	deep := filter(t, "(cn=*)")
	for range 150 {
		deep = &ldap.Filter{Op: ldap.FilterNot, Subs: []*ldap.Filter{deep}}
	}
	req := anySearch(t)
	req.Filter = deep
	c.send(1, req)
	c.expect(1, ldap.AdminLimitExceeded)
	req = anySearch(t)
	req.Scope = 7
	c.send(2, req)
	c.expect(2, ldap.ProtocolError)
	c.sendRaw([]byte("\x30\x0a\x02\x01\x03\x4a\x05no dn"))
	c.expect(3, ldap.InvalidDNSyntax)
	c.send(4, anySearch(t))
	c.expect(4, ldap.Success)
}

func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: func(context.Context, *ldap.SearchRequest, func(*ldap.Entry) error) error { panic("a fault") }}})
	c := dial(t, addr)
	for id := range int32(3) {
		c.send(id+1, anySearch(t))
		if r := c.expect(id+1, ldap.Other); strings.Contains(r.Text, "fault") {
			t.Errorf("the client was told %q", r.Text)
		}
	}
}

func TestPipelinedSearches(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(10)}})
	c := dial(t, addr)
	const n = 1000
	var wire []byte
	for id := range int32(n) {
		wire = (&ldapwire.Message{ID: id + 1, Op: anySearch(t)}).Append(wire)
	}
	go func() { _, _ = c.nc.Write(wire) }()
	answered, total := map[int32]bool{}, 0
	for range n {
		id, r, entries := c.result()
		if r.Code != ldap.Success || answered[id] {
			t.Fatalf("message %d: %+v, answered before: %v", id, r, answered[id])
		}
		answered[id] = true
		total += entries
	}
	if total != 10*n {
		t.Errorf("%d entries, want %d", total, 10*n)
	}
}

func TestAbandonStorm(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 1)
	addr, _ := start(t, Config{Directory: &scripted{search: untilCancelled(started)}})
	c := dial(t, addr)
	for id := range int32(1000) {
		c.send(id+1, anySearch(t))
		if id%2 == 0 {
			<-started
		}
		c.send(5000, &ldapwire.AbandonRequest{ID: id + 1})
		if id%2 == 1 {
			<-started
		}
	}
	c.send(6000, &ldapwire.ExtendedRequest{Name: ldapwire.OIDWhoAmI})
	c.expect(6000, ldap.Success) // and not a word about the others
}

func TestOperationsAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 100)
	addr, _ := start(t, Config{Directory: &scripted{search: untilCancelled(started)}, Limits: Limits{Operations: 4}})
	c := dial(t, addr)
	for id := range int32(5) {
		c.send(id+1, anySearch(t))
	}
	for range 4 {
		<-started
	}
	select {
	case <-started:
		t.Error("a fifth operation was started")
	case <-time.After(50 * time.Millisecond):
	}
}

func TestBindWaitsForOperations(t *testing.T) {
	t.Parallel()
	started, proceed := make(chan struct{}, 1), make(chan struct{})
	addr, _ := start(t, Config{Directory: &scripted{search: func(_ context.Context, _ *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
		started <- struct{}{}
		<-proceed
		return nil
	}}})
	c := dial(t, addr)
	c.send(1, anySearch(t))
	<-started
	c.send(2, simpleBind("cn=manager", "secret"))
	c.send(3, &ldapwire.ExtendedRequest{Name: ldapwire.OIDWhoAmI})
	close(proceed)
	c.expect(1, ldap.Success)
	c.expect(2, ldap.Success)
	if m := c.receive(); string(m.Op.(*ldapwire.ExtendedResponse).Value) != "dn:cn=manager" {
		t.Errorf("behind the bind: %+v", m.Op)
	}
}

func TestTimeLimit(t *testing.T) {
	t.Parallel()
	asked := make(chan int, 1)
	addr, _ := start(t, Config{
		Directory: &scripted{search: func(_ context.Context, req *ldap.SearchRequest, _ func(*ldap.Entry) error) error {
			asked <- req.TimeLimit
			return nil
		}},
		Limits: Limits{SearchTime: 90 * time.Second},
	})
	c := dial(t, addr)
	for limit, want := range map[int]int{0: 90, 60: 60, 90: 90, 1000: 90} {
		req := anySearch(t)
		req.TimeLimit = limit
		c.send(1, req)
		c.expect(1, ldap.Success)
		if got := <-asked; got != want {
			t.Errorf("a client that asks for %d s gets %d s, want %d s", limit, got, want)
		}
	}
}

func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	sent := 0
	addr, _ := start(t, Config{
		Directory: &scripted{search: func(ctx context.Context, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
			err := entries(-1)(ctx, req, func(e *ldap.Entry) error { sent++; return yield(e) })
			ended <- err
			return err
		}},
		Limits: Limits{WriteTime: 100 * time.Millisecond},
	})
	c := dial(t, addr)
	c.send(1, anySearch(t))
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the search ended with %v", err)
		}
		if sent > 20000 {
			t.Errorf("%d KiB were taken from the directory", sent)
		}
	case <-time.After(10 * time.Second):
		t.Error("the search goes on")
	}
}

func TestAClientThatGoesAwayEndsItsSearch(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}, 1), make(chan struct{})
	addr, _ := start(t, Config{Directory: &scripted{search: func(ctx context.Context, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
		defer close(ended)
		return untilCancelled(started)(ctx, req, yield)
	}}})
	c := dial(t, addr)
	c.send(1, anySearch(t))
	<-started
	c.nc.Close()
	<-ended
}

func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(1)}, Limits: Limits{IdleTime: 50 * time.Millisecond}})
	dial(t, addr).expectNotice(ldap.Unavailable)
}

func TestASilentClientMayWaitForItsSearch(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Limits: Limits{IdleTime: 20 * time.Millisecond}, Directory: &scripted{
		search: func(context.Context, *ldap.SearchRequest, func(*ldap.Entry) error) error {
			<-time.After(200 * time.Millisecond)
			return nil
		}}})
	c := dial(t, addr)
	c.send(1, anySearch(t))
	c.expect(1, ldap.Success)
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(1)}, Limits: Limits{Connections: 1}})
	first := dial(t, addr)
	first.send(1, anySearch(t))
	first.expect(1, ldap.Success)
	dial(t, addr).expectNotice(ldap.Busy)
	first.send(2, anySearch(t))
	first.expect(2, ldap.Success)
}

func TestShutdownLetsOperationsEnd(t *testing.T) {
	t.Parallel()
	started, proceed := make(chan struct{}, 1), make(chan struct{})
	addr, stop := start(t, Config{Directory: &scripted{search: func(context.Context, *ldap.SearchRequest, func(*ldap.Entry) error) error {
		started <- struct{}{}
		<-proceed
		return nil
	}}})
	busy, idle := dial(t, addr), dial(t, addr)
	busy.send(1, anySearch(t))
	<-started
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	idle.expectNotice(ldap.Unavailable)
	close(proceed)
	busy.expect(1, ldap.Success)
	busy.expectNotice(ldap.Unavailable)
	<-stopped
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 1)
	addr, stop := start(t, Config{Directory: &scripted{search: untilCancelled(started)}, Limits: Limits{ShutdownTime: 20 * time.Millisecond}})
	c := dial(t, addr)
	c.send(1, anySearch(t))
	<-started
	stop()
	if _, err := io.ReadAll(c.nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection lives on")
	}
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(1)}, TLSConfig: serverTLS(t), PlaintextAuth: PlaintextNever})
	startTLS := &ldapwire.ExtendedRequest{Name: ldapwire.OIDStartTLS}
	c := dial(t, addr)
	c.send(1, simpleBind("cn=manager", "secret"))
	c.expect(1, ldap.ConfidentialityRequired)
	c.send(2, startTLS)
	c.expect(2, ldap.Success)
	c.use(tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true}))
	c.send(3, simpleBind("cn=manager", "secret"))
	c.expect(3, ldap.Success)
	c.send(4, startTLS)
	c.expect(4, ldap.OperationsError)
	c.send(5, anySearch(t))
	c.expect(5, ldap.Success)

	injected := dial(t, addr)
	wire := (&ldapwire.Message{ID: 1, Op: startTLS}).Append(nil)
	injected.sendRaw((&ldapwire.Message{ID: 2, Op: anySearch(t)}).Append(wire))
	injected.expectNotice(ldap.ProtocolError)

	plain, _ := start(t, Config{Directory: &scripted{}})
	c = dial(t, plain)
	c.send(1, startTLS)
	c.expect(1, ldap.ProtocolError)
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	config := serverTLS(t)
	addr, _ := startOn(t, Config{Directory: &scripted{search: entries(1)}, PlaintextAuth: PlaintextNever},
		func(l net.Listener) net.Listener { return tls.NewListener(l, config) })
	c := dial(t, addr)
	c.use(tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true}))
	c.send(1, simpleBind("cn=manager", "secret"))
	c.expect(1, ldap.Success)
	c.send(2, anySearch(t))
	c.expect(2, ldap.Success)
}

// baseSearch reads one entry.
func baseSearch(t testing.TB, base, f string, attrs ...string) *ldapwire.SearchRequest {
	t.Helper()
	dn, err := ldap.ParseDN(base)
	if err != nil {
		t.Fatal(err)
	}
	return &ldapwire.SearchRequest{SearchRequest: ldap.SearchRequest{Base: dn, Filter: filter(t, f), Attributes: attrs}}
}

func TestRootDSEAndSubschema(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, Config{Directory: &scripted{search: entries(0)}, TLSConfig: serverTLS(t), Version: "1.0"})
	c := dial(t, addr)
	cases := []struct {
		base, filter string
		attrs        []string
		want         []string // descriptions of the answer; nil: no entry
	}{
		{"", "(objectClass=*)", nil, []string{"objectClass"}},
		{"", "(objectclass=*)", []string{"NamingContexts", "supportedControl"}, []string{"namingContexts", "supportedControl"}},
		{"", "(objectClass=*)", []string{"+"}, []string{"namingContexts", "defaultNamingContext", "subschemaSubentry", "supportedControl", "supportedFeatures", "vendorName", "supportedExtension", "supportedLDAPVersion", "supportedSASLMechanisms", "vendorVersion"}},
		{"", "(objectClass=*)", []string{"1.1"}, []string{}},
		{"", "(objectClass=person)", nil, nil},
		{"", "(!(objectClass=person))", []string{"1.1"}, []string{}},
		{"", "(!(unknown=x))", nil, nil},
		{"", "(|(unknown=x)(&))", []string{"1.1"}, []string{}},
		{"", "(vendorName=Expost)", []string{"vendorname"}, []string{"vendorName"}},
		{"CN=subschema", "(objectClass=subschema)", []string{"cn"}, []string{"cn"}},
		{"cn=Subschema", "(objectClass=subschema)", nil, []string{"objectClass", "cn"}},
		{"cn=Subschema", "(objectClass=*)", []string{"attributeTypes", "objectClasses"}, []string{"attributeTypes", "objectClasses"}},
	}
	for i, test := range cases {
		id := int32(i + 1)
		c.send(id, baseSearch(t, test.base, test.filter, test.attrs...))
		m := c.receive()
		e, found := m.Op.(*ldapwire.SearchEntry)
		if found != (test.want != nil) {
			t.Errorf("%q %s: entry found: %v", test.base, test.filter, found)
		}
		if !found {
			continue
		}
		c.expect(id, ldap.Success)
		got := []string{}
		for _, a := range e.Attributes {
			got = append(got, a.Desc)
			if len(a.Values) == 0 {
				t.Errorf("%s has no values", a.Desc)
			}
		}
		if strings.Join(got, " ") != strings.Join(test.want, " ") {
			t.Errorf("%q %s %v: got %v, want %v", test.base, test.filter, test.attrs, got, test.want)
		}
	}
}
