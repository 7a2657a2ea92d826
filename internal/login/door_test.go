package login

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/embedded"
	"expost/internal/gate"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/password"
	"expost/internal/sasl"
)

// cheap makes hashes that tests can afford.
func cheap() *password.Verifier {
	return password.New(password.Options{Memory: 8, Time: 1, ScramIterations: 4096, CacheSize: -1})
}

// newDirectory returns a directory with ajay, and bishal who is disabled.
func newDirectory(t *testing.T) *embedded.Directory {
	t.Helper()
	suffix, err := ldap.ParseDN("dc=linuxforu,dc=com")
	if err != nil {
		t.Fatal(err)
	}
	d, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir(), Suffix: suffix, Domains: []string{"linuxforu.com"}, Passwords: cheap()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	for _, name := range []string{"ajay", "bishal"} {
		if _, err := directory.AddAccount(t.Context(), d, directory.NewAccount{Address: mail.Address(name + "@linuxforu.com"), Password: []byte("correct horse")}); err != nil {
			t.Fatal(err)
		}
	}
	bishal, err := d.Lookup(t.Context(), "bishal")
	if err != nil {
		t.Fatal(err)
	}
	if err := directory.ChangeAccount(t.Context(), d, bishal.DN, directory.AccountChange{Status: new(directory.StatusNoAccess)}); err != nil {
		t.Fatal(err)
	}
	return d
}

// here is a client that may send passwords.
func here() Client {
	return Client{Protocol: "imap", Addr: netip.MustParseAddr("192.0.2.1"), Plaintext: true}
}

// scram logs in by SCRAM-SHA-256 and returns who came in, and the salt seen.
func scram(t *testing.T, d *Door, login, pw string) (e *Entry, salt string, err error) {
	t.Helper()
	x, err := d.Start(t.Context(), here(), "scram-sha-256")
	if err != nil {
		t.Fatal(err)
	}
	bare := "n=" + login + ",r=nonce"
	first, _, err := x.Next([]byte("n,," + bare))
	if err != nil {
		return nil, "", err
	}
	parts := strings.Split(string(first), ",")
	raw, err := base64.StdEncoding.DecodeString(parts[1][2:])
	if err != nil {
		t.Fatal(err)
	}
	_, final := scramProof(t, []byte(pw), raw, bare, string(first), parts[0])
	_, _, err = x.Next([]byte(final))
	return x.Entry, parts[1], err
}

