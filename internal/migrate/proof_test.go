package migrate_test

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
)

func TestReportFormats(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{Fetch: func(m migratetest.Message, whole bool) (string, bool) {
		if whole && m.UID == 4 {
			return "* 4 FETCH (UID 4 BODY[] NIL)\r\n", false
		}
		return "", false
	}}, box("INBOX", 11, messages(10, 1, 1)), box("=cmd|'<script>", 12, messages(2, 1, 1)))
	b.run(t)
	r := b.checkSums(t, 11, 1)
	var html, table bytes.Buffer
	if err := r.WriteHTML(&html); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gives no bytes", r.Chain.Head, "The chain is unbroken", `<td class="n">12</td>`} {
		if !strings.Contains(html.String(), want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if strings.Contains(html.String(), "<script>") {
		t.Error("the page holds what a folder is called as it is")
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, row := range rows {
		kinds[row[0]]++
		if strings.HasPrefix(row[3], "=") {
			t.Errorf("a cell is a formula: %q", row)
		}
	}
	if kinds["account"] != 1 || kinds["folder"] != 2 || kinds["aside"] != 1 {
		t.Errorf("rows: %v", kinds)
	}
}

func TestChainShowsChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l.ledger")
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(3, 1, 1)))
	b.run(t)
	b.run(t)
	if _, err := b.engine.Verify(t.Context(), []migrate.User{b.user}); err != nil {
		t.Fatal(err)
	}
	head, err := b.ledger.Chain(t.Context(), nil)
	if err != nil || len(head) != 64 {
		t.Fatalf("the chain: %s, %v", head, err)
	}
	for what, sql := range map[string]string{
		"changed": `UPDATE chain SET text = replace(text, '"copied":3', '"copied":4')`,
		"removed": `DELETE FROM chain WHERE id = 2`,
		"dated":   `UPDATE chain SET time = time - 60 WHERE id = 1`,
	} {
		db, err := sqlite3.Open(b.ledger.Path())
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Exec(`VACUUM INTO '` + path + what + `'`); err != nil {
			t.Fatal(err)
		}
		db.Close()
		if db, err = sqlite3.Open(path + what); err != nil {
			t.Fatal(err)
		}
		if err := db.Exec(sql); err != nil {
			t.Fatal(err)
		}
		db.Close()
		l, err := migrate.ReadLedger(path + what)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Chain(t.Context(), nil); mail.KindOf(err) != mail.KindCorrupt {
			t.Errorf("%s: %v", what, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRemadeMIME has a source that makes its messages anew, as Exchange does:
// the content stays, the bytes do not.
func TestRemadeMIME(t *testing.T) {
	t.Parallel()
	forms := []string{
		"From: =?utf-8?Q?J=C3=BCrgen?= <j@example.org>\r\nTo: a@example.org,\r\n b@example.org\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\nMessage-ID: <1@example.org>\r\nDate: Mon, 5 May 2003 10:00:00 +0200\r\n" +
			"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=one\r\n\r\n--one\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe  \r\n--one\r\n" +
			"Content-Type: image/png; name=x.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF\r\n--one--\r\n",
		"X-Message-Flag: Follow up\r\nMessage-ID: <1@example.org>\r\nImportance: normal\r\nDate: Mon, 5 May 2003 08:00:00 +0000\r\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?=\r\nFrom: =?iso-8859-1?Q?J=FCrgen?= <j@EXAMPLE.org>\r\nTo: <b@example.org>, <a@example.org>\r\n" +
			"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"_000_two\"\r\n\r\n--_000_two\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\nR3L832UN\r\nCg==\r\n--_000_two\r\n" +
			"Content-Type: image/png; name=\"x.png\"\r\nContent-Disposition: attachment; filename=\"x.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\nAwQF\r\n--_000_two--\r\n",
	}
	msg := migratetest.Message{UID: 1, Date: " 5-May-2003 10:00:00 +0200", Body: forms[0]}
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, []migratetest.Message{msg}))
	b.run(t)
	verify := func(body string) migrate.Verification {
		b.server.Change(func(boxes []*migratetest.Box) { boxes[0].Messages[0].Body = body })
		v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
		if err != nil {
			t.Fatal(err)
		}
		return v[0]
	}
	if v := verify(forms[1]); len(v.Problems) != 0 || v.Items != 1 || v.Remade != 1 {
		t.Errorf("made anew: %+v", v)
	}
	for what, change := range map[string][2]string{
		"text": {"R3L832UN", "R3L832YN"}, "an attachment": {"AwQF", "AwQG"}, "the header": {"=FCrgen?= <j@", "=FCrgen?= <k@"},
	} {
		if v := verify(strings.Replace(forms[1], change[0], change[1], 1)); len(v.Problems) != 1 || !strings.Contains(v.Problems[0].What, what) {
			t.Errorf("%s was changed: %+v", what, v)
		}
	}
}

func TestCopiesOfOtherTools(t *testing.T) {
	t.Parallel()
	all := []migratetest.Message{
		{UID: 1, Date: " 5-May-2003 10:00:00 +0200", Body: "Message-ID: <1@example.org>\r\nSubject: one\r\n\r\ntext\r\n"},
		{UID: 2, Date: " 5-May-2003 10:00:00 +0200", Body: "Date: Mon, 5 May 2003 10:00:00 +0200\r\nFrom: a@example.org\r\nSubject: no id\r\n\r\ntext\r\n"},
		{UID: 3, Date: " 5-May-2003 10:00:00 +0200", Body: "Message-ID: <3@example.org>\r\nSubject: three\r\n\r\ntext\r\n"},
	}
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, all))
	if _, err := b.target.Prepare(t.Context(), migrate.Folder{Name: "INBOX"}); err != nil {
		t.Fatal(err)
	}
	b.deliver(t, "X-Copied-By: another tool\r\n"+all[0].Body)
	b.deliver(t, "Received: from old by new; Mon, 5 May 2003 10:00:00 +0200\r\n"+all[1].Body)
	if r := b.run(t); r.Err != nil || r.There != 2 || r.Copied != 1 {
		t.Errorf("the pass: %+v", r)
	}
	if n := len(b.items(t, "INBOX")); n != 3 {
		t.Errorf("the target has %d messages, want 3", n)
	}
	v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
	if err != nil || len(v[0].Problems) > 0 || v[0].Items != 3 {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// A report of some accounts sums these alone.
func TestReportOfSome(t *testing.T) {
	t.Parallel()
	r := migrate.Report{Total: migrate.Sums{Source: 7, Copied: 7, Bytes: 70}, Accounts: []migrate.AccountReport{
		{Source: "a", Target: "a@example.org", Sums: migrate.Sums{Source: 3, Copied: 3, Bytes: 30}},
		{Source: "b", Target: "b@example.org", Sums: migrate.Sums{Source: 4, Copied: 4, Bytes: 40}},
	}}
	r.Keep([]migrate.User{{Source: "b", Target: "b@example.org"}})
	if want := (migrate.Sums{Source: 4, Copied: 4, Bytes: 40}); r.Total != want || len(r.Accounts) != 1 {
		t.Errorf("the report has %d accounts and the sums %+v, want %+v", len(r.Accounts), r.Total, want)
	}
}

// Others may not read the ledger.
func TestLedgerIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l.ledger")
	l, err := migrate.OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
}
