package httpserver

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"expost/internal/certificate"
)

// running is a server on a port with TLS and one without.
type running struct {
	plain, secure string
	client        *http.Client
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	certs, err := certificate.SelfSigned(t.TempDir(), []string{"mail.example.org"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Hostname, cfg.Domains = "mail.example.org", []string{"example.org"}
	if cfg.Protocols == nil {
		cfg.Protocols = []Protocol{{"IMAP", 993, true}, {"IMAP", 143, false}, {"POP3", 995, true}, {"SMTP", 465, true}, {"SMTP", 587, false}, {"LDAP", 636, true}}
		cfg.BaseDN = "ou=addressbook,dc=example,dc=org"
	}
	s := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	r := &running{client: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for i, addr := range []*string{&r.plain, &r.secure} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*addr = "http://" + l.Addr().String()
		if i == 1 {
			*addr = "https://" + l.Addr().String()
			l = tls.NewListener(l, TLSConfig(certs.Config()))
		}
		go func() { done <- s.Serve(ctx, l) }()
	}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// get asks and returns the status and the body.
func (r *running) get(t *testing.T, method, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

const outlookAsks = `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="` + requestSchema + `"><Request>
<EMailAddress>ajay@example.org</EMailAddress><AcceptableResponseSchema>` + outlookSchema + `</AcceptableResponseSchema></Request></Autodiscover>`

func TestAutodiscover(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"} {
		res, body := r.get(t, "POST", r.secure+path, outlookAsks)
		var got struct {
			XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
			Response struct {
				XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
				Account struct {
					AccountType string
					Action      string
					Protocol    []struct {
						Type, Server, LoginName, SSL, Encryption string
						Port                                     int
					}
				}
			}
		}
		if err := xml.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v\n%s", path, err, body)
		}
		a := got.Response.Account
		if res.StatusCode != 200 || a.AccountType != "email" || a.Action != "settings" || len(a.Protocol) != 3 {
			t.Fatalf("%s: %d, %+v", path, res.StatusCode, a)
		}
		p := a.Protocol[0]
		if p.Type != "IMAP" || p.Server != "mail.example.org" || p.Port != 993 || p.LoginName != "ajay@example.org" || p.SSL != "on" || p.Encryption != "SSL" {
			t.Errorf("%s: the first protocol is %+v", path, p)
		}
	}
}

func TestAutodiscoverRefusals(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	for what, c := range map[string]struct{ body, want string }{
		"no XML":           {"nonsense", "<ErrorCode>600</ErrorCode>"},
		"another domain":   {strings.Replace(outlookAsks, "@example.org", "@example.com", 1), "<ErrorCode>500</ErrorCode>"},
		"ActiveSync":       {strings.Replace(outlookAsks, "outlook/responseschema/2006a", "mobilesync/responseschema/2006", 1), "<ErrorCode>601</ErrorCode>"},
		"more than enough": {strings.Replace(outlookAsks, "ajay@", strings.Repeat("x", maxBody), 1), "<ErrorCode>600</ErrorCode>"},
	} {
		if res, body := r.get(t, "POST", r.secure+"/autodiscover/autodiscover.xml", c.body); res.StatusCode != 200 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d\n%s", what, res.StatusCode, body)
		}
	}
	if res, _ := r.get(t, "DELETE", r.secure+"/autodiscover/autodiscover.xml", ""); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
}

func TestAutodiscoverJSON(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/autodiscover/autodiscover.json/v1.0/ajay@example.org?Protocol=AutodiscoverV1":  {200, "https://mail.example.org/autodiscover/autodiscover.xml"},
		"/Autodiscover/Autodiscover.json?Email=ajay@example.org&Protocol=Autodiscoverv1": {200, "https://mail.example.org/autodiscover/autodiscover.xml"},
		"/autodiscover/autodiscover.json/v1.0/ajay@example.org?Protocol=ActiveSync":      {400, "InvalidProtocol"},
		"/autodiscover/autodiscover.json/v1.0/ajay@example.org":                          {400, "MandatoryParameterMissing"},
		"/autodiscover/autodiscover.json/v1.0/ajay@example.com?Protocol=AutodiscoverV1":  {404, "UserNotFound"},
	} {
		res, body := r.get(t, "GET", r.secure+path, "")
		if res.StatusCode != want.status || !strings.Contains(body, want.text) || !json.Valid([]byte(body)) {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
}

func TestClearTextIsSentToHTTPS(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/", "/setup.mobileconfig?email=ajay@example.org"} {
		res, _ := r.get(t, "GET", r.plain+path, "")
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusFound || got != "https://mail.example.org"+path {
			t.Errorf("%s: %d to %q", path, res.StatusCode, got)
		}
	}
}

func TestAutoconfig(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	for _, url := range []string{r.plain, r.secure} {
		for _, path := range []string{"/mail/config-v1.1.xml?emailaddress=ajay@example.org", "/.well-known/autoconfig/mail/config-v1.1.xml"} {
			res, body := r.get(t, "GET", url+path, "")
			var got clientConfig
			if err := xml.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			p := got.Provider
			if res.StatusCode != 200 || got.Version != "1.1" || len(p.Incoming) != 3 || len(p.Outgoing) != 2 || p.Domains[0] != "example.org" {
				t.Fatalf("%s: %s", path, body)
			}
			if in := p.Incoming[0]; in.Type != "imap" || in.Port != 993 || in.Socket != "SSL" || in.Username != "%EMAILADDRESS%" {
				t.Errorf("%s: %+v", path, in)
			}
		}
	}
	if res, _ := r.get(t, "GET", r.plain+"/mail/config-v1.1.xml?emailaddress=ajay@example.com", ""); res.StatusCode != 404 {
		t.Errorf("another domain: %d", res.StatusCode)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	res, body := r.get(t, "GET", r.secure+"/setup.mobileconfig?email=a%26b@example.org", "")
	for d := xml.NewDecoder(strings.NewReader(body)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the profile is no XML: %v\n%s", err, body)
		}
	}
	for _, want := range []string{"com.apple.mail.managed", "a&amp;b@example.org", "<integer>993</integer>", "<integer>465</integer>", "com.apple.ldap.account"} {
		if res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, without %s", res.StatusCode, want)
		}
	}
	if res, _ := r.get(t, "GET", r.secure+"/setup.mobileconfig?email=x", ""); res.StatusCode != 404 {
		t.Errorf("no address: %d", res.StatusCode)
	}
}

