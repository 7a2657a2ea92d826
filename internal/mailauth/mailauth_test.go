package mailauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"expost/internal/resolver"
	"expost/internal/resolver/resolvertest"
)

// world is a DNS server and the keys whose records it has.
type world struct {
	*Verifier
	dns  *resolvertest.Server
	keys map[string]crypto.Signer // by algorithm
}

func newWorld(t *testing.T) *world {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	rsaRecord := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(rsaPublic)
	edRecord := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edPublic)
	srv := resolvertest.Serve(t,
		`bank.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"`,
		`_dmarc.bank.example. TXT "v=DMARC1; p=reject; sp=quarantine"`,
		resolvertest.TXT("rsa._domainkey.bank.example.", rsaRecord),
		resolvertest.TXT("ed._domainkey.bank.example.", edRecord),
		resolvertest.TXT("strictkey._domainkey.bank.example.", edRecord+"; t=s"),
		`revoked._domainkey.bank.example. TXT "v=DKIM1; p="`,
		resolvertest.TXT("huge._domainkey.bank.example.", "v=DKIM1; p="+strings.Repeat("A", 3000)),
		resolvertest.TXT("ed._domainkey.evil.example.", edRecord),
		`evil.example. TXT "v=spf1 +all"`,
		`strict.example. TXT "v=spf1 +all"`, `a.strict.example. TXT "v=spf1 +all"`,
		`_dmarc.strict.example. TXT "v=DMARC1; p=reject; aspf=s; adkim=s"`,
		`half.example. TXT "v=spf1 -all"`, `_dmarc.half.example. TXT "v=DMARC1; p=reject; pct=50"`,
		`two.example. TXT "v=spf1 -all"`, `two.example. TXT "v=spf1 +all"`,
		`_dmarc.two.example. TXT "v=DMARC1; p=reject"`, `_dmarc.two.example. TXT "v=DMARC1; p=none"`,
		`loop.example. TXT "v=spf1 include:loop.example -all"`,
	)
	return &world{
		Verifier: New("mx.example.org", resolver.New(resolver.Options{Server: srv.Addr, Timeout: 300e6})),
		dns:      srv, keys: map[string]crypto.Signer{"rsa": rsaKey, "ed": edKey},
	}
}

