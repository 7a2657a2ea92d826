package ldapclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// serve answers each connection with handle, and returns the URL.
func serve(t *testing.T, wrap func(net.Listener) net.Listener, handle func(nc net.Conn, in *ldapwire.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if wrap != nil {
		l = wrap(l)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				handle(nc, ldapwire.NewReader(bufio.NewReader(nc), 1<<20))
			}()
		}
	}()
	return "ldap://" + addr
}

// answer writes a message.
func answer(nc net.Conn, id int32, op ldapwire.Op) {
	_, _ = nc.Write((&ldapwire.Message{ID: id, Op: op}).Append(nil)) // the client may be gone
}

// yes answers every request with success, and a search with one entry.
func yes(nc net.Conn, in *ldapwire.Reader) {
	for {
		m, err := in.Next()
		if err != nil {
			return
		}
		switch op := m.Op.(type) {
		case *ldapwire.UnbindRequest:
			return
		case *ldapwire.BindRequest:
			r := &ldapwire.BindResponse{}
			if string(op.Password) == "wrong" {
				r.Code = ldap.InvalidCredentials
			}
			answer(nc, m.ID, r)
		case *ldapwire.SearchRequest:
			answer(nc, m.ID, &ldapwire.SearchEntry{DN: "cn=a", Attributes: []ldap.Attribute{ldap.NewAttribute("cn", "a")}})
			answer(nc, m.ID, &ldapwire.Response{Of: ldapwire.TagSearchDone})
		case *ldapwire.ExtendedRequest:
			answer(nc, m.ID, &ldapwire.ExtendedResponse{})
		default:
			answer(nc, m.ID, &ldapwire.Response{Of: m.Op.Tag().Response()})
		}
	}
}

func anything() *ldap.SearchRequest {
	return &ldap.SearchRequest{Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}}
}

