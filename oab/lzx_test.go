package oab

import (
	"bytes"
	"encoding/binary"
	"expost/oab/oabtest"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// compressible makes n bytes of text with repetitions near and far.
func compressible(n int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := []string{"Recipients", "/o=First Organization/ou=Exchange", "SMTP:", "smtp:", "@linuxforu.com", "Biswajit", "Banerjee", "\x00", "Müller", "+91 11 "}
	var b bytes.Buffer
	for b.Len() < n {
		switch rnd.IntN(12) {
		case 0:
			b.Write(bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(9000)))
		case 1:
			for range rnd.IntN(200) {
				b.WriteByte(byte(rnd.IntN(256)))
			}
		case 2:
			if b.Len() > 0 {
				from := rnd.IntN(b.Len())
				b.Write(bytes.Clone(b.Bytes()[from:min(from+rnd.IntN(700), b.Len())]))
			}
		default:
			fmt.Fprintf(&b, "%s%d", words[rnd.IntN(len(words))], rnd.IntN(100))
		}
	}
	return b.Bytes()[:n]
}

func TestDecompress(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(int) int{
		"verbatim":     func(int) int { return blockVerbatim },
		"aligned":      func(int) int { return blockAligned },
		"uncompressed": func(int) int { return blockUncompressed },
		"mixed":        func(i int) int { return 1 + i%3 },
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, n := range []int{1, 2, 100, 32767, 32768, 32769, 131073, 300001, 1 << 20} {
				want := compressible(n, uint64(i))
				packed := oabtest.LZX(want, kind)
				got, err := decompress(packed, n)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d bytes (packed %d) are not what went in: %v", n, len(packed), err)
				}
				if name != "uncompressed" && n > 10000 && len(packed) > n*3/4 {
					t.Errorf("%d bytes became %d: the matches are not under test", n, len(packed))
				}
			}
		})
	}
}

func TestDecompressDamaged(t *testing.T) {
	t.Parallel()
	want := compressible(100000, 3)
	packed := oabtest.LZX(want, func(i int) int { return 1 + i%3 })
	rnd := rand.New(rand.NewPCG(4, 4))
	failed := 0
	for range 2000 {
		b := bytes.Clone(packed)
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		got, err := decompress(b[:rnd.IntN(len(b))+1], len(want))
		if err != nil {
			failed++
		} else if len(got) != len(want) {
			t.Fatalf("%d bytes came out, announced were %d", len(got), len(want))
		}
	}
	if failed < 1500 {
		t.Errorf("only %d of 2000 damaged inputs were refused", failed)
	}
}

func TestContainer(t *testing.T) {
	t.Parallel()
	want := compressible(700000, 9)
	packed := oabtest.Compress(want, 256<<10)
	c, err := newContainer(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came out of %d: %v", len(got), len(want), err)
	}
	if dir := os.Getenv("OAB_SAMPLE_DIR"); dir != "" { // to try another decompressor on
		for name, b := range map[string][]byte{"sample.oab": want, "sample.lzx": packed} {
			if err := os.WriteFile(dir+"/"+name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	differential := bytes.Clone(packed)
	differential[4] = containerDiff
	for name, b := range map[string][]byte{
		"a difference": differential,
		"checksum":     flip(packed, 28),
		"cut":          packed[:len(packed)-1],
		"a bomb":       bytes.Replace(packed, binary.LittleEndian.AppendUint32(nil, 256<<10), binary.LittleEndian.AppendUint32(nil, 1<<31), 1),
	} {
		c, err := newContainer(bytes.NewReader(b))
		if err == nil {
			_, err = io.ReadAll(c)
		}
		if err == nil {
			t.Errorf("%s: was read without an error", name)
		}
	}
}

// TestBomb refuses a small file that grows without end.
func TestBomb(t *testing.T) {
	t.Parallel()
	c, err := newContainer(bytes.NewReader(oabtest.Compress(make([]byte, 32<<20), 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, c)
	if err == nil || n > 8<<20 {
		t.Errorf("%d bytes came out, then %v", n, err)
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func FuzzDecompress(f *testing.F) {
	for i, n := range []int{1, 300, 40000} {
		f.Add(oabtest.LZX(compressible(n, uint64(i)), func(f int) int { return 1 + f%3 }), n)
	}
	f.Fuzz(func(t *testing.T, packed []byte, n int) {
		if n < 1 || n > 200000 {
			return
		}
		if got, err := decompress(packed, n); err == nil && len(got) != n {
			t.Fatalf("%d bytes, announced were %d", len(got), n)
		}
	})
}
