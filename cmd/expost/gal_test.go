package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// galRun carries out a command in a folder and returns its output.
func galRun(t *testing.T, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, dir: dir}
	status = a.run(t.Context(), append(args, "--config", filepath.Join(dir, "expost.toml")))
	return status, out.String(), errs.String()
}

// galFolder makes a folder with a configuration and a list as Outlook Express
// wrote it on a German Windows.
func galFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"expost.toml": "data = \"data\"\nhostname = \"mail.linuxforu.com\"\ndomains = [\"linuxforu.com\"]\n",
		"list.csv":    "Name;E-Mail-Adresse;Abteilung\r\nJ\xfcrgen M\xfcller;juergen@linuxforu.com;Vertrieb\r\nSupplier;sup@elsewhere.example;\r\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestGalConvert(t *testing.T) {
	t.Parallel()
	dir := galFolder(t)
	status, out, report := galRun(t, dir, "gal", "convert", "list.csv")
	if status != exitDone || !strings.Contains(out, "dn:: ") || !strings.Contains(out, "\nmail: juergen@linuxforu.com\n") ||
		!strings.Contains(report, "list.csv: 2 entries of CSV (Outlook Express, de, delimiter \";\"), windows-1252\n") || !strings.Contains(report, "list.csv:2: sn: ") {
		t.Errorf("status %d\n%s\n%s", status, out, report)
	}
	if status, out, report := galRun(t, dir, "gal", "convert", "list.csv", "--to", "vcard", "--out", "list.vcf", "--json"); status != exitDone || !json.Valid([]byte(out)) {
		t.Errorf("status %d\n%s\n%s", status, out, report)
	}
	if status, out, report := galRun(t, dir, "gal", "convert", "list.vcf", "--to", "csv", "--quiet"); status != exitDone || !strings.Contains(out, "Jürgen Müller") {
		t.Errorf("status %d\n%s\n%s", status, out, report)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"absent.csv"}, exitFailed, "absent.csv: no such file or directory"},
		{[]string{"list.csv", "--delimiter", "comma"}, exitFailed, "list.csv:1: none of its 1 columns is known"},
		{[]string{"list.csv", "--to", "pdf"}, exitUsage, `--to "pdf": ldif, csv and vcard can be written`},
		{[]string{"list.csv", "--base", "nowhere"}, exitUsage, `--base "nowhere" is no DN`},
		{[]string{"list.csv", "--delimiter", "abc"}, exitUsage, `--delimiter "abc"`},
		{[]string{"list.csv", "--to", "csv", "--program", "lotus", "--out", "half.csv"}, exitFailed, `columns of "lotus" are not known`},
	} {
		status, _, report := galRun(t, dir, append([]string{"gal", "convert"}, c.args...)...)
		if status != c.status || !strings.Contains(report, c.want) {
			t.Errorf("%v: status %d\n%s", c.args, status, report)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*half*")); err != nil || len(left) > 0 {
		t.Errorf("a failed conversion left %v", left)
	}
}

func TestGalImport(t *testing.T) {
	t.Parallel()
	dir := galFolder(t)
	if status, out, report := galRun(t, dir, "gal", "import", "list.csv", "--accounts", "--dry-run"); status != exitDone || !strings.Contains(out, "+ mailbox juergen@linuxforu.com") {
		t.Fatalf("status %d\n%s\n%s", status, out, report)
	}
	status, out, report := galRun(t, dir, "gal", "import", "list.csv", "--accounts", "--passwords", "first.csv")
	if status != exitDone || !strings.HasPrefix(out, "2 added, 0 changed, 2 as they were, 0 conflicts, 0 refused; 1 mailboxes made") {
		t.Fatalf("status %d\n%s\n%s", status, out, report)
	}
	passwords, err := os.ReadFile(filepath.Join(dir, "first.csv"))
	if err != nil || !strings.HasPrefix(string(passwords), "address,login,password\njuergen@linuxforu.com,juergen,") {
		t.Errorf("%v\n%s", err, passwords)
	}
	if info, err := os.Stat(filepath.Join(dir, "first.csv")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if status, out, report := galRun(t, dir, "gal", "import", "list.csv", "--accounts", "--passwords", "first.csv", "--json"); status != exitDone || !strings.Contains(out, `"unchanged": 4`) || !json.Valid([]byte(out)) {
		t.Errorf("again: status %d\n%s\n%s", status, out, report)
	}
	if status, out, report := galRun(t, dir, "gal", "export", "--to", "ldif"); status != exitDone || !strings.Contains(out, "department: Vertrieb") || strings.Contains(out, "userPassword") {
		t.Errorf("export: status %d\n%s\n%s", status, out, report)
	}
	if status, _, report := galRun(t, dir, "gal", "import", "list.csv", "--passwords", "x"); status != exitUsage || !strings.Contains(report, "--passwords needs --accounts") {
		t.Errorf("status %d\n%s", status, report)
	}
}
