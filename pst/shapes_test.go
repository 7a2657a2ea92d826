package pst_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"expost/mapi"
	"expost/pst"
)

// images are the kinds of file; big is a size that needs an XXBLOCK in those of
// 512-byte pages.
func images() map[string]func() *image {
	return map[string]func() *image{
		"ansi":               func() *image { return ansiImage(0) },
		"ansi permuted":      func() *image { return ansiImage(1) },
		"ansi cyclic":        func() *image { return ansiImage(2) },
		"unicode":            func() *image { return unicodeImage(0) },
		"unicode permuted":   func() *image { return unicodeImage(1) },
		"unicode cyclic":     func() *image { return unicodeImage(2) },
		"pab":                func() *image { im := ansiImage(1); im.magic = "BA"; return im },
		"4K":                 func() *image { return largeImage(0) },
		"4K permuted":        func() *image { return largeImage(1) },
		"4K data compressed": func() *image { im := largeImage(0); im.lists = false; return im },
		"4K not compressed":  func() *image { im := largeImage(1); im.compress = false; return im },
	}
}

const big = 18 << 20

func TestShapes(t *testing.T) {
	t.Parallel()
	for name, make := range images() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := make().shapes(big)
			var reports []error
			f, err := open(b, pst.Options{Report: func(err error) { reports = append(reports, err) }})
			if err != nil {
				t.Fatal(err)
			}
			w := walk(f, nil)
			if len(w.errs)+len(reports) > 0 {
				t.Errorf("errors %v, reports %v", w.errs[:min(len(w.errs), 5)], reports[:min(len(reports), 5)])
			}
			want := tally{folders: 5, messages: 67, embed: 2, recipients: 3000 + 2 + 60, attachments: 3 + 400 + 3}
			if got := (tally{folders: w.folders, messages: w.messages, embed: w.embed, recipients: w.recipients, attachments: w.attachments}); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			checkFolders(t, f)
			checkLetters(t, f, strings.HasPrefix(name, "ansi") || name == "pab", big)
		})
	}
}

func checkFolders(t *testing.T, f *pst.File) {
	t.Helper()
	var got []string
	for d, err := range f.Folders() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join(d.Path(), "/")+":"+string(d.Kind()))
	}
	want := []string{":root", ":subtree", "Corbeille:trash", "Many:", "Many/Deep:"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("folders %q, want %q", got, want)
	}
}

func item(t *testing.T, f *pst.File, i int) *pst.Message {
	t.Helper()
	m, err := f.Message(nidFirst + uint32(i)<<5)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func checkLetters(t *testing.T, f *pst.File, ansi bool, size int) {
	t.Helper()
	want := any("recipients")
	tag := mapi.Tag(0x0037001F)
	if ansi {
		want, tag = mapi.String8("recipients"), 0x0037001E
	}
	if v, ok, err := item(t, f, 1).Value(tag); !ok || err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("subject %v, %v, %v", v, ok, err)
	}
	checkAttachments(t, item(t, f, 2), size)
	i := 0
	for a, err := range item(t, f, 3).Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		if v, _, err := a.Value(0x37010102); err != nil || string(v.([]byte)) != fmt.Sprint("content ", i) {
			t.Errorf("attachment %d: %q, %v", i, v, err)
		}
		i++
	}
	wide := item(t, f, 5)
	for i := range 24 {
		v, _, err := wide.Value(mapi.Tag(0x6100+i)<<16 | 0x0102)
		if err != nil || !bytes.Equal(v.([]byte), pattern(3000+i)) {
			t.Errorf("property %d: %v", i, err)
		}
	}
	m := item(t, f, 6)
	named, ok := m.Lookup(category, mapi.TypeString|mapi.MultiValued)
	if v, _, err := m.Value(named); !ok || !reflect.DeepEqual(v, []string{"red", "green"}) {
		t.Errorf("categories at %#x: %v, %v", named, v, err)
	}
	if name, ok := m.Name(named); !ok || name != category {
		t.Errorf("name %v", name)
	}
}

