package sasl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"crypto/pbkdf2"

	"expost/internal/mail"
	"expost/internal/password"
)

// outcome is what an authority was asked.
type outcome struct {
	authzid, login string
	ok             bool
}

// authority knows the user of RFC 7677 §3.
func authority(t testing.TB, got *outcome) Authority {
	t.Helper()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := password.NewScram([]byte("pencil"), salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	decide := func(authzid, login string, ok bool) error {
		*got = outcome{authzid, login, ok}
		if !ok {
			return mail.Errorf(mail.KindAuth, "wrong login or password")
		}
		return nil
	}
	return Authority{
		Password: func(authzid, login, pw string) error { return decide(authzid, login, pw == "pencil") },
		Keys: func(login string) (password.Scram, error) {
			if login == "user" {
				return keys, nil
			}
			return password.Decoys([]byte("secret"), login, 4096), nil
		},
		Proof:       decide,
		Certificate: func(authzid string) error { return decide(authzid, "certificate", true) },
		Nonce:       func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" },
	}
}

// The example of RFC 7677 §3.
func TestScramVector(t *testing.T) {
	t.Parallel()
	var got outcome
	s := New("SCRAM-SHA-256", authority(t, &got))
	if c, done, err := s.Next(nil); err != nil || done || len(c) != 0 || c == nil {
		t.Fatalf("without an initial response: %q %v %v", c, done, err)
	}
	c, done, err := s.Next([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"))
	if want := "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"; string(c) != want || done || err != nil {
		t.Fatalf("server-first %q %v %v, want %q", c, done, err, want)
	}
	c, done, err = s.Next([]byte("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if want := "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="; string(c) != want || !done || err != nil {
		t.Fatalf("server-final %q %v %v, want %q", c, done, err, want)
	}
	if got != (outcome{"", "user", true}) {
		t.Errorf("the authority was asked %+v", got)
	}
}

// client computes a client's final message.
func client(gs2, bare, serverFirst, pw string, binding []byte) string {
	fields := map[string]string{}
	for f := range strings.SplitSeq(serverFirst, ",") {
		fields[f[:1]] = f[2:]
	}
	var iterations int
	fmt.Sscan(fields["i"], &iterations)
	salt, _ := base64.StdEncoding.DecodeString(fields["s"])
	salted, _ := pbkdf2.Key(sha256.New, pw, salt, iterations, 32)
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	final := "c=" + base64.StdEncoding.EncodeToString(append([]byte(gs2), binding...)) + ",r=" + fields["r"]
	proof := make([]byte, 32)
	subtle.XORBytes(proof, clientKey, mac(stored[:], bare+","+serverFirst+","+final))
	return final + ",p=" + base64.StdEncoding.EncodeToString(proof)
}

func TestScramRefusals(t *testing.T) {
	t.Parallel()
	const first = "n,,n=user,r=abc"
	for name, tt := range map[string]struct {
		messages []string // "FINAL" is a right final message, "WRONG" one with a wrong password
		kind     mail.Kind
	}{
		"empty":                   {[]string{""}, mail.KindInvalid},
		"no header":               {[]string{"n=user,r=abc"}, mail.KindInvalid},
		"binding without PLUS":    {[]string{"p=tls-unique,,n=user,r=abc"}, mail.KindInvalid},
		"no name":                 {[]string{"n,,r=abc"}, mail.KindInvalid},
		"empty name":              {[]string{"n,,n=,r=abc"}, mail.KindInvalid},
		"bad escape":              {[]string{"n,,n=us=er,r=abc"}, mail.KindInvalid},
		"bad authzid":             {[]string{"n,b=x,n=user,r=abc"}, mail.KindInvalid},
		"mandatory extension":     {[]string{"n,,m=x,n=user,r=abc"}, mail.KindInvalid},
		"empty nonce":             {[]string{"n,,n=user,r="}, mail.KindInvalid},
		"nonce with a space":      {[]string{"n,,n=user,r=a b"}, mail.KindInvalid},
		"NUL":                     {[]string{"n,,n=us\x00er,r=abc"}, mail.KindInvalid},
		"not UTF-8":               {[]string{"n,,n=us\xffer,r=abc"}, mail.KindInvalid},
		"too long":                {[]string{"n,,n=" + strings.Repeat("u", 5000) + ",r=abc"}, mail.KindInvalid},
		"no proof":                {[]string{first, "c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"}, mail.KindInvalid},
		"proof not base64":        {[]string{first, "c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=%"}, mail.KindInvalid},
		"short proof":             {[]string{first, "c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA"}, mail.KindAuth},
		"wrong password":          {[]string{first, "WRONG"}, mail.KindAuth},
		"unknown user":            {[]string{"n,,n=nobody,r=abc", "FINAL"}, mail.KindAuth},
		"another header at last":  {[]string{first, "HEADER"}, mail.KindAuth},
		"another nonce at last":   {[]string{first, "NONCE"}, mail.KindAuth},
		"more after it was right": {[]string{first, "FINAL", "FINAL"}, mail.KindInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got outcome
			s := New(ScramSHA256, authority(t, &got))
			var challenge []byte
			var err error
			for i, m := range tt.messages {
				bare := strings.TrimPrefix(tt.messages[0], "n,,")
				switch m {
				case "FINAL":
					m = client("n,,", bare, string(challenge), "pencil", nil)
				case "WRONG":
					m = client("n,,", bare, string(challenge), "pen", nil)
				case "HEADER":
					m = client("y,,", bare, string(challenge), "pencil", nil)
				case "NONCE":
					m = client("n,,", bare, string(challenge)+"", "pencil", nil)
					m = strings.Replace(m, ",r=abc", ",r=abd", 1)
				}
				var c []byte
				if c, _, err = s.Next([]byte(m)); err != nil && i < len(tt.messages)-1 {
					t.Fatalf("message %d: %v", i, err)
				}
				if i == 0 {
					challenge = c
				}
			}
			if tt.kind == mail.KindInternal {
				return // must not panic
			}
			if err == nil || mail.KindOf(err) != tt.kind {
				t.Errorf("error %v of kind %v, want kind %v", err, mail.KindOf(err), tt.kind)
			}
			if got.ok {
				t.Error("the authority was told that the proof fits")
			}
		})
	}
}

// tlsPair returns both ends of a TLS connection.
func tlsPair(t *testing.T, version uint16) (server, client *tls.Conn, cfg *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader) // its certificate is signed with SHA-384
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cfg = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: version}
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	server, client = tls.Server(a, cfg), tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return server, client, cfg
}

// Each kind of channel binding, computed by the client's end on its own.
func TestScramPlus(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			server, cl, cfg := tlsPair(t, version)
			state := cl.ConnectionState()
			exporter, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			if err != nil {
				t.Fatal(err)
			}
			h := x509.ECDSAWithSHA384
			if state.PeerCertificates[0].SignatureAlgorithm != h {
				t.Fatalf("the certificate is signed with %v", state.PeerCertificates[0].SignatureAlgorithm)
			}
			endPoint := endPointHash(h).New()
			endPoint.Write(state.PeerCertificates[0].Raw)
			kinds := map[string][]byte{"tls-exporter": exporter, "tls-server-end-point": endPoint.Sum(nil)}
			if version == tls.VersionTLS12 {
				kinds["tls-unique"] = state.TLSUnique
			}
			for kind, data := range kinds {
				for _, forged := range []bool{false, true} {
					var got outcome
					a := authority(t, &got)
					sst := server.ConnectionState()
					a.Binding = NewBinding(&sst, cfg)
					s := New(ScramSHA256Plus, a)
					gs2 := "p=" + kind + ",,"
					c, _, err := s.Next([]byte(gs2 + "n=user,r=abc"))
					if err != nil {
						t.Fatalf("%s: %v", kind, err)
					}
					if forged { // the channel of somebody in the middle
						data = bytes.Repeat([]byte{7}, len(data))
					}
					_, done, err := s.Next([]byte(client(gs2, "n=user,r=abc", string(c), "pencil", data)))
					if forged == (err == nil) || done == forged || got.ok == forged {
						t.Errorf("%s, forged %v: done %v, err %v, %+v", kind, forged, done, err, got)
					}
				}
			}
		})
	}
}

