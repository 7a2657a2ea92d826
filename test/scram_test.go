package test

import (
	"bufio"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// TestLDAPChannelBinding logs in over LDAP with SCRAM-SHA-256-PLUS, bound to the
// TLS connection, and to another one. libldap names no binding that SCRAM knows,
// so the client is written here.
func TestLDAPChannelBinding(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addAccounts("ajay@linuxforu.com")
	s.start()
	for name, bound := range map[string]bool{"to this connection": true, "to another": false} {
		t.Run(name, func(t *testing.T) {
			c, err := tls.Dial("tcp", s.addr["ldaps"], &tls.Config{InsecureSkipVerify: true}) // its certificate is its own
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			state := c.ConnectionState()
			binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32) // RFC 9266
			if err != nil {
				t.Fatal(err)
			}
			if !bound {
				binding[0] ^= 1
			}
			bind := &saslBinder{t: t, c: c, in: ldapwire.NewReader(bufio.NewReader(c), 1<<16)}
			const gs2, bare = "p=tls-exporter,,", "n=ajay@linuxforu.com,r=abcdefgh"
			r := bind.step(gs2 + bare)
			if r.Result.Code != ldap.SASLBindInProgress {
				t.Fatalf("first step: %+v", r.Result)
			}
			challenge := string(r.Credentials)
			final, server := scramFinal(t, challenge, bare, append([]byte(gs2), binding...))
			switch r = bind.step(final); {
			case bound && (r.Result.Code != ldap.Success || string(r.Credentials) != server):
				t.Errorf("%+v %q, want %q", r.Result, r.Credentials, server)
			case !bound && r.Result.Code != ldap.InvalidCredentials:
				t.Errorf("a binding to another connection: %+v", r.Result)
			}
		})
	}
}

// saslBinder makes the steps of a SASL bind.
type saslBinder struct {
	t  *testing.T
	c  *tls.Conn
	in *ldapwire.Reader
	id int32
}

func (b *saslBinder) step(text string) *ldapwire.BindResponse {
	b.t.Helper()
	b.id++
	m := ldapwire.Message{ID: b.id, Op: &ldapwire.BindRequest{Version: 3, Auth: ldapwire.AuthSASL, Mechanism: "SCRAM-SHA-256-PLUS", Credentials: []byte(text)}}
	if _, err := b.c.Write(m.Append(nil)); err != nil {
		b.t.Fatal(err)
	}
	answer, err := b.in.Next()
	if err != nil {
		b.t.Fatal(err)
	}
	r, ok := answer.Op.(*ldapwire.BindResponse)
	if !ok {
		b.t.Fatalf("answered by %T", answer.Op)
	}
	return r
}

// scramFinal returns the client's last message and what the server must answer
// (RFC 5802 §3).
func scramFinal(t *testing.T, challenge, bare string, binding []byte) (client, server string) {
	t.Helper()
	fields := map[byte]string{}
	for f := range strings.SplitSeq(challenge, ",") {
		if len(f) > 2 {
			fields[f[0]] = f[2:]
		}
	}
	rounds, err := strconv.Atoi(fields['i'])
	if err != nil {
		t.Fatalf("challenge %q", challenge)
	}
	salt, err := base64.StdEncoding.DecodeString(fields['s'])
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	without := fmt.Sprintf("c=%s,r=%s", base64.StdEncoding.EncodeToString(binding), fields['r'])
	auth := bare + "," + challenge + "," + without
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	for i, b := range mac(stored[:], auth) {
		key[i] ^= b
	}
	client = without + ",p=" + base64.StdEncoding.EncodeToString(key)
	return client, "v=" + base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), auth))
}