func TestInstructions(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	_, body := r.get(t, "GET", r.secure+"/?email=ajay@example.org", "")
	for _, want := range []string{"ajay@example.org", "mail.example.org", "Outlook 98", "Thunderbird", "993", "ou=addressbook"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not speak of %s", want)
		}
	}
	if _, body := r.get(t, "GET", r.secure+"/?email=%3Cscript%3E@example.org", ""); strings.Contains(body, "<script>") {
		t.Error("the page holds what the caller wrote")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var sick error = errors.New("the disk is full")
	r := start(t, Config{Healthy: func(context.Context) error { return sick }})
	if res, body := r.get(t, "GET", r.plain+"/healthz", ""); res.StatusCode != 503 || strings.Contains(body, "disk") {
		t.Errorf("sick: %d %s", res.StatusCode, body)
	}
	r = start(t, Config{Healthy: func(context.Context) error { return nil }})
	if res, body := r.get(t, "GET", r.plain+"/healthz", ""); res.StatusCode != 200 || body != "ok\n" {
		t.Errorf("well: %d %s", res.StatusCode, body)
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	r := start(t, Config{Connections: 1})
	address := strings.TrimPrefix(r.plain, "http://")
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		res, err := r.client.Get(r.plain + "/healthz")
		if err == nil {
			res.Body.Close()
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("a second connection was served: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	first.Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