func TestScramPlusRefusals(t *testing.T) {
	t.Parallel()
	server, _, cfg := tlsPair(t, tls.VersionTLS13)
	state := server.ConnectionState()
	var got outcome
	a := authority(t, &got)
	if New(ScramSHA256Plus, a) != nil {
		t.Error("-PLUS without a channel")
	}
	a.Binding = NewBinding(&state, cfg)
	for _, tt := range []struct {
		mechanism, first string
		kind             mail.Kind
	}{
		{ScramSHA256Plus, "n,,n=user,r=abc", mail.KindInvalid},
		{ScramSHA256Plus, "y,,n=user,r=abc", mail.KindInvalid},
		{ScramSHA256Plus, "p=,,n=user,r=abc", mail.KindInvalid},
		{ScramSHA256Plus, "p=tls-unique,,n=user,r=abc", mail.KindInvalid}, // not of TLS 1.3
		{ScramSHA256Plus, "p=smoke-signals,,n=user,r=abc", mail.KindInvalid},
		{ScramSHA256, "y,,n=user,r=abc", mail.KindAuth}, // somebody has hidden that we can
	} {
		_, _, err := New(tt.mechanism, a).Next([]byte(tt.first))
		if err == nil || mail.KindOf(err) != tt.kind {
			t.Errorf("%s %q: %v, want kind %v", tt.mechanism, tt.first, err, tt.kind)
		}
	}
	if _, _, err := New(ScramSHA256, a).Next([]byte("n,,n=user,r=abc")); err != nil {
		t.Errorf("a client that cannot: %v", err)
	}
}

