package test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestHTTP asks the running server what mail programs ask.
func TestHTTP(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.configure("http = \"\"\nhttps = \"\"", "http = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"")
	s.start()
	c := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer c.CloseIdleConnections()
	for url, want := range map[string]string{
		"http://" + s.addr["http"] + "/healthz":                                                                           "ok",
		"http://" + s.addr["http"] + "/.well-known/autoconfig/mail/config-v1.1.xml":                                       "<hostname>mail.linuxforu.com</hostname>",
		"https://" + s.addr["https"] + "/autodiscover/autodiscover.json?Email=ajay@linuxforu.com&Protocol=AutodiscoverV1": "https://mail.linuxforu.com/autodiscover/autodiscover.xml",
		"https://" + s.addr["https"] + "/?email=ajay@linuxforu.com":                                                       "Thunderbird",
		"https://" + s.addr["https"] + "/setup.mobileconfig?email=ajay@linuxforu.com":                                     "com.apple.mail.managed",
	} {
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d, %v, without %q", url, res.StatusCode, err, want)
		}
	}
}