func TestScramKeysFollowThePassword(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	door := New(Config{Directory: dir})
	e, salt, err := scram(t, door, "ajay@linuxforu.com", "correct horse")
	if err != nil || e.Account.Address != "ajay@linuxforu.com" {
		t.Fatalf("logging in: %v", err)
	}
	if _, _, err := scram(t, door, "ajay", "correct horse"); err != nil {
		t.Errorf("logging in by uid: %v", err)
	}
	if _, again, err := scram(t, door, "ajay", "wrong"); mail.KindOf(err) != mail.KindAuth || err == nil || again != salt {
		t.Errorf("a wrong password: %v, salt %q and %q", err, salt, again)
	}
	if _, _, err := scram(t, door, "bishal", "correct horse"); mail.KindOf(err) != mail.KindAuth || err == nil {
		t.Errorf("an account that may not log in: %v", err)
	}
	// Keys of an old password must not outlive it, however it is changed.
	dn := e.Account.DN
	values := passwordValues(t, dir, dn)
	if len(values) != 2 {
		t.Fatalf("userPassword has %d values, want hash and keys", len(values))
	}
	hash := values[0]
	if password.IsScram(hash) {
		hash = values[1]
	}
	change := []ldap.Change{
		{Op: ldap.ChangeDelete, Attribute: ldap.Attribute{Desc: "userPassword", Values: [][]byte{hash}}},
		{Op: ldap.ChangeAdd, Attribute: ldap.NewAttribute("userPassword", "new password")},
	}
	if err := dir.Modify(t.Context(), directory.Local(), dn, change); err != nil {
		t.Fatal(err)
	}
	if _, _, err := scram(t, door, "ajay", "correct horse"); err == nil {
		t.Error("the old password still logs in by SCRAM")
	}
	if _, _, err := scram(t, door, "ajay", "new password"); err != nil {
		t.Errorf("the new password does not: %v", err)
	}
	if err := dir.Modify(t.Context(), directory.Local(), dn, []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("userPassword", "{SSHA}xyz")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := scram(t, door, "ajay", "new password"); err == nil {
		t.Error("a replaced password still logs in by SCRAM")
	}
}

func passwordValues(t *testing.T, d *embedded.Directory, dn ldap.DN) (values [][]byte) {
	t.Helper()
	req := &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase, Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}, Attributes: []string{"userPassword"}}
	err := d.Search(t.Context(), directory.Local(), req, func(e *ldap.Entry) error {
		for _, a := range e.Attributes {
			values = append(values, a.Values...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// An account that came with an old hash gets its keys at the first login.
func TestScramKeysAreMadeAtALogin(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	door := New(Config{Directory: dir})
	account, err := dir.Lookup(t.Context(), "ajay")
	if err != nil {
		t.Fatal(err)
	}
	ssha := "{SSHA}2L4Fwc1jy0sYbLGk7AJfIyZFvbOwCm0y" // of another password
	if err := dir.Modify(t.Context(), directory.Local(), account.DN, []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("userPassword", ssha, "{MD5}"+md5Of("correct horse"))}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := scram(t, door, "ajay", "correct horse"); err == nil {
		t.Fatal("SCRAM without keys")
	}
	e, err := door.Password(t.Context(), here(), "ajay", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	e.Leave()
	eventually(t, "keys are made", func() bool { _, _, err := scram(t, door, "ajay", "correct horse"); return err == nil })
	if v := passwordValues(t, dir, account.DN); !slicesContain(v, []byte(ssha)) {
		t.Errorf("the other password is gone: %q", v)
	}
}

func slicesContain(list [][]byte, v []byte) bool {
	for _, w := range list {
		if bytes.Equal(v, w) {
			return true
		}
	}
	return false
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestActingForOthers(t *testing.T) {
	t.Parallel()
	door := New(Config{Directory: newDirectory(t)})
	for authzid, want := range map[string]mail.Kind{"": 0, "ajay": 0, "u:ajay@linuxforu.com": 0, "AJAY@linuxforu.com": 0, "bishal": mail.KindPermission, "nobody": mail.KindPermission} {
		x, err := door.Start(t.Context(), here(), sasl.Plain)
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := x.Next([]byte(authzid + "\x00ajay\x00correct horse"))
		if want == 0 && (err != nil || !done || x.Entry == nil) || want != 0 && (mail.KindOf(err) != want || x.Entry != nil) {
			t.Errorf("acting for %q: %v, entry %v", authzid, err, x.Entry)
		}
	}
}

func TestMechanisms(t *testing.T) {
	t.Parallel()
	door := New(Config{Directory: newDirectory(t)})
	clear, plain, encrypted := here(), here(), here()
	clear.Plaintext = false
	encrypted.TLS = &tls.ConnectionState{}
	for _, tt := range []struct {
		c    Client
		want string
	}{{clear, ""}, {plain, "SCRAM-SHA-256 PLAIN LOGIN"}, {encrypted, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"}} {
		if got := strings.Join(door.Mechanisms(tt.c), " "); got != tt.want {
			t.Errorf("%+v is offered %q, want %q", tt.c, got, tt.want)
		}
	}
	if _, err := door.Start(t.Context(), clear, sasl.Plain); err == nil {
		t.Error("PLAIN over a connection that anybody reads")
	}
	some := New(Config{Directory: newDirectory(t), Mechanisms: []string{sasl.Plain}})
	if got := strings.Join(some.Mechanisms(encrypted), " "); got != "PLAIN" {
		t.Errorf("offered %q, want PLAIN alone", got)
	}
}

// certificate returns a connection with a client certificate.
func certificate(t *testing.T, tmpl *x509.Certificate) Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := here()
	c.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}
	return c
}

// upn is a subjectAltName with a user principal name.
func upn(t *testing.T, name string) pkix.Extension {
	t.Helper()
	text, err := asn1.MarshalWithParams(name, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	oid, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	explicit, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: text})
	if err != nil {
		t.Fatal(err)
	}
	other, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(oid, explicit...)})
	if err != nil {
		t.Fatal(err)
	}
	all, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: other})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: all}
}