func TestUnknownUsersHaveTheSameSaltEveryTime(t *testing.T) {
	t.Parallel()
	salt := func(name string) string {
		var got outcome
		c, _, err := New(ScramSHA256, authority(t, &got)).Next([]byte("n,,n=" + name + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		_, s, _ := strings.Cut(string(c), ",s=")
		return s
	}
	first, again, other, user := salt("nobody"), salt("nobody"), salt("noone"), salt("user")
	if first != again || first == other || len(first) != len(user) {
		t.Errorf("salts %q, %q, %q, of a user %q", first, again, other, user)
	}
}

func TestPlainLoginExternal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		mechanism string
		messages  []string
		want      outcome
		kind      mail.Kind // of the error; KindInternal: none
	}{
		"PLAIN":                 {Plain, []string{"\x00user\x00pencil"}, outcome{"", "user", true}, 0},
		"PLAIN, lower case":     {"plain", []string{"\x00user\x00pencil"}, outcome{"", "user", true}, 0},
		"PLAIN, authzid":        {Plain, []string{"boss\x00user\x00pencil"}, outcome{"boss", "user", true}, 0},
		"PLAIN, wrong":          {Plain, []string{"\x00user\x00pen"}, outcome{"", "user", false}, mail.KindAuth},
		"PLAIN, empty":          {Plain, []string{""}, outcome{}, mail.KindInvalid},
		"PLAIN, no login":       {Plain, []string{"\x00\x00pencil"}, outcome{}, mail.KindInvalid},
		"PLAIN, four parts":     {Plain, []string{"\x00user\x00pencil\x00"}, outcome{}, mail.KindInvalid},
		"LOGIN":                 {Login, []string{"user", "pencil"}, outcome{"", "user", true}, 0},
		"LOGIN, wrong":          {Login, []string{"user", "pen"}, outcome{"", "user", false}, mail.KindAuth},
		"EXTERNAL":              {External, []string{""}, outcome{"", "certificate", true}, 0},
		"EXTERNAL, authzid":     {External, []string{"user"}, outcome{"user", "certificate", true}, 0},
		"EXTERNAL, not UTF-8":   {External, []string{"\xff"}, outcome{}, mail.KindInvalid},
		"EXTERNAL, NUL in name": {External, []string{"a\x00b"}, outcome{}, mail.KindInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got outcome
			s := New(tt.mechanism, authority(t, &got))
			var done bool
			var err error
			for _, m := range tt.messages {
				if done || err != nil {
					t.Fatalf("over before its end: %v", err)
				}
				_, done, err = s.Next([]byte(m))
			}
			if got != tt.want || (err == nil) != (tt.kind == 0) || err != nil && mail.KindOf(err) != tt.kind || done != (tt.kind == 0) && err == nil {
				t.Errorf("asked %+v, want %+v; done %v, err %v", got, tt.want, done, err)
			}
		})
	}
}

func FuzzScram(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	f.Add("y,a=x,n==2C=3D,r=!,x=y", "c=,r=,p=")
	f.Fuzz(func(t *testing.T, first, final string) {
		var got outcome
		s := New(ScramSHA256, authority(t, &got))
		if _, _, err := s.Next([]byte(first)); err != nil {
			return
		}
		if _, done, err := s.Next([]byte(final)); done && err == nil && !got.ok {
			t.Errorf("let in without a proof that fits: %q %q", first, final)
		}
	})
}
