package pst_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"expost/internal/archive"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/files"
	sourcepst "expost/internal/migrate/source/pst"
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