func TestExternal(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	all := []CertName{CertEmail, CertUPN, CertUID, CertCN}
	uid := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "ajay"}}}
	for name, tt := range map[string]struct {
		cert    x509.Certificate
		names   []CertName
		authzid string
		kind    mail.Kind // 0: ajay comes in
	}{
		"mail address":        {x509.Certificate{EmailAddresses: []string{"AJAY@linuxforu.com"}}, nil, "", 0},
		"the second address":  {x509.Certificate{EmailAddresses: []string{"x@example.org", "ajay@linuxforu.com"}}, nil, "ajay", 0},
		"principal name":      {x509.Certificate{ExtraExtensions: []pkix.Extension{upn(t, "ajay@linuxforu.com")}}, nil, "", 0},
		"common name":         {x509.Certificate{Subject: pkix.Name{CommonName: "ajay"}}, all, "", 0},
		"common name, no map": {x509.Certificate{Subject: pkix.Name{CommonName: "ajay"}}, nil, "", mail.KindAuth},
		"uid":                 {x509.Certificate{Subject: uid}, all, "", 0},
		"another's authzid":   {x509.Certificate{EmailAddresses: []string{"ajay@linuxforu.com"}}, nil, "bishal", mail.KindPermission},
		"may not log in":      {x509.Certificate{EmailAddresses: []string{"bishal@linuxforu.com"}}, nil, "", mail.KindAuth},
		"stranger":            {x509.Certificate{EmailAddresses: []string{"x@example.org"}}, nil, "", mail.KindAuth},
		"empty":               {x509.Certificate{}, all, "", mail.KindAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := certificate(t, &tt.cert)
			c.Plaintext = false // no password is sent
			x, err := New(Config{Directory: dir, CertNames: tt.names}).Start(t.Context(), c, sasl.External)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = x.Next([]byte(tt.authzid))
			switch {
			case tt.kind == 0 && (err != nil || x.Entry.Account.Address != "ajay@linuxforu.com"):
				t.Errorf("not let in: %v", err)
			case tt.kind != 0 && (mail.KindOf(err) != tt.kind || x.Entry != nil):
				t.Errorf("%v, entry %v; want kind %v", err, x.Entry, tt.kind)
			}
		})
	}
}

func TestFreezeEndsASession(t *testing.T) {
	t.Parallel()
	g := gate.New(time.Minute)
	dir := newDirectory(t)
	door := New(Config{Directory: dir, Gate: g})
	e, err := door.Password(t.Context(), here(), "ajay", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(e.Inside, e.Leave)
	thaw, err := g.Freeze(t.Context(), e.Account.ID)
	if err != nil {
		t.Fatal(err)
	}
	if context.Cause(e.Inside) != gate.ErrFrozen {
		t.Errorf("the session goes on: %v", context.Cause(e.Inside))
	}
	// Who comes meanwhile waits, and then finds the mailbox in its new place.
	host := make(chan string, 1)
	go func() {
		e, err := door.Password(context.WithoutCancel(t.Context()), here(), "ajay", "correct horse")
		if err != nil {
			host <- err.Error()
			return
		}
		host <- e.Account.Host
	}()
	if err := directory.ChangeAccount(t.Context(), dir, e.Account.DN, directory.AccountChange{Host: new("b.linuxforu.com")}); err != nil {
		t.Fatal(err)
	}
	select {
	case h := <-host:
		t.Fatalf("let in while frozen: %q", h)
	default:
	}
	thaw()
	if h := <-host; h != "b.linuxforu.com" {
		t.Errorf("the mailbox is on %q", h)
	}
}

func TestLogsTellNoPassword(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	door := New(Config{Directory: newDirectory(t), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if _, err := door.Password(t.Context(), here(), "ajay", "hunter2"); mail.KindOf(err) != mail.KindAuth {
		t.Fatal(err)
	}
	if _, err := door.Password(t.Context(), here(), "ajay", "correct horse"); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if strings.Contains(text, "hunter2") || strings.Contains(text, "correct horse") {
		t.Errorf("a password is in the log: %s", text)
	}
	if !strings.Contains(text, "login refused") || !strings.Contains(text, "remote=192.0.2.1") || !strings.Contains(text, "msg=login ") {
		t.Errorf("the log does not tell of both logins: %s", text)
	}
}
