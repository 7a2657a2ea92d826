package imapserver_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"expost/internal/imapserver"
)

// folders returns the names below the store's folder that are not of its own making.
func (s *site) folders(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A mailbox name is a name: whatever it holds, it is refused or kept, and is
// never a path.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.login(t)
	p.must("ENABLE UTF8=ACCEPT")
	p.must("CREATE Safe")
	before := s.folders(t)
	literal := func(name string) string { return fmt.Sprintf("{%d+}\r\n%s", len(name), name) }
	for _, name := range []string{
		"..", "../../etc/passwd", "Safe/../../x", "Safe/./x", "/etc/passwd", "//", "Safe//x", "Safe/..", "a\tb", "a\x7fb", "a\u2028b", "\xff\xfe",
		strings.Repeat("x", 10_000), strings.Repeat("x/", 999) + "x", strings.Repeat("日", 400), "a/" + strings.Repeat("b/", 60) + "c",
	} {
		for _, cmd := range []string{"CREATE " + literal(name), "RENAME Safe " + literal(name), "SUBSCRIBE " + literal(name)} {
			if _, tagged := p.do(cmd); !strings.HasPrefix(tagged, "NO [CANNOT]") && !strings.HasPrefix(tagged, "BAD [CLIENTBUG]") {
				t.Errorf("%.60q: %.100s", cmd, tagged)
			}
		}
		for _, cmd := range []string{"SELECT " + literal(name), "DELETE " + literal(name), "STATUS " + literal(name) + " (MESSAGES)"} {
			if _, tagged := p.do(cmd); !strings.HasPrefix(tagged, "NO [NONEXISTENT]") && !strings.HasPrefix(tagged, "BAD [CLIENTBUG]") {
				t.Errorf("%.60q: %.100s", cmd, tagged)
			}
		}
		if _, tagged := p.do("APPEND " + literal(name) + " {1+}\r\nx"); !strings.HasPrefix(tagged, "NO [TRYCREATE]") && !strings.HasPrefix(tagged, "BAD [CLIENTBUG]") {
			t.Errorf("APPEND to %.60q: %.100s", name, tagged)
		}
	}
	if _, tagged := p.do("CREATE " + literal("a\x00b")); !strings.HasPrefix(tagged, "BAD [CLIENTBUG] a literal holds NUL at position ") {
		t.Errorf("NUL: %s", tagged)
	}
	for _, name := range []string{`C:\windows`, "~root", "$(id)", "a;b&c|d", "' OR 1=1 --", "%2e%2e%2f", "con.", "日本語/🙂", "-rf", "*", "a%b", strings.Repeat("y", 1000)} {
		p.must("CREATE " + literal(name))
		p.must("APPEND " + literal(name) + " {1+}\r\nx")
		p.must("SELECT " + literal(name))
		p.must("UNSELECT")
		p.must("DELETE " + literal(name))
	}
	if after := s.folders(t); !slices.Equal(after, before) {
		t.Errorf("folders appeared: %q, were %q", after, before)
	}
}

// Limits of a command: lines, literals, nesting, members of a list and of a set.
// Each is refused where it is passed, and the connection goes on.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Limits.MessageSize, c.Limits.Errors = 1000, 100 })
	p := s.login(t)
	p.must("SELECT INBOX")
	for _, c := range []struct{ name, cmd, want string }{
		{"a line", "SEARCH TEXT " + strings.Repeat("x", 70_000), "BAD [TOOBIG] command line is longer than 65536 bytes"},
		{"a literal", fmt.Sprintf("SEARCH TEXT {%d+}\r\n%s", 300_000, strings.Repeat("x", 300_000)), "BAD [TOOBIG] literals are larger than 262144 bytes"},
		{"literals together", "SEARCH" + strings.Repeat(fmt.Sprintf(" TEXT {%d+}\r\n%s", 100_000, strings.Repeat("x", 100_000)), 3), "BAD [TOOBIG] literals are larger than 262144 bytes"},
		{"nesting", "SEARCH " + strings.Repeat("(", 60) + "ALL" + strings.Repeat(")", 60), "BAD [TOOBIG] a command is nested deeper than 50"},
		{"a chain of NOT", "SEARCH " + strings.Repeat("NOT ", 60) + "ALL", "BAD [TOOBIG] a command is nested deeper than 50"},
		{"search keys", "SEARCH" + strings.Repeat(" 1", 20_000), "BAD [TOOBIG] too many search keys"},
		{"a set", "FETCH 1" + strings.Repeat(",1", 20_000) + " FLAGS", "BAD [TOOBIG] a set has more than 16384 ranges"},
		{"a list", "FETCH 1 (" + strings.Repeat("UID ", 16_380) + strings.Repeat("UID ", 10) + "UID)", "BAD [TOOBIG]"},
		{"sort criteria", "SORT (" + strings.Repeat("DATE ", 30) + "DATE) UTF-8 ALL", "BAD [CLIENTBUG] expected a few sort criteria"},
		{"keywords", "STORE 1 +FLAGS (" + strings.TrimSpace(func() (s string) {
			for i := range 101 {
				s += fmt.Sprintf("k%d ", i)
			}
			return s
		}()) + ")", "NO [LIMIT] too many keywords"},
		{"a message", fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", 1001, strings.Repeat("x", 1001)), "NO [TOOBIG] a message may be at most 1000 bytes"},
		{"a message that is asked for", "APPEND INBOX {1001}", "NO [TOOBIG] a message may be at most 1000 bytes"},
		{"a number", "FETCH 99999999999999999999 FLAGS", "BAD [CLIENTBUG] expected a number"},
	} {
		if _, tagged := p.do(c.cmd); !strings.HasPrefix(tagged, c.want) {
			t.Errorf("%s: %.150s", c.name, tagged)
		}
		p.must("NOOP")
	}
}

// A literal that is announced and is larger than the server would ever skip
// ends the connection, with a word.
func TestFlood(t *testing.T) {
	t.Parallel()
	p := newSite(t, nil).login(t)
	p.send("x SEARCH TEXT {99999999999+}\r\nx")
	if got := p.line(); got != "* BYE [TOOBIG] literal is too large" {
		t.Errorf("hears %q", got)
	}
}

// An account has at most so many mailboxes.
func TestManyMailboxes(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.login(t)
	refused := ""
	for i := 0; refused == "" && i < 50; i++ { // each with its 49 parents
		_, tagged := p.do(fmt.Sprintf("CREATE %d/%s", i, strings.TrimSuffix(strings.Repeat("x/", 49), "/")))
		if !strings.HasPrefix(tagged, "OK") {
			refused = tagged
		}
	}
	if !strings.HasPrefix(refused, "NO [LIMIT] an account can have 500 mailboxes") {
		t.Errorf("hears %q", refused)
	}
	if got := p.must(`LIST "" *`); len(got) > 500 {
		t.Errorf("there are %d", len(got))
	}
	for i := range 500 {
		if _, refused = p.do(fmt.Sprintf("SUBSCRIBE s%d", i)); !strings.HasPrefix(refused, "OK") {
			break
		}
	}
	if !strings.HasPrefix(refused, "NO [LIMIT] an account can have 500 subscriptions") {
		t.Errorf("hears %q", refused)
	}
}
