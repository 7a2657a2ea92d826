package peertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// SlapdConfig says how a slapd is set up, with one empty mdb database.
type SlapdConfig struct {
	Suffix   string
	RootDN   string
	Password string // of RootDN
	Schemas  string // folder of our schema files; empty: Debian's own alone
	Global   string // lines before the database
	Database string // lines at its end
}

// ourSchemas are the files of internal/schema/builtin in the order in which
// slapd can read them; debianSchemas are those that come with slapd.
var (
	ourSchemas    = []string{"core", "cosine", "inetorgperson", "nis", "qmail", "courier", "mozilla", "expost"}
	debianSchemas = []string{"core", "cosine", "inetorgperson", "nis"}
)

// text returns slapd.conf for a database in dir.
func (c SlapdConfig) text(dir string) string {
	folder, schemas := "/etc/ldap/schema", debianSchemas
	if c.Schemas != "" {
		folder, schemas = c.Schemas, ourSchemas
	}
	var s strings.Builder
	for _, name := range schemas {
		fmt.Fprintf(&s, "include %s.schema\n", filepath.Join(folder, name))
	}
	fmt.Fprintf(&s, "modulepath /usr/lib/ldap\nmoduleload back_mdb\nsizelimit unlimited\n%s\ndatabase mdb\nsuffix %q\nrootdn %q\nrootpw %q\ndirectory %s\n%s\n",
		c.Global, c.Suffix, c.RootDN, c.Password, dir, c.Database)
	return s.String()
}

// Slapd is a running slapd, which can be stopped and started again with what it
// holds, at the same address.
type Slapd struct {
	*Process
	URL  string // ldap://127.0.0.1:PORT
	conf string
}

// StartSlapd makes a slapd and starts it.
func StartSlapd(t testing.TB, c SlapdConfig) *Slapd {
	t.Helper()
	Lookup(t, "slapd")
	if c.Schemas != "" {
		var err error
		if c.Schemas, err = filepath.Abs(c.Schemas); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	s := &Slapd{URL: "ldap://" + FreeAddress(t), conf: filepath.Join(dir, "slapd.conf")}
	if err := os.WriteFile(s.conf, []byte(c.text(dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	return s
}

// Start starts it again after Stop.
func (s *Slapd) Start(t testing.TB) {
	t.Helper()
	s.Process = Start(t, "tcp", strings.TrimPrefix(s.URL, "ldap://"), "slapd", "-d", "0", "-f", s.conf, "-h", s.URL)
}
