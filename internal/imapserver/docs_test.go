package imapserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/imapserver"
	"expost/internal/ldap"
	"expost/internal/listener"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/password"
)

// toldCapabilities returns the capabilities that clients hear of, with and without TLS,
// before and after login.
func toldCapabilities(t *testing.T) map[string]bool {
	told := map[string]bool{}
	hear := func(line string) {
		list := regexp.MustCompile(`CAPABILITY ([^\]]*)`).FindStringSubmatch(line)
		if list == nil {
			t.Fatalf("no capabilities in %q", line)
		}
		for _, word := range strings.Fields(list[1]) {
			told[strings.TrimSuffix(word, "=4294967295")] = true // of MESSAGELIMIT
		}
	}
	for _, plaintext := range []listener.PlaintextAuth{listener.PlaintextNever, listener.PlaintextLoopback} {
		s := newSite(t, func(c *imapserver.Config) { c.TLSConfig, c.PlaintextAuth = testTLS(t), plaintext })
		p := s.dial(t)
		hear(p.line())
		if plaintext == listener.PlaintextLoopback {
			p.must("LOGIN ajay secret")
			hear(p.must("CAPABILITY")[0])
		}
	}
	mine := testTLS(t).Certificates
	known := x509.NewCertPool()
	cert, err := x509.ParseCertificate(mine[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	known.AddCert(cert)
	s := newSite(t, func(c *imapserver.Config) {
		c.TLSConfig = testTLS(t)
		c.TLSConfig.ClientAuth, c.TLSConfig.ClientCAs = tls.RequireAndVerifyClientCert, known
		c.Login = login.New(login.Config{Directory: keeper{people()}})
	})
	p := s.dial(t)
	p.line()
	p.must("STARTTLS")
	secured := tls.Client(p.nc, &tls.Config{InsecureSkipVerify: true, Certificates: mine})
	p.nc, p.r = secured, bufio.NewReader(secured)
	hear(p.must("CAPABILITY")[0])
	return told
}

// keeper is a directory with the keys of SCRAM.
type keeper struct{ logins }

func (keeper) Lookup(context.Context, string) (*directory.Account, error) {
	return nil, mail.Errorf(mail.KindNotExist, "none")
}

func (keeper) Keys(context.Context, string) (*directory.Account, password.Scram, error) {
	return nil, password.Scram{}, mail.Errorf(mail.KindNotExist, "none")
}

func (keeper) HasPassword(context.Context, ldap.DN) bool { return false }

func (keeper) Learn(context.Context, ldap.DN, []byte) error { return nil }

// The table of docs/imap.md says what the server says.
func TestDocs(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "imap.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	var sources []string
	for _, dir := range []string{"*_test.go", "../../test/*_test.go"} {
		list, err := filepath.Glob(dir)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, list...)
	}
	for _, file := range sources {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(source)
	}
	told := toldCapabilities(t)
	row := regexp.MustCompile(`(?m)^\| (\S+) \| [^|]+ \| (Yes|Partial|No) \| (\S*) ?\|$`)
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		name, served, test := m[1], m[2] != "No", m[3]
		if told[name] != served {
			t.Errorf("%s is served: %v, docs/imap.md says %s", name, told[name], m[2])
		}
		delete(told, name)
		file, isDialogue := strings.CutPrefix(test, "dialogue/")
		switch _, err := os.Stat(filepath.Join("testdata", "dialogue", file+".txt")); {
		case !served && test == "":
		case isDialogue && err != nil:
			t.Errorf("%s: %v", name, err)
		case !isDialogue && !strings.Contains(tests.String(), "func "+test+"(t *testing.T)"):
			t.Errorf("%s: there is no test %q", name, test)
		}
	}
	for name := range told {
		t.Errorf("%s is served and not in docs/imap.md", name)
	}
}