// found searches, and returns how many entries came.
func found(ctx context.Context, c *Conn) (int, error) {
	n := 0
	_, err := c.Search(ctx, anything(), nil, func(*ldap.Entry) error { n++; return nil })
	return n, err
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]struct {
		address string
		secure  bool
	}{
		"ldap://a": {"a:389", false}, "ldaps://a/": {"a:636", true}, "ldap://a:1389": {"a:1389", false}, "a": {"a:389", false}, "a:1": {"a:1", false},
		"ldap://[::1]": {"[::1]:389", false}, "http://a": {}, "ldap://": {}, "ldap://a b": {},
	} {
		address, secure, err := ParseURL(url)
		if address != want.address || secure != want.secure || (err != nil) != (want.address == "") {
			t.Errorf("%s: %s %v %v", url, address, secure, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	source := httptest.NewUnstartedServer(nil)
	source.StartTLS()
	defer source.Close()
	server := &tls.Config{Certificates: source.TLS.Certificates}
	t.Run("StartTLS", func(t *testing.T) {
		url := serve(t, nil, func(nc net.Conn, in *ldapwire.Reader) {
			m, err := in.Next()
			if err != nil {
				return
			}
			answer(nc, m.ID, &ldapwire.ExtendedResponse{Name: ldapwire.OIDStartTLS})
			tc := tls.Server(nc, server)
			yes(tc, ldapwire.NewReader(bufio.NewReader(tc), 1<<20))
		})
		checkTLS(t, url, Options{StartTLS: true})
	})
	t.Run("ldaps", func(t *testing.T) {
		url := serve(t, func(l net.Listener) net.Listener { return tls.NewListener(l, server) }, yes)
		checkTLS(t, "ldaps"+url[len("ldap"):], Options{})
	})
}

// checkTLS connects to a server whose certificate nobody trusts, and then
// without asking.
func checkTLS(t *testing.T, url string, opt Options) {
	t.Helper()
	var away *NetError
	if _, err := Dial(t.Context(), url, opt); !errors.As(err, &away) {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	opt.TLS = &tls.Config{InsecureSkipVerify: true}
	c, err := Dial(t.Context(), url, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := found(t.Context(), c); n != 1 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestWrongAnswers has servers that end the session, that say nothing, and that
// speak something else.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(nc net.Conn, in *ldapwire.Reader){
		"notice": func(nc net.Conn, in *ldapwire.Reader) {
			_, _ = in.Next()
			_, _ = nc.Write(ldapwire.NoticeOfDisconnection(ldap.Unavailable, "good night").Append(nil))
		},
		"closed": func(_ net.Conn, in *ldapwire.Reader) { _, _ = in.Next() },
		"SMTP":   func(nc net.Conn, _ *ldapwire.Reader) { _, _ = nc.Write([]byte("220 mail.example.org\r\n")) },
		"silent": func(_ net.Conn, in *ldapwire.Reader) { _, _ = in.Next(); _, _ = in.Next() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Dial(t.Context(), serve(t, nil, handle), Options{Timeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = found(t.Context(), c)
			var away *NetError
			if !errors.As(err, &away) || c.Broken() == nil {
				t.Errorf("%v", err)
			}
			if _, err := found(t.Context(), c); !errors.As(err, &away) {
				t.Errorf("the broken connection is used: %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	url := serve(t, nil, func(_ net.Conn, in *ldapwire.Reader) {
		_, _ = in.Next()
		close(asked)
		_, _ = in.Next()
	})
	c, err := Dial(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := c.Listen(ctx, &ldapwire.SearchRequest{SearchRequest: *anything()}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestPool keeps connections, makes a new one where a kept one is broken, bounds
// them, and binds as somebody else apart.
func TestPool(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	var first atomic.Pointer[net.Conn]
	url := serve(t, nil, func(nc net.Conn, in *ldapwire.Reader) {
		connections.Add(1)
		first.CompareAndSwap(nil, &nc)
		yes(nc, in)
	})
	p := NewPool(PoolOptions{Servers: []string{url}, DN: "cn=service", Password: []byte("right"), Size: 1})
	defer p.Close()
	use := func() {
		t.Helper()
		n := 0
		err := p.Use(t.Context(), func(c *Conn) (err error) { n, err = found(t.Context(), c); return err })
		if n != 1 || err != nil {
			t.Errorf("%d entries, %v", n, err)
		}
	}
	use()
	use()
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for two searches", n)
	}
	_ = (*first.Load()).Close()
	use()
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, of which one broke", n)
	}
	err := p.Use(t.Context(), func(*Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return p.Use(ctx, func(*Conn) error { return nil })
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("more connections than the pool has: %v", err)
	}
	var refused *ldap.Error
	if err := p.Check(t.Context(), "cn=user", []byte("wrong")); !errors.As(err, &refused) || refused.Code != ldap.InvalidCredentials {
		t.Errorf("a wrong password: %v", err)
	}
	if err := p.Check(t.Context(), "cn=user", []byte("right")); err != nil {
		t.Error(err)
	}
	use()
}

// TestPoolOrder asks servers that were away a moment ago last.
func TestPoolOrder(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	p := NewPool(PoolOptions{Servers: []string{"a", "b", "c"}, Now: func() time.Time { return now }})
	p.away["a"] = now
	if got := p.order(); got[0] != "b" || got[1] != "c" || got[2] != "a" {
		t.Errorf("%q", got)
	}
	now = now.Add(time.Minute)
	if got := p.order(); got[0] != "a" {
		t.Errorf("a minute later %q", got)
	}
	wrong := NewPool(PoolOptions{Servers: []string{serve(t, nil, yes)}, DN: "cn=service", Password: []byte("wrong")})
	var away *NetError
	if err := wrong.Use(t.Context(), func(*Conn) error { return nil }); !errors.As(err, &away) {
		t.Errorf("our own password is wrong: %v", err)
	}
}
