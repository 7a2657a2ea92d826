package imapclient_test

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"expost/internal/certificate"
	"expost/internal/mail"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	d := migratetest.StartDovecot(t, nil)
	for name, c := range map[string]struct {
		user, password string
		kind           mail.Kind
	}{
		"right":              {"ajay", d.Password, 0},
		"wrong password":     {"ajay", "wrong", mail.KindAuth},
		"needs a literal":    {"ajäy \"x\"", "pass\\wörd\"", mail.KindAuth},
		"no password":        {"ajay", "", mail.KindAuth},
		"a password of \x01": {"ajay", "\x01", mail.KindAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := imapclient.Dial(t.Context(), d.Address, imapclient.Options{Security: imapclient.Plain})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Abort()
			err = client.Login("", c.user, c.password)
			if (err == nil) != (c.kind == 0) || err != nil && mail.KindOf(err) != c.kind {
				t.Errorf("error is %v, want kind %v", err, c.kind)
			}
			if err != nil && c.password != "" && strings.Contains(err.Error(), c.password) {
				t.Errorf("the error names the password: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, err := imapclient.Dial(t.Context(), address, imapclient.Options{}); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opt := imapclient.Options{Security: imapclient.Plain, Timeout: 50 * time.Millisecond}
	if _, err := imapclient.Dial(t.Context(), l.Addr().String(), opt); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("a server that says nothing: %v", err)
	}
}

// serveTLS answers one connection: with TLS at once, or after STARTTLS with
// what is in early sent before it.
func serveTLS(t *testing.T, starttls bool, early string) string {
	t.Helper()
	source, err := certificate.SelfSigned(t.TempDir(), []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 1000)
		if starttls {
			conn.Write([]byte("* OK hello\r\n"))
			n, _ := conn.Read(buf)
			tag, _, _ := strings.Cut(string(buf[:n]), " ")
			conn.Write([]byte(tag + " OK begin\r\n" + early))
		}
		tc := tls.Server(conn, source.Config())
		if tc.Handshake() != nil {
			return
		}
		if !starttls {
			tc.Write([]byte("* PREAUTH hello\r\n"))
		}
		tc.Read(buf)
	}()
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	trusting := &tls.Config{InsecureSkipVerify: true}
	for name, c := range map[string]struct {
		starttls bool
		early    string
		config   *tls.Config
		ok       bool
	}{
		"implicit":                {false, "", trusting, true},
		"implicit, not trusted":   {false, "", nil, false},
		"starttls":                {true, "", trusting, true},
		"starttls, not trusted":   {true, "", nil, false},
		"starttls, injected text": {true, "* OK injected\r\n", trusting, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := imapclient.Options{TLSConfig: c.config, Timeout: 5 * time.Second}
			if c.starttls {
				opt.Security = imapclient.StartTLS
			}
			client, err := imapclient.Dial(t.Context(), serveTLS(t, c.starttls, c.early), opt)
			if client != nil {
				client.Abort()
			}
			if c.ok != (err == nil) || err != nil && mail.KindOf(err) != mail.KindPermission {
				t.Errorf("error is %v", err)
			}
			if _, wrong := errors.AsType[*imapclient.StatusError](err); wrong {
				t.Errorf("error is the server's: %v", err)
			}
		})
	}
}
