package maildir_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/files"
	"expost/internal/migrate/source/imap"
	"expost/internal/migrate/target/maildir"
	"expost/internal/sample"
)

// newTarget returns a target below dir.
func newTarget(t *testing.T, dir string, utf8 bool) *maildir.Target {
	t.Helper()
	target, err := maildir.New(maildir.Config{Path: filepath.Join(dir, "{local}", "Maildir"), UTF8: utf8})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "ajay"), 0o755); err != nil {
		t.Fatal(err)
	}
	return target
}

func TestContract(t *testing.T) {
	t.Parallel()
	migratetest.Target(t, migratetest.Holds{UIDs: true}, func(t *testing.T) (migrate.Target, migrate.User) {
		return newTarget(t, t.TempDir(), false), migrate.User{Target: "ajay@example.org"}
	})
}

func TestNoHome(t *testing.T) {
	t.Parallel()
	_, err := newTarget(t, t.TempDir(), false).Open(t.Context(), migrate.User{Target: "nobody@example.org"})
	if mail.KindOf(err) != mail.KindNotExist {
		t.Errorf("an account without a home: %v", err)
	}
}

// listed is what a server shows of a mailbox, as text to compare.
func listed(t *testing.T, source migrate.Source, u migrate.User) string {
	t.Helper()
	a, err := source.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	folders, err := a.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(folders, func(x, y migrate.Folder) int { return strings.Compare(x.Name, y.Name) })
	var out strings.Builder
	for _, f := range folders {
		if f.NoItems {
			continue
		}
		var items []migrate.Item
		scanned, err := a.Scan(t.Context(), f, migrate.State{}, func(b []migrate.Item) error { items = append(items, b...); return nil })
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s UIDVALIDITY %d UIDNEXT %d subscribed %t\n", f.Name, f.State.UIDValidity, max(f.State.UIDNext, scanned.State.UIDNext), f.Subscribed)
		err = a.Fetch(t.Context(), f, items, func(it migrate.Item, r io.Reader, err error) error {
			if err != nil {
				return err
			}
			b, err := io.ReadAll(r)
			words := strings.Fields(it.Keywords.String())
			slices.Sort(words)
			fmt.Fprintf(&out, "%d %v %v %d %q\n", it.UID, it.Flags, words, it.Date.Unix, b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// TestServers copies a mailbox into a Maildir and has Dovecot and Courier read it.
func TestServers(t *testing.T) {
	t.Parallel()
	org := sample.New(sample.Options{People: 1, Messages: 120})
	box := org.Mailbox(0)
	from := filepath.Join(t.TempDir(), "from")
	if err := sample.WriteMaildir(from, box); err != nil {
		t.Fatal(err)
	}
	copyTo := func(t *testing.T, dir string, utf8 bool) {
		t.Helper()
		l, err := migrate.OpenLedger(filepath.Join(t.TempDir(), "l.ledger"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		e := migrate.NewEngine(files.New("", nil), newTarget(t, dir, utf8), l, migrate.Options{})
		users := []migrate.User{{Source: from, Target: "ajay@example.org"}}
		r, err := e.Run(t.Context(), users)
		if err != nil || r[0].Err != nil || r[0].Copied == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		v, err := e.Verify(t.Context(), users)
		if err != nil || v[0].Error != "" || len(v[0].Problems) > 0 || v[0].Items != r[0].Copied {
			t.Errorf("verified: %+v, %v", v, err)
		}
	}
	var want string
	t.Run("files", func(t *testing.T) {
		dir := t.TempDir()
		copyTo(t, dir, false)
		want = listed(t, files.New("", nil), migrate.User{Source: from})
		if got := listed(t, files.New("", nil), migrate.User{Source: filepath.Join(dir, "ajay", "Maildir")}); got != want {
			differ(t, got, want)
		}
	})
	t.Run("Dovecot", func(t *testing.T) {
		d := migratetest.StartDovecot(t, func(dir string) { copyTo(t, dir, false) })
		source := imap.New(imap.Config{Address: d.Address, Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain}})
		if got := listed(t, source, migrate.User{Source: "ajay"}); got != want {
			differ(t, got, want)
		}
	})
	t.Run("Courier", func(t *testing.T) {
		dir := t.TempDir()
		copyTo(t, dir, true)
		c := migratetest.StartCourier(t, filepath.Join(dir, "ajay", "Maildir"))
		source := imap.New(imap.Config{Address: c.Address, Password: "any", Client: imapclient.Options{Security: imapclient.Plain}})
		if got := listed(t, source, migrate.User{Source: "ajay"}); got != want {
			differ(t, got, want)
		}
	})
}

// differ shows the first lines that are not the same.
func differ(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	shown := 0
	for i := range max(len(g), len(w)) {
		a, b := "", ""
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b && shown < 5 {
			shown++
			t.Errorf("line %d is\n%.300s\nwant\n%.300s", i, a, b)
		}
	}
}
