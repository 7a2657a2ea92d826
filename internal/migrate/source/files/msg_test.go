package files_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/migrate"
	"expost/internal/migrate/source/files"
)

// TestMSG reads every sample .msg file out of a directory, with an .eml file
// among them.
func TestMSG(t *testing.T) {
	t.Parallel()
	samples, _ := filepath.Glob("../../../../../shared/fixtures/msg/*.msg")
	if len(samples) == 0 {
		t.Skip("no sample files in ../shared/fixtures/msg")
	}
	dir := t.TempDir()
	for _, name := range samples {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a.eml"), []byte("Subject: a\r\nDate: Thu, 01 May 2003 12:30:15 +0530\r\n\r\nb\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := files.New("", slog.New(slog.DiscardHandler)).Open(t.Context(), migrate.User{Source: dir, Target: "a@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	folders, err := a.Folders(t.Context())
	if err != nil || len(folders) != 1 {
		t.Fatal(folders, err)
	}
	read, flagged, dates := 0, 0, map[int]bool{}
	_, err = a.Scan(t.Context(), folders[0], migrate.State{}, func(items []migrate.Item) error {
		return a.Fetch(t.Context(), folders[0], items, func(it migrate.Item, r io.Reader, err error) error {
			if err != nil {
				t.Errorf("%s: %v", it.Key, err)
				return nil
			}
			b, err := io.ReadAll(r)
			if !strings.Contains(string(b), "Subject:") || err != nil {
				t.Errorf("%s: %v\n%.300s", it.Key, err, b)
			}
			read++
			if it.Flags != 0 {
				flagged++
			}
			dates[it.Date.Time().Year()] = true
			return nil
		})
	})
	if err != nil || read != len(samples)+1 || flagged < 50 || len(dates) < 5 {
		t.Errorf("read %d of %d, %d with flags, years %v: %v", read, len(samples)+1, flagged, dates, err)
	}
}
