package sample

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestWriteMbox(t *testing.T) {
	t.Parallel()
	m := New(Options{Messages: 60}).Mailbox(4)
	dir := t.TempDir()
	if err := WriteMbox(dir, m); err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`(?m)^>(>*From )`)
	status := regexp.MustCompile(`(?m)^(Status|X-Status|X-Keywords): .*\n`)
	for f, folder := range m.Folders {
		b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(folder.Name, "/", ".sbd/")))
		if err != nil {
			t.Fatal(err)
		}
		pieces := strings.Split("\n"+string(b), "\nFrom ")[1:]
		if len(pieces) != folder.Messages {
			t.Fatalf("%q has %d messages, want %d", folder.Name, len(pieces), folder.Messages)
		}
		i := 0
		for msg := range m.Messages(f) {
			_, text, _ := strings.Cut(pieces[i], "\n")
			i++
			text = quoted.ReplaceAllString(status.ReplaceAllString(text, ""), "$1")
			want := strings.ReplaceAll(string(msg.Body), "\r\n", "\n")
			if text != want && text != want+"\n" {
				t.Errorf("%q/%d is %.300q, want %.300q", folder.Name, msg.UID, text, want)
			}
		}
	}
}

func TestWriteEML(t *testing.T) {
	t.Parallel()
	m := New(Options{Messages: 60}).Mailbox(11)
	dir := t.TempDir()
	if err := WriteEML(dir, m); err != nil {
		t.Fatal(err)
	}
	for f, folder := range m.Folders {
		files, _ := filepath.Glob(filepath.Join(dir, folder.Name, "*.eml"))
		if len(files) != folder.Messages {
			t.Errorf("%q has %d files, want %d", folder.Name, len(files), folder.Messages)
		}
		i := 0
		for msg := range m.Messages(f) {
			b, err := os.ReadFile(files[i])
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(files[i])
			if err != nil || info.ModTime().Unix() != msg.Date.Unix || !bytes.Equal(b, msg.Body) {
				t.Errorf("%s differs: %v", files[i], err)
			}
			i++
		}
	}
}
