package tnef

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/mapi"
	"expost/mapi/rtf"
)

// bare is a text without what the writers of fixtures change.
func bare(b []byte) []byte {
	return bytes.TrimRight(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), "\x00")
}

// TestExpected finds every file that MimeKit makes of a sample in what is read
// of it: among the attachments, or as the text. MimeKit leaves messages in
// messages as the TNEF they are, where we open them, and the id of the interface
// in front of an OLE object, which is no part of it; its text has other line ends.
func TestExpected(t *testing.T) {
	t.Parallel()
	inputs, _ := filepath.Glob(fixtures + "tnef-expected/*.tnef")
	if len(inputs) == 0 {
		t.Skip("no fixtures")
	}
	for _, name := range inputs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Read(bytes.NewReader(b))
		if m == nil {
			t.Fatal(err)
		}
		var have [][]byte
		embedded := 0
		for a, err := range m.Attachments() {
			if err != nil {
				t.Fatal(err)
			}
			if v, ok, _ := a.Value(mapi.NewTag(0x3701, mapi.TypeBinary)); ok {
				have = append(have, v.([]byte))
			} else if s, err := a.Open(mapi.NewTag(0x3701, mapi.TypeObject)); err == nil {
				object, err := io.ReadAll(s)
				if err != nil {
					t.Fatal(err)
				}
				have = append(have, object)
			}
			if _, ok, err := a.Message(); ok && err == nil {
				embedded++
			}
		}
		if v, ok, _ := m.Value(mapi.NewTag(0x1009, mapi.TypeBinary)); ok {
			text, _ := rtf.Decompress(v.([]byte))
			have = append(have, text)
		}
		if v, ok, _ := m.Value(mapi.NewTag(0x1013, mapi.TypeBinary)); ok {
			have = append(have, v.([]byte))
		}
		expected, _ := filepath.Glob(strings.TrimSuffix(name, ".tnef") + "__*")
		for _, file := range expected {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			if bytes.HasPrefix(want[min(16, len(want)):], []byte("\x78\x9f\x3e\x22")) || bytes.HasPrefix(want, []byte("\x78\x9f\x3e\x22")) {
				embedded--
				continue
			}
			for _, h := range have {
				found = found || bytes.Equal(bare(h), bare(want)) || bytes.Equal(h, want[min(16, len(want)):])
			}
			if !found {
				t.Errorf("%s: nothing equals %s, %d bytes", filepath.Base(name), filepath.Base(file), len(want))
			}
		}
		if embedded != 0 && strings.Contains(name, "christmas") {
			t.Errorf("%s: %d embedded messages more than are expected", filepath.Base(name), embedded)
		}
		if len(expected) == 0 {
			t.Errorf("%s: nothing is expected", name)
		}
	}
}
