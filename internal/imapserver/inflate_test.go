package imapserver

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// inflate feeds a stream in pieces and reads all there is after each.
func inflate(stream []byte, piece int) (out []byte, err error) {
	f := newInflater()
	buf := make([]byte, 300)
	for len(stream) > 0 {
		n := min(piece, len(stream))
		f.feed(stream[:n])
		stream = stream[n:]
		for {
			n, err := f.read(buf)
			if out = append(out, buf[:n]...); err != nil {
				return out, err
			}
			if n == 0 {
				break
			}
		}
	}
	return out, nil
}

// All that was written before a flush can be read without more bytes.
func TestInflateFlushes(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for level := flate.HuffmanOnly; level <= 9; level++ {
		var compressed bytes.Buffer
		w, err := flate.NewWriter(&compressed, level)
		if err != nil {
			t.Fatal(err)
		}
		f := newInflater()
		var want, got []byte
		buf := make([]byte, 1000)
		for range 100 {
			text := []byte(strings.Repeat("UID FETCH 1:* (FLAGS) ", rng.IntN(200)))
			for i := range text {
				if rng.IntN(20) == 0 {
					text[i] = byte(rng.Uint32())
				}
			}
			want = append(want, text...)
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			f.feed(bytes.Clone(compressed.Bytes()))
			compressed.Reset()
			for len(got) < len(want) {
				n, err := f.read(buf)
				if err != nil || n == 0 {
					t.Fatalf("level %d: %d bytes and %v where %d were written", level, len(got), err, len(want))
				}
				got = append(got, buf[:n]...)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("level %d: the bytes differ", level)
		}
		if cap(f.past) > 40<<10 {
			t.Errorf("level %d: keeps %d bytes", level, cap(f.past))
		}
	}
}

// The partial flush of zlib, which mbsync uses, ends within a byte.
func TestInflatePartialFlush(t *testing.T) {
	t.Parallel()
	const first, second = "4a3454f0f3f70fe0e50208", "a04423280320"
	stream, err := hex.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	out, err := inflate(stream, len(stream))
	if err != nil || string(out) != "a1 NOOP\r\n" {
		t.Errorf("behind the first flush: %q, %v", out, err)
	}
	more, err := hex.DecodeString(second)
	if err != nil {
		t.Fatal(err)
	}
	for piece := 1; piece < 5; piece++ {
		out, err = inflate(append(bytes.Clone(stream), more...), piece)
		if err != nil || string(out) != "a1 NOOP\r\na2 NOOP\r\n" {
			t.Errorf("in pieces of %d: %q, %v", piece, out, err)
		}
	}
}

func FuzzInflate(f *testing.F) {
	for level := flate.HuffmanOnly; level <= 9; level += 3 {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, level)
		_, _ = w.Write([]byte(strings.Repeat("a FETCH 1 BODY[]\r\n", 20) + "\x00\xff"))
		_ = w.Flush()
		_, _ = w.Write([]byte("b LOGOUT\r\n"))
		_ = w.Close()
		f.Add(b.Bytes(), uint8(3))
	}
	f.Add([]byte{0, 1, 0, 0xfe, 0xff, 'x'}, uint8(1))
	f.Add([]byte{7}, uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		const limit = 1 << 20
		var want bytes.Buffer
		_, wantErr := io.Copy(&want, io.LimitReader(flate.NewReader(bytes.NewReader(stream)), limit))
		if want.Len() == limit {
			return
		}
		got, err := inflate(stream, int(piece)+1)
		if wantErr == nil {
			if !errors.Is(err, io.EOF) || !bytes.Equal(got, want.Bytes()) {
				t.Fatalf("%d bytes and %v, want %d", len(got), err, want.Len())
			}
			return
		}
		if errors.Is(err, io.EOF) {
			t.Fatalf("ends well, but: %v", wantErr)
		}
		if !bytes.HasPrefix(got, want.Bytes()) {
			t.Fatalf("%q does not begin with %q", got, want.Bytes())
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, 6)
	rng := rand.New(rand.NewPCG(1, 2))
	size := int64(0)
	for z.Len() < 100000 {
		n, _ := w.Write([]byte(strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(5)) + "word "))
		size += int64(n)
	}
	_ = w.Flush()
	b.SetBytes(size)
	for b.Loop() {
		f := newInflater()
		f.feed(z.Bytes())
		buf := make([]byte, 4096)
		for {
			if n, _ := f.read(buf); n == 0 {
				break
			}
		}
	}
}