// sign returns text with a signature before it.
func (w *world) sign(t *testing.T, text, key, d, selector, identifier string) string {
	t.Helper()
	var b bytes.Buffer
	if err := dkim.Sign(&b, strings.NewReader(text), &dkim.SignOptions{
		Domain: d, Selector: selector, Signer: w.keys[key], Identifier: identifier,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// verify checks text as it comes from ip with a reverse-path of this domain.
func (w *world) verify(t *testing.T, ip, sender, text string) *Report {
	t.Helper()
	r, err := w.Verify(context.Background(), &Message{
		Client: netip.MustParseAddr(ip), Helo: "client.evil.example", Sender: sender, Local: "x", Size: int64(len(text)), Text: strings.NewReader(text),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const letter = "From: Bank <service@bank.example>\r\nTo: ann@example.org\r\nSubject: hello\r\n\r\nbody  text\r\n"

func TestSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signed := w.sign(t, letter, "rsa", "bank.example", "rsa", "")
	for name, c := range map[string]struct {
		text string
		want []Result
	}{
		"none":            {letter, nil},
		"RSA":             {signed, []Result{Pass}},
		"Ed25519":         {w.sign(t, letter, "ed", "bank.example", "ed", ""), []Result{Pass}},
		"both":            {w.sign(t, signed, "ed", "bank.example", "ed", ""), []Result{Pass, Pass}},
		"white space":     {strings.Replace(signed, "body  text", "body text ", 1), []Result{Pass}},
		"changed body":    {strings.Replace(signed, "body", "BODY", 1), []Result{Fail}},
		"changed header":  {strings.Replace(signed, "hello", "hullo", 1), []Result{Fail}},
		"no key":          {w.sign(t, letter, "ed", "bank.example", "nokey", ""), []Result{PermError}},
		"revoked":         {w.sign(t, letter, "ed", "bank.example", "revoked", ""), []Result{PermError}},
		"huge key":        {w.sign(t, letter, "ed", "bank.example", "huge", ""), []Result{PermError}},
		"other key":       {w.sign(t, letter, "ed", "bank.example", "rsa", ""), []Result{PermError}},
		"DNS away":        {w.sign(t, letter, "ed", "x.servfail", "ed", ""), []Result{TempError}},
		"DNS silent":      {w.sign(t, letter, "ed", "x.silent", "ed", ""), []Result{TempError}},
		"strict key":      {w.sign(t, letter, "ed", "bank.example", "strictkey", "@sub.bank.example"), []Result{PolicyBad}},
		"strict key same": {w.sign(t, letter, "ed", "bank.example", "strictkey", "@bank.example"), []Result{Pass}},
		"length tag":      {strings.Replace(signed, "v=1;", "v=1; l=3;", 1), []Result{PolicyBad}},
		"weak hash":       {strings.Replace(signed, "rsa-sha256", "rsa-sha1", 1), []Result{PolicyBad}},
		"garbage":         {"DKIM-Signature: \xff;;=;b\r\n" + letter, []Result{PermError}},
		"too many":        {strings.Repeat("DKIM-Signature: v=1\r\n", 50) + letter, []Result{PermError, PermError, PermError, PermError, PermError, PermError, PermError, PermError}},
		"header too big":  {strings.Replace(signed, "To:", "X: "+strings.Repeat(strings.Repeat("x", 70)+"\r\n ", 5000)+"\r\nTo:", 1), []Result{PolicyBad}},
	} {
		r := w.verify(t, "192.0.2.1", "bank.example", c.text)
		var got []Result
		for _, s := range r.DKIM {
			got = append(got, s.Result)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, r.DKIM, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, r.DKIM, c.want)
			}
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := func(s string) string { return strings.Replace(letter, "Bank <service@bank.example>", s, 1) }
	for name, c := range map[string]struct {
		ip, sender, text string
		spf, dmarc       Result
		action           Action
	}{
		"own host":                       {"192.0.2.1", "bank.example", letter, Pass, Pass, Accept},
		"forged sender":                  {"198.51.100.1", "bank.example", letter, Fail, Fail, Reject},
		"forged From, own SPF":           {"198.51.100.1", "evil.example", letter, Pass, Fail, Reject},
		"forged From, own DKIM":          {"198.51.100.1", "evil.example", w.sign(t, letter, "ed", "evil.example", "ed", ""), Pass, Fail, Reject},
		"forwarded, signature intact":    {"198.51.100.1", "evil.example", w.sign(t, letter, "rsa", "bank.example", "rsa", ""), Pass, Pass, Accept},
		"null sender":                    {"198.51.100.1", "", letter, None, Fail, Reject},
		"subdomain policy":               {"198.51.100.1", "evil.example", from("x@sub.bank.example"), Pass, Fail, Quarantine},
		"subdomain, aligned":             {"192.0.2.1", "bank.example", from("x@sub.bank.example"), Pass, Pass, Accept},
		"display name only":              {"198.51.100.1", "evil.example", from(`"service@bank.example" <x@evil.example>`), Pass, None, Accept},
		"two addresses":                  {"198.51.100.1", "evil.example", from("x@evil.example, service@bank.example"), Pass, Fail, Reject},
		"two From fields":                {"198.51.100.1", "evil.example", "From: x@evil.example\r\n" + letter, Pass, Fail, Reject},
		"From with a space before colon": {"198.51.100.1", "evil.example", strings.Replace(letter, "From:", "FROM :", 1), Pass, Fail, Reject},
		"folded From":                    {"198.51.100.1", "evil.example", strings.Replace(letter, "From: Bank", "From:\r\n Bank", 1), Pass, Fail, Reject},
		"mbox line first":                {"198.51.100.1", "evil.example", "From x Mon Jan 1\r\n" + letter, Pass, Fail, Reject},
		"many addresses":                 {"198.51.100.1", "evil.example", from(strings.Repeat("x@evil.example, ", 20) + "service@bank.example"), Pass, PermError, Quarantine},
		"no address":                     {"198.51.100.1", "evil.example", from("service at bank"), Pass, PermError, Quarantine},
		"no From":                        {"198.51.100.1", "evil.example", "Subject: x\r\n\r\n", Pass, PermError, Accept},
		"header without end":             {"198.51.100.1", "evil.example", strings.Repeat("X: y\r\n", 60000) + letter, Pass, PermError, Quarantine},
		"strict, same":                   {"198.51.100.1", "strict.example", from("x@strict.example"), Pass, Pass, Accept},
		"strict, subdomain":              {"198.51.100.1", "a.strict.example", from("x@strict.example"), Pass, Fail, Reject},
		"DMARC record away":              {"198.51.100.1", "evil.example", from("x@a.servfail"), Pass, TempError, Accept},
		"SPF record away":                {"198.51.100.1", "a.servfail", letter, TempError, TempError, Accept},
		"two records":                    {"198.51.100.1", "two.example", from("x@two.example"), PermError, None, Accept},
		"SPF loop":                       {"198.51.100.1", "loop.example", letter, PermError, Fail, Reject},
		"no record":                      {"198.51.100.1", "nothing.example", from("x@nothing.example"), None, None, Accept},
	} {
		r := w.verify(t, c.ip, c.sender, c.text)
		if r.SPF.Result != c.spf || r.DMARC.Result != c.dmarc || r.DMARC.Action != c.action {
			t.Errorf("%s: %+v %+v %+v", name, r.SPF, r.DKIM, r.DMARC)
		}
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := strings.Replace(letter, "bank.example", "half.example", 1)
	for drawn, want := range map[int]Action{0: Reject, 49: Reject, 50: Quarantine, 99: Quarantine} {
		w.percent = func() int { return drawn }
		if r := w.verify(t, "198.51.100.1", "half.example", text); r.DMARC.Action != want {
			t.Errorf("drawn %d: %+v", drawn, r.DMARC)
		}
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	r := &Report{
		Hostname: "mx.example.org", SPF: SPF{Result: Pass, Domain: "bank.example"},
		DKIM:  []Signature{{Result: Fail, Reason: "x\r\nEvil: \"y\"", Domain: "bank.example", Selector: "s", Algorithm: "rsa-sha256", Start: "ab/d+efg"}},
		DMARC: DMARC{Result: Pass, Policy: "reject", Domain: "bank.example"},
	}
	want := "Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=bank.example;\r\n" +
		"\tdkim=fail\r\n\t\treason=\"xEvil: y\" header.d=bank.example header.s=s header.a=rsa-sha256 header.b=\"ab/d+efg\";\r\n" +
		"\tdmarc=pass (p=reject) header.from=bank.example\r\n"
	if got := string(r.Field()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := r.Summary(); got != "spf=pass dkim=fail dmarc=pass" {
		t.Error(got)
	}
}

func TestForged(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		" mx.example.org; spf=pass": true, "MX.Example.ORG. 1; none": true, "mx.example.org(x); none": true, "\r\n": true, " (c) mx.example.org;": true, ` "mx.example.org"; x`: true,
		" mx.google.com; spf=pass": false, " sub.mx.example.org; none": false, " spf=pass (sender IP is 1.2.3.4)": false,
	} {
		if Forged([]byte(value), "mx.example.org") != want {
			t.Errorf("%q", value)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte(letter))
	f.Add([]byte("DKIM-Signature: v=1; a=rsa-sha256; b=\r\n x; h=from:to\r\nFrom: a:b,c;<@>\r\n\r\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		h := parseHead(b)
		for _, d := range h.domains {
			_ = organization(domain(d))
		}
		for _, s := range h.signatures {
			_ = (&Report{DKIM: []Signature{describe(s)}}).Field()
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; pct=50; rua=mailto:a@b")
	f.Fuzz(func(t *testing.T, s string) {
		if rec, ok := parseRecord(s); ok && (!isPolicy(rec.policy) || !isPolicy(rec.subdomains) || rec.percent < 0 || rec.percent > 100) {
			t.Errorf("%q: %+v", s, rec)
		}
	})
}
