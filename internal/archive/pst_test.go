package archive_test

import (
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"expost/internal/archive"
	"expost/internal/migrate"
	sourcepst "expost/internal/migrate/source/pst"
	"expost/pst"
)

// classesOf returns how many items of each class are in folders of each class.
func classesOf(t *testing.T, path string) map[string]int {
	t.Helper()
	disk, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	info, err := disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := pst.Open(disk, info.Size(), pst.Options{Report: func(err error) { t.Errorf("%s: %v", path, err) }})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for d, err := range f.Folders() {
		if err != nil {
			t.Fatal(err)
		}
		for m, err := range d.Messages() {
			if err != nil {
				t.Fatal(err)
			}
			if c := m.Class(); c != "IPM.Note" && !strings.HasPrefix(c, "IPM.Microsoft.") && !strings.HasPrefix(c, "REPORT.") { // settings; reports go back as mail
				out[d.Class()+" "+c]++
			}
		}
	}
	return out
}

// shown are the lines of readpst's files that say what an item is.
var shown = regexp.MustCompile(`(?m)^(SUMMARY|DTSTART|DTEND|RRULE|DUE|LOCATION|FN|N|EMAIL|TEL|BDAY|ORG|TITLE|STATUS)[;:].*$`)

// readpst returns what readpst shows of items that are no mail.
func readpst(t *testing.T, path string) map[string]int {
	t.Helper()
	if _, err := exec.LookPath("readpst"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("readpst is not installed")
		}
		t.Skip("readpst is not installed")
	}
	dir, out := t.TempDir(), map[string]int{}
	if text, err := exec.CommandContext(t.Context(), "readpst", "-q", "-e", "-j", "0", "-o", dir, path).CombinedOutput(); err != nil {
		t.Fatalf("readpst: %v\n%s", err, text)
	}
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if ext := filepath.Ext(p); err != nil || ext != ".ics" && ext != ".vcf" {
			return err
		}
		b, err := os.ReadFile(p)
		lines := shown.FindAllString(strings.ReplaceAll(string(b), "\r", ""), -1)
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		slices.Sort(lines)
		out[strings.Join(lines, "\n")]++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pffexport returns how many items of each kind pffexport finds, mail aside.
func pffexport(t *testing.T, path string) map[string]int {
	t.Helper()
	if _, err := exec.LookPath("pffexport"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("pffexport is not installed")
		}
		t.Skip("pffexport is not installed")
	}
	dir, out := filepath.Join(t.TempDir(), "out"), map[string]int{}
	if text, err := exec.CommandContext(t.Context(), "pffexport", "-q", "-m", "items", "-t", dir, path).CombinedOutput(); err != nil {
		t.Fatalf("pffexport: %v\n%s", err, text)
	}
	err := filepath.WalkDir(dir+".export", func(p string, e fs.DirEntry, err error) error {
		if m := itemDir.FindStringSubmatch(filepath.Base(p)); m != nil && e.IsDir() {
			out[m[1]]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var itemDir = regexp.MustCompile(`^(Appointment|Contact|DistributionList|Meeting|Note|Task|Activity)[0-9]{5}$`)

// TestWayBack takes files of appointments, contacts, lists, tasks and notes to mail
// and back: every item is of its class again, in a folder of its class, and readpst
// shows the same of it as of the file it came from.
func TestWayBack(t *testing.T) {
	t.Parallel()
	const dir = "../../../shared/fixtures/pst"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no sample files in ../shared/fixtures/pst")
	}
	for _, name := range []string{"aspose-email__Outlook.pst", "Yariki__dist-list.pst", "aspose-email__SampleOstFile.ost", "aspose-email__Test_part1.pst", "aspose-email__SampleContacts.pst",
		"aspose-email__PersonalStorageFile.pst"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := filepath.Join(dir, name)
			src, err := sourcepst.New(sourcepst.Config{Log: slog.New(slog.DiscardHandler)}).Open(t.Context(), migrate.User{Source: from, Target: "a@example.org"})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			to := filepath.Join(t.TempDir(), "back.pst")
			if res, err := archive.Copy(t.Context(), src, to, archive.Options{Format: "pst"}); err != nil || res.Failed > 0 {
				t.Fatal(res, err)
			}
			if got, want := classesOf(t, to), classesOf(t, from); !maps.Equal(got, want) {
				t.Errorf("items by class are %v, want %v", got, want)
			}
			if got, want := readpst(t, to), readpst(t, from); !maps.Equal(got, want) {
				t.Errorf("readpst shows\n%v\nof the copy, and of the file\n%v", got, want)
			}
			got, want := pffexport(t, to), pffexport(t, from)
			if name == "aspose-email__Test_part1.pst" {
				want["Contact"] += 12 // it cannot read their properties in that file, and can in the copy
			}
			if !maps.Equal(got, want) {
				t.Errorf("pffexport finds %v in the copy, %v in the file", got, want)
			}
		})
	}
}
