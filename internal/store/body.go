package store

import (
	"io"
	"os"

	"expost/internal/blob"
)

// Body is a message's stored bytes, uncompressed on the way out. ReadAt costs
// no more than the frame (256 KiB) it falls into. Not for concurrent use.
type Body struct {
	r    *blob.Reader
	file *os.File // nil: in memory
}

// newInlineBody returns the Body of compressed bytes.
func newInlineBody(codec *blob.Codec, packed []byte, size int64) (*Body, error) {
	r, err := codec.NewBytesReader(packed, size)
	if err != nil {
		return nil, err
	}
	return &Body{r: r}, nil
}

// newFileBody returns the Body of a compressed file, which it takes over.
func newFileBody(codec *blob.Codec, file *os.File, packed, size int64) (*Body, error) {
	r, err := codec.NewReader(file, packed, size)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Body{r: r, file: file}, nil
}

// Size returns the number of bytes.
func (b *Body) Size() int64 { return b.r.Size() }

// ReadAt implements io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) { return b.r.ReadAt(p, off) }

// WriteTo writes the whole message to w.
func (b *Body) WriteTo(w io.Writer) (int64, error) { return b.r.WriteRange(w, 0, b.r.Size()) }

// Close ends the Body.
func (b *Body) Close() error {
	b.r.Close()
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}

// Section returns the bytes [from, to) as a reader, which streams: it holds a
// frame of the message, and io.Copy from it makes no copy.
func (b *Body) Section(from, to int64) io.Reader {
	return &section{b: b, at: max(from, 0), end: min(to, b.Size())}
}

// section reads a part of a Body.
type section struct {
	b       *Body
	at, end int64
}

// Read implements io.Reader.
func (s *section) Read(p []byte) (int, error) {
	if s.at >= s.end {
		return 0, io.EOF
	}
	n, err := s.b.ReadAt(p[:min(int64(len(p)), s.end-s.at)], s.at)
	s.at += int64(n)
	return n, err
}

// WriteTo implements io.WriterTo.
func (s *section) WriteTo(w io.Writer) (int64, error) {
	n, err := s.b.r.WriteRange(w, s.at, s.end)
	s.at += n
	return n, err
}
