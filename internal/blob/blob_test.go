package blob_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/peertest"
)

// pack returns content compressed.
func pack(tb testing.TB, c *blob.Codec, content []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := c.NewWriter(&b)
	for len(content) > 0 { // in pieces that do not fit the frames
		n := min(len(content), 100_001)
		if _, err := w.Write(content[:n]); err != nil {
			tb.Fatal(err)
		}
		content = content[n:]
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if w.Size() != int64(b.Len()) {
		tb.Fatalf("size %d of %d bytes", w.Size(), b.Len())
	}
	return b.Bytes()
}

// noise returns n bytes of which half compress.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b[:n/2])
	return b
}

var sizes = []int{0, 1, 1000, blob.FrameSize - 1, blob.FrameSize, blob.FrameSize + 1, 3*blob.FrameSize + 7}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	c := blob.NewCodec()
	for _, size := range sizes {
		content := noise(size)
		packed := pack(t, c, content)
		r, err := c.NewReader(bytes.NewReader(packed), int64(len(packed)), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes came back as %d, error %v", size, len(got), err)
		}
		for range 20 {
			from, to := rand.IntN(size+1), rand.IntN(size+1)
			var b bytes.Buffer
			n, err := r.WriteRange(&b, int64(from), int64(to))
			if err != nil || n != int64(b.Len()) || from <= to && !bytes.Equal(b.Bytes(), content[from:to]) {
				t.Fatalf("range %d to %d of %d: %d bytes, error %v", from, to, size, n, err)
			}
		}
		r.Close()
	}
}

// TestZstd has the zstd tool read a blob.
func TestZstd(t *testing.T) {
	t.Parallel()
	zstd := peertest.Lookup(t, "zstd")
	for _, size := range sizes {
		content := noise(size)
		cmd := exec.Command(zstd, "-d", "-c")
		cmd.Stdin = bytes.NewReader(pack(t, blob.NewCodec(), content))
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("zstd reads %d of %d bytes, error %v", len(got), size, err)
		}
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	c := blob.NewCodec()
	content := noise(2*blob.FrameSize + 5)
	packed := pack(t, c, content)
	size := int64(len(content))
	for name, b := range map[string][]byte{
		"empty":         {},
		"cut":           packed[:len(packed)-1],
		"cut in middle": packed[:len(packed)/2],
		"flipped":       append(append(bytes.Clone(packed[:100]), packed[100]^1), packed[101:]...),
		"no table":      append(bytes.Clone(packed), 0),
	} {
		r, err := c.NewReader(bytes.NewReader(b), int64(len(b)), size)
		if err == nil {
			_, err = r.WriteRange(io.Discard, 0, size)
		}
		if mail.KindOf(err) != mail.KindCorrupt {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for _, wrong := range []int64{size - 1, size + 1, 100, 10 * size} {
		r, err := c.NewReader(bytes.NewReader(packed), int64(len(packed)), wrong)
		if err == nil {
			_, err = r.WriteRange(io.Discard, 0, wrong)
		}
		if mail.KindOf(err) != mail.KindCorrupt {
			t.Errorf("size %d instead of %d: error %v", wrong, size, err)
		}
	}
}

// FuzzReader reads bytes that no Writer made.
func FuzzReader(f *testing.F) {
	c := blob.NewCodec()
	for _, size := range []int{0, 10, blob.FrameSize + 1} {
		f.Add(pack(f, c, noise(size)), int64(size))
	}
	f.Fuzz(func(t *testing.T, packed []byte, size int64) {
		if size < 0 || size > 1<<24 {
			return
		}
		r, err := c.NewReader(bytes.NewReader(packed), int64(len(packed)), size)
		if err != nil {
			return
		}
		n, err := r.WriteRange(io.Discard, 0, size)
		if err == nil && n != size {
			t.Errorf("%d bytes of %d without an error", n, size)
		}
		r.Close()
	})
}

func TestDir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := blob.Dir(filepath.Join(root, "blobs"))
	for range d.All() {
		t.Error("a folder that is not there holds a blob")
	}
	temp := filepath.Join(root, "temp")
	if err := os.WriteFile(temp, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := blob.Sum(sha256.Sum256([]byte("x")))
	for i, want := range []bool{true, false} {
		made, err := d.Link(temp, sum)
		if err != nil || made != want {
			t.Errorf("link number %d: made %v, error %v", i, made, err)
		}
	}
	stray := filepath.Join(root, "blobs", "2d", "stray")
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var sums []blob.Sum
	var errs []string
	for s, err := range d.All() {
		if err != nil {
			errs = append(errs, err.Error())
		} else {
			sums = append(sums, s)
		}
	}
	if len(sums) != 1 || sums[0] != sum || len(errs) != 1 || !strings.Contains(errs[0], stray) {
		t.Errorf("the folder holds %v, %v", sums, errs)
	}
	f, err := d.Open(sum)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 {
		if err := d.Remove(sum); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.Open(sum); !os.IsNotExist(err) {
		t.Errorf("a blob that was removed: %v", err)
	}
}
