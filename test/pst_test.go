package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/mapi"
	"expost/pst"
)

// outlookFiles returns the sample files of Outlook, or skips the test.
func outlookFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../shared/fixtures/pst/*.[op]st")
	if err != nil || len(files) == 0 {
		t.Skipf("no sample files in ../shared/fixtures/pst: %v", err)
	}
	for i := range files {
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// itemsOf counts the items of a file.
func itemsOf(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := pst.Open(f, info.Size(), pst.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for d, err := range p.Folders() {
		if err == nil {
			n += d.Count()
		}
	}
	return n
}

// TestMoveFromOutlookFiles moves every sample file to an account of its own,
// verifies it, and moves it again, which must copy nothing.
func TestMoveFromOutlookFiles(t *testing.T) {
	t.Parallel()
	files := outlookFiles(t)
	s := newServer(t)
	s.start()
	var plan strings.Builder
	plan.WriteString("[source]\nkind = \"pst\"\n[run]\nworkers = 4\n")
	want := map[string]int{}
	addrs := make([]string, len(files))
	for i, path := range files {
		addrs[i] = fmt.Sprintf("u%d@linuxforu.com", i)
		want[path] = itemsOf(t, path)
		fmt.Fprintf(&plan, "[[user]]\npath = %q\ntarget = %q\n", path, addrs[i])
	}
	s.addAccounts(addrs...)
	if err := os.WriteFile(filepath.Join(s.dir, "migration.toml"), []byte(plan.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("migrate", "run")
	if out := s.run("migrate", "verify"); !strings.Contains(out, " 0 differences") {
		t.Errorf("verify says:\n%s", out)
	}
	var report struct {
		Accounts []struct {
			Source string
			Sums   struct{ Source, Copied, Verified, Set_aside int }
		}
	}
	if err := json.Unmarshal([]byte(s.run("migrate", "report", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	for _, a := range report.Accounts {
		if n := want[a.Source]; a.Sums.Copied != n || a.Sums.Verified != n || a.Sums.Set_aside != 0 {
			t.Errorf("%s has %d items: %+v", a.Source, n, a.Sums)
		}
	}
	if len(report.Accounts) != len(files) {
		t.Errorf("%d accounts in the report, want %d", len(report.Accounts), len(files))
	}
	if out := s.run("migrate", "run"); !strings.Contains(out, "in all: 0 copied") {
		t.Errorf("a second run says:\n%s", out)
	}
}

// TestImportOutlookFile looks at what came of one file through IMAP.
func TestImportOutlookFile(t *testing.T) {
	t.Parallel()
	var path string
	for _, f := range outlookFiles(t) {
		if strings.HasSuffix(f, "aspose-email__Outlook.pst") {
			path = f
		}
	}
	if path == "" {
		t.Skip("no sample file aspose-email__Outlook.pst")
	}
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com")
	if out := s.run("import", "ajay@linuxforu.com", path); !strings.Contains(out, "17 copied") {
		t.Errorf("import says:\n%s", out)
	}
	if out := s.run("import", "ajay@linuxforu.com", path); !strings.Contains(out, ": 0 copied") {
		t.Errorf("a second import says:\n%s", out)
	}
	seen := 0
	boxes := mailboxesOf(t, s.addr["imap"], "ajay@linuxforu.com", password)
	for _, name := range []string{"INBOX", "Sent Items", "Contacts", "Calendar"} {
		if _, ok := boxes[name]; !ok {
			t.Errorf("no folder %q", name)
		}
	}
	for name, box := range boxes {
		for uid, m := range box {
			if uid == 0 {
				continue
			}
			if strings.Contains(strings.Join(m.flags, " "), "\\seen") {
				seen++
			}
			if !strings.Contains(m.body, "Message-ID: ") || !strings.Contains(m.body, "\r\n\r\n") || strings.HasPrefix(m.date, "1970") {
				t.Errorf("%s, %d: of %s\n%.500s", name, uid, m.date, m.body)
			}
		}
	}
	if seen == 0 {
		t.Error("no message is read")
	}
}

// TestRestIsKept looks for properties that mail cannot hold in the ledger.
func TestRestIsKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addAccounts("ajay@linuxforu.com")
	items := 0
	for _, f := range outlookFiles(t) {
		if strings.HasSuffix(f, "apache__testPST.pst") {
			s.run("import", "ajay@linuxforu.com", f)
			items = itemsOf(t, f)
		}
	}
	if items == 0 {
		t.Skip("no sample file apache__testPST.pst")
	}
	ledgers, err := filepath.Glob(filepath.Join(s.dir, "data", "imports", "*.ledger"))
	if err != nil || len(ledgers) != 1 {
		t.Fatalf("ledgers %q: %v", ledgers, err)
	}
	lines := strings.Split(strings.TrimSpace(s.run("migrate", "rest", "--ledger", ledgers[0])), "\n")
	if len(lines) != items {
		t.Errorf("%d lines, want %d", len(lines), items)
	}
	for _, line := range lines {
		var x struct {
			Item string
			Rest struct{ Properties map[string]any }
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Item == "" || len(x.Rest.Properties) < 5 || x.Rest.Properties["300b0102"] == nil {
			t.Errorf("%v: %.300s", err, line)
		}
	}
}

// TestContactsGoBack moves a contact here and back into a PST.
func TestContactsGoBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addAccounts("ajay@linuxforu.com")
	for _, f := range outlookFiles(t) {
		if strings.HasSuffix(f, "HiraokaHyperTools__contacts.pst") {
			s.run("import", "ajay@linuxforu.com", f)
			s.run("export", "ajay@linuxforu.com", "out", "--format", "pst")
		}
	}
	file := filepath.Join(s.dir, "out", "ajay@linuxforu.com.pst")
	b, err := os.Open(file)
	if err != nil {
		t.Skip("no sample file HiraokaHyperTools__contacts.pst")
	}
	defer b.Close()
	info, err := b.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := pst.Open(b, info.Size(), pst.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for p, err := range f.People(&mapi.Converter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if p.Surname != "イグザンプル" || p.Emails[0].Email != "test@example.com" || p.Company != "My work company" {
			t.Errorf("contact is %+v", p)
		}
	}
	if n != 1 {
		t.Errorf("%d contacts, want 1:\n%s", n, s.run("pst", "ls", file))
	}
}
