package storetest

import (
	"os"
	"path/filepath"
	"strings"

	"expost/internal/mail"
	"expost/internal/store"
)

// testCheck damages what an administrator may damage, a file, and has Check
// find and repair it. Damage of rows is the engine's own test's matter.
func testCheck(f *fixture) {
	ctx := f.context()
	inbox := f.box("INBOX").ID
	in := f.spool("Subject: big\r\n\r\n" + noise(1<<20, 9))
	defer in.Close()
	got, err := f.a.Append(ctx, inbox, in, store.AppendOptions{})
	f.check(err)
	var files []string
	f.check(filepath.WalkDir(f.dir, func(path string, e os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".zst") && !strings.Contains(path, ".spool") {
			files = append(files, path)
		}
		return err
	}))
	if len(files) != 1 {
		f.Skip("this engine keeps large bodies elsewhere")
	}
	data, err := os.ReadFile(files[0])
	f.check(err)
	findings := func(repair bool) string {
		var lines []string
		for finding, err := range f.store.Check(ctx, store.CheckOptions{Repair: repair}) {
			f.check(err)
			lines = append(lines, finding.String())
		}
		return strings.Join(lines, "\n")
	}

	orphan := filepath.Join(filepath.Dir(filepath.Dir(files[0])), "00", strings.Repeat("0", 64)+".zst")
	f.check(os.MkdirAll(filepath.Dir(orphan), 0o700))
	f.check(os.WriteFile(orphan, data, 0o600))
	if got := findings(false); !strings.Contains(got, "belongs to no message") {
		f.Errorf("a file that belongs to no message was not found: %q", got)
	}
	if got := findings(true); !strings.Contains(got, "(repaired)") {
		f.Errorf("a file that belongs to no message was not removed: %q", got)
	}
	equal(f, "findings after the repair", findings(false), "")

	damaged := append([]byte(nil), data...)
	damaged[len(damaged)/2] ^= 1
	f.check(os.Remove(files[0]))
	f.check(os.WriteFile(files[0], damaged, 0o600))
	if text := findings(true); !strings.Contains(text, got.Email.String()) || strings.Contains(text, "(repaired)") {
		f.Errorf("a damaged file: %q", text)
	}
	f.check(os.Remove(files[0]))
	if text := findings(false); !strings.Contains(text, "gone") {
		f.Errorf("a missing file: %q", text)
	}
	_, err = f.a.Body(ctx, got.Email)
	f.wantKind(err, mail.KindNotExist)
	f.check(os.WriteFile(files[0], data, 0o600))
}