func checkAttachments(t *testing.T, m *pst.Message, size int) {
	t.Helper()
	sizes := []int{3000, 100000, size}
	for a, err := range m.Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Open(0x37010102)
		if err != nil {
			t.Fatal(err)
		}
		want := pattern(sizes[0])
		got, err := io.ReadAll(s)
		if err != nil || s.Size() != int64(len(want)) || !bytes.Equal(got, want) {
			t.Errorf("attachment of %d bytes: %d read, %v", len(want), len(got), err)
		}
		part := make([]byte, 1000)
		if n, err := s.ReadAt(part, s.Size()-500); n != 500 || err != io.EOF || !bytes.Equal(part[:n], want[len(want)-500:]) {
			t.Errorf("end of the attachment: %d, %v", n, err)
		}
		sizes = sizes[1:]
	}
	if len(sizes) > 0 {
		t.Errorf("%d attachments are missing", len(sizes))
	}
}

// TestMixed reads a file whose header says that it is not encoded, though every
// block is, and the other way round.
func TestMixed(t *testing.T) {
	t.Parallel()
	for _, crypt := range []byte{0, 1} {
		b := unicodeImage(crypt).shapes(100000)
		b[513] = 1 - crypt
		f, err := open(b, pst.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if w := walk(f, nil); len(w.errs) > 0 || w.messages != 67 {
			t.Errorf("encoded %d: %d items, errors %v", crypt, w.messages, w.errs)
		}
		for a, err := range item(t, f, 2).Attachments() {
			if err != nil {
				t.Fatal(err)
			}
			v, _, err := a.Value(0x37010102)
			if got := v.([]byte); err != nil || !bytes.Equal(got, pattern(len(got))) {
				t.Errorf("encoded %d: attachment of %d bytes: %v", crypt, len(got), err)
			}
		}
	}
}

// TestConcurrent reads a file in several goroutines.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	f, err := open(largeImage(1).shapes(100000), pst.Options{CacheSize: 1 << 16, Report: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if w := walk(f, nil); len(w.errs) > 0 || w.messages != 67 {
				t.Errorf("%d items, errors %v", w.messages, w.errs)
			}
		})
	}
	wait.Wait()
}

// failing is a file that vanishes after some reads.
type failing struct {
	io.ReaderAt
	left int
}

var errGone = errors.New("gone")

func (r *failing) ReadAt(p []byte, off int64) (int, error) {
	if r.left--; r.left < 0 {
		return 0, errGone
	}
	return r.ReaderAt.ReadAt(p, off)
}

// TestVanishes has the file fail after each number of reads: the error is told
// and names a place.
func TestVanishes(t *testing.T) {
	t.Parallel()
	b := unicodeImage(1).small()
	failed := 0
	for n := range 60 {
		told, r := false, &failing{readerAt(b), n}
		f, err := pst.Open(r, int64(len(b)), pst.Options{Report: func(err error) { told = told || errors.Is(err, errGone) }})
		if err != nil {
			if !errors.Is(err, errGone) {
				t.Errorf("after %d reads: %v", n, err)
			}
			failed++
			continue
		}
		for _, err := range walk(f, nil).errs {
			var d *pst.Damage
			told = told || errors.Is(err, errGone) && errors.As(err, &d)
		}
		if r.left >= 0 {
			break // everything was read before
		}
		if failed++; !told {
			t.Errorf("after %d reads: nothing is told", n)
		}
	}
	if failed < 5 {
		t.Errorf("only %d reads failed", failed)
	}
}

// TestMaxValue refuses a value that is larger than allowed, and streams it.
func TestMaxValue(t *testing.T) {
	t.Parallel()
	f, err := open(unicodeImage(1).shapes(200000), pst.Options{MaxValue: 150000})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for a, err := range item(t, f, 2).Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := a.Value(0x37010102); ok && err != nil {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d values are refused", refused)
	}
	checkLetters(t, f, false, 200000)
}

// TestShapesPeers has pffexport and readpst read what the test's writer made, so
// that it is no dialect of ours.
func TestShapesPeers(t *testing.T) {
	t.Parallel()
	needs(t, "readpst")
	needs(t, "pffexport")
	for name, make := range images() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.pst")
			if err := os.WriteFile(path, make().shapes(100000), 0o600); err != nil {
				t.Fatal(err)
			}
			low, high := 68, 69 // it often loses the item whose heap has many blocks, not always
			if name == "4K" || name == "4K permuted" {
				low = 0 // it does not inflate lists of blocks
			}
			if n := runPffexport(t, path); n < low || n > high {
				t.Errorf("pffexport writes %d items, not %d", n, high)
			}
			if n := runReadpst(t, path); n != 67 {
				t.Errorf("readpst writes %d items", n)
			}
		})
	}
}
