package ldap

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldapclient"
)

// slapd is OpenLDAP's server under test.
type slapd struct {
	url, conf string
	t         testing.TB
	cmd       *exec.Cmd
	ended     chan struct{}
	log       bytes.Buffer
}

// access is what our own directory grants by default, in slapd's words.
const accessRules = `access to attrs=userPassword by self =xw by * auth
access to attrs=telephoneNumber,homePhone,mobile,pager,facsimileTelephoneNumber by self write by users read by * break
access to * by users read by * break
access to dn.subtree="ou=addressbook,dc=example,dc=org" filter=(!(msExchHideFromAddressLists=TRUE)) attrs=cn,sn,mail,givenName,objectClass,entry,ou,telephoneNumber by * read
`

// newSlapd makes a slapd with our schema files and starts it.
func newSlapd(t testing.TB) *slapd {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/slapd"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("slapd is not installed")
		}
		t.Skip("slapd is not installed")
	}
	dir := t.TempDir()
	schemas, err := filepath.Abs("../../schema/builtin")
	if err != nil {
		t.Fatal(err)
	}
	var conf strings.Builder
	for _, name := range []string{"core", "cosine", "inetorgperson", "nis", "qmail", "courier", "mozilla", "expost"} {
		fmt.Fprintf(&conf, "include %s/%s.schema\n", schemas, name)
	}
	fmt.Fprintf(&conf, "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload ppolicy\nauthz-policy none\ndatabase mdb\nsuffix dc=example,dc=org\nrootdn cn=manager,dc=example,dc=org\nrootpw \"root secret\"\n"+
		"directory %s\nindex mail,mailAlternateAddress,uid eq\n%soverlay ppolicy\nppolicy_hash_cleartext\n", dir, accessRules)
	s := &slapd{t: t, conf: filepath.Join(dir, "slapd.conf")}
	if err := os.WriteFile(s.conf, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "ldap://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

// start starts it, again at the same address after stop.
func (s *slapd) start() {
	s.t.Helper()
	s.cmd = exec.Command("/usr/sbin/slapd", "-d", "0", "-f", s.conf, "-h", s.url)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	go func() { _ = s.cmd.Wait(); close(ended) }()
	s.t.Cleanup(s.stop)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if c, err := ldapclient.Dial(s.t.Context(), s.url, ldapclient.Options{}); err == nil {
			if err := c.Close(); err != nil {
				s.t.Fatal(err)
			}
			return
		}
		select {
		case <-ended:
			s.t.Fatalf("slapd ended: %s", s.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.t.Fatal("slapd does not answer")
}

// stop ends it.
func (s *slapd) stop() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// options are those for s as the manager.
func (s *slapd) options() Options {
	c := directorytest.Defaults()
	return Options{Servers: []string{s.url}, Suffix: c.Suffix, RootDN: c.RootDN, DN: c.RootDN.String(), Password: []byte(c.RootPassword), Domains: c.Domains}
}

// openTree returns a directory with the entries that a new one of ours has.
func openTree(t *testing.T, opt Options) *Directory {
	t.Helper()
	d, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for _, text := range []string{
		"dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: example.org\ndc: example",
		"dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people",
		"dn: ou=addressbook,dc=example,dc=org\nobjectClass: organizationalUnit\nou: addressbook",
	} {
		if err := d.Add(t.Context(), directory.Local(), directorytest.Entry(text)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestDirectory runs the contract against OpenLDAP. What it cannot pass is what
// only our own server does.
func TestDirectory(t *testing.T) {
	t.Parallel()
	directorytest.RunExcept(t, map[string]string{
		"Update":     "the server makes changes under conditions itself",
		"UpdateRace": "the server makes changes under conditions itself",
		"Uniqueness": "slapd keeps addresses unique only with an overlay",
		"Access":     "the rules are the server's own",

		"Administer: an alias that is taken": "as Uniqueness",
		"Search: (sn=GROSS)":                 "slapd does not fold the German sharp s",
		"Search: (mailQuotaSize=01000000)":   "slapd takes no leading zeros",
		"Search: (anr=bis ban)":              "anr is Active Directory's, and ours",
		"Search: (anr=ban bis)":              "anr is Active Directory's, and ours",
		"Search: (anr=biswa@example.net)":    "anr is Active Directory's, and ours",
		"Search: (anr=anup)":                 "anr is Active Directory's, and ours",
		"Rename: the suffix":                 "slapd has another code",
		"Modify: delete the RDN's value":     "slapd has another code",
		"Modify: operational":                "slapd looks at the syntax first",
		"Add: operational":                   "slapd looks at the syntax first",
		"Add: no parent":                     "slapd names the parent elsewhere",
	}, func(t *testing.T, _ directorytest.Config) directory.Directory {
		return openTree(t, newSlapd(t).options())
	})
}
