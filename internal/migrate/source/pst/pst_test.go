package pst_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/archive"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/files"
	sourcepst "expost/internal/migrate/source/pst"
	"expost/internal/migrate/target/maildir"
	"expost/internal/sample"
)

var quiet = slog.New(slog.DiscardHandler)

// write writes the sample's mailbox into a PST file, by way of a Maildir.
func write(t *testing.T, m *sample.Mailbox) string {
	t.Helper()
	dir := t.TempDir()
	if err := sample.WriteMaildir(filepath.Join(dir, "mail"), m); err != nil {
		t.Fatal(err)
	}
	src, err := files.New("", quiet).Open(t.Context(), migrate.User{Source: filepath.Join(dir, "mail")})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := filepath.Join(dir, "mail.pst")
	res, err := archive.Copy(t.Context(), src, path, archive.Options{Format: "pst"})
	if err != nil || res.Failed > 0 {
		t.Fatal(err, res)
	}
	return path
}

func TestContract(t *testing.T) {
	t.Parallel()
	keeps := migratetest.Keeps{Flags: true, Dates: true, Roles: true, EmptyFolders: true, Rebuilt: true}
	migratetest.Source(t, keeps, func(t *testing.T, m *sample.Mailbox) (migrate.Source, migrate.User) {
		return sourcepst.New(sourcepst.Config{Log: quiet}), migrate.User{Source: write(t, m)}
	})
}

// TestRefused opens what is no file of Outlook.
func TestRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text string
		kind mail.Kind
	}{
		"page.pst":  {"<html><body>Sign in to download</body></html>", mail.KindInvalid},
		"empty.pst": {"", mail.KindInvalid},
		"cut.pst":   {"!BDN\x00\x00\x00\x00SM\x17\x00", mail.KindInvalid},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sourcepst.New(sourcepst.Config{Log: quiet}).Open(t.Context(), migrate.User{Source: path}); mail.KindOf(err) != tt.kind {
			t.Errorf("%s: %v, want %v", name, err, tt.kind)
		}
	}
	for path, kind := range map[string]mail.Kind{filepath.Join(dir, "missing.pst"): mail.KindNotExist, dir: mail.KindInvalid} {
		if _, err := sourcepst.New(sourcepst.Config{Log: quiet}).Open(t.Context(), migrate.User{Source: path}); mail.KindOf(err) != kind {
			t.Errorf("%s: %v, want %v", path, err, kind)
		}
	}
}

// TestDamageIsReported copies a file with a broken page and attachment and finds
// both in the result and in the report.
func TestDamageIsReported(t *testing.T) {
	t.Parallel()
	path := write(t, sample.New(sample.Options{People: 2, Messages: 60, Seed: 7}).Mailbox(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 2; i < len(b)/2+20_000; i += 64 {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := migrate.OpenLedger(filepath.Join(t.TempDir(), "l.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	target, err := maildir.New(maildir.Config{Path: filepath.Join(t.TempDir(), "out")})
	if err != nil {
		t.Fatal(err)
	}
	e := migrate.NewEngine(sourcepst.New(sourcepst.Config{Log: quiet}), target, l, migrate.Options{})
	for pass := range 2 {
		r, err := e.Run(t.Context(), []migrate.User{{Source: path, Target: "a@example.org"}})
		if err != nil || r[0].Err != nil || pass == 0 && len(r[0].Damage) == 0 {
			t.Fatal(r, err)
		}
		report, err := l.Report(t.Context())
		if err != nil || len(report.Accounts[0].Damage) == 0 {
			t.Fatalf("the report after pass %d tells of no damage: %v", pass+1, err)
		}
		var text strings.Builder
		if err := report.WriteText(&text); err != nil || !strings.Contains(text.String(), "  ! damaged: ") || !strings.Contains(text.String(), "offset") {
			t.Errorf("%v\n%s", err, text.String())
		}
	}
}

// TestShrinks cuts a file off while it is open: what is gone is an error of its
// items, and everything else goes on.
func TestShrinks(t *testing.T) {
	t.Parallel()
	path := write(t, sample.New(sample.Options{People: 2, Messages: 150, Seed: 7}).Mailbox(1))
	// With a code page given, no item is read before it is asked for.
	a, err := sourcepst.New(sourcepst.Config{Log: quiet, Codepage: 1252}).Open(t.Context(), migrate.User{Source: path})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	folders, err := a.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	read, lost := 0, 0
	for _, f := range folders {
		_, err := a.Scan(t.Context(), f, migrate.State{}, func(items []migrate.Item) error {
			return a.Fetch(t.Context(), f, items, func(_ migrate.Item, r io.Reader, err error) error {
				if err != nil {
					lost++
					return nil
				}
				read++
				_, err = io.Copy(io.Discard, r)
				return err
			})
		})
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if read == 0 || lost == 0 {
		t.Errorf("%d items were read, %d lost", read, lost)
	}
}
