package slapdconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRead reads anything as a configuration, and what it made of it as TOML.
func FuzzRead(f *testing.F) {
	f.Add("include x\ndatabase ldbm\nsuffix \"dc=a\"\naccess to dn=\".*,dc=a\" attrs=cn by dn=\"a b\" read by * none\nindex a,b eq")
	f.Add("dn: olcDatabase={1}mdb,cn=config\nolcAccess:: dG8gKiBieSAqIHJlYWQ=\nolcRootPW: x")
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), "slapd.conf")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Read(name)
		if err != nil {
			return
		}
		if out := c.TOML(); !strings.HasPrefix(out, "[directory]") {
			t.Errorf("%q", out)
		}
	})
}

// TestIncludes follows files that include others, and stops at one that
// includes itself.
func TestIncludes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("acl.conf", "access to attrs=cn by users read\n")
	write("own.schema", "attributetype ( 1.2.3 NAME 'x' SUP name )\n")
	c, err := Read(write("slapd.conf", "include /nowhere/core.schema\ninclude own.schema\ninclude missing.schema\ninclude acl.conf\nsuffix dc=a\nsuffix dc=b\n"))
	if err != nil || len(c.Rules) != 1 || c.Rules[0].Place != "acl.conf:1" || len(c.Schema) != 1 || !strings.HasSuffix(c.Schema[0], "own.schema") || len(c.Issues) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Read(write("loop.conf", "include loop.conf\n")); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("a file that includes itself: %v", err)
	}
	if _, err := Read(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there is read")
	}
}
