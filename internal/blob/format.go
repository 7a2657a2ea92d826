// Package blob keeps the bytes of messages compressed: a format that any zstd
// tool reads and that can be read from the middle, and the files it is kept in.
//
// A blob is a row of independent zstd frames, each of FrameSize bytes of
// content but the last. Where there is more than one, a seek table follows in
// a skippable frame, laid out as zstd's contrib/seekable_format does it, so
// that `zstd -d` gives the message and ReadAt finds the frame it needs. A blob
// of one frame is that frame alone.
package blob

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"expost/internal/mail"
)

// FrameSize is the content of each frame but the last, in bytes.
const FrameSize = 256 << 10

// The seek table (zstd contrib/seekable_format/zstd_seekable_compression_format.md).
const (
	skippableMagic = 0x184D2A5E
	seekableMagic  = 0x8F92EAB1
	tableHead      = 8 // skippable magic, size of what follows
	tableEntry     = 8 // compressed and uncompressed size of one frame
	tableFoot      = 9 // number of frames, descriptor, seekable magic
)

// maxFrames bounds the seek table that Reader takes: 16 TiB of content.
const maxFrames = 64 << 20

// Codec holds the compressor and the decompressor, which are costly to make
// and safe for concurrent use. One is enough for a process.
type Codec struct {
	enc    *zstd.Encoder
	dec    *zstd.Decoder
	frames sync.Pool // *[]byte of FrameSize
}

// NewCodec returns a Codec.
func NewCodec() *Codec {
	// Neither fails with these options.
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(FrameSize), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
	dec, _ := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(FrameSize), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(0))
	c := &Codec{enc: enc, dec: dec}
	c.frames.New = func() any { b := make([]byte, FrameSize); return &b }
	return c
}

// Writer compresses what is written to it.
type Writer struct {
	codec   *Codec
	w       io.Writer
	frame   *[]byte // from the codec's pool
	n       int     // bytes in frame
	packed  []byte  // the last compressed frame
	table   []byte  // entries of the seek table so far
	written int64
}

// NewWriter returns a Writer that writes compressed frames to w.
func (c *Codec) NewWriter(w io.Writer) *Writer {
	return &Writer{codec: c, w: w, frame: c.frames.Get().(*[]byte)}
}

// Write compresses b. An error is one of the writer below.
func (w *Writer) Write(b []byte) (int, error) {
	total := len(b)
	for len(b) > 0 {
		if w.n == FrameSize {
			if err := w.flush(); err != nil {
				return total - len(b), err
			}
		}
		n := copy((*w.frame)[w.n:], b)
		w.n += n
		b = b[n:]
	}
	return total, nil
}

// flush writes the frame that has been collected.
func (w *Writer) flush() error {
	w.packed = w.codec.enc.EncodeAll((*w.frame)[:w.n], w.packed[:0])
	w.table = binary.LittleEndian.AppendUint32(w.table, uint32(len(w.packed)))
	w.table = binary.LittleEndian.AppendUint32(w.table, uint32(w.n))
	w.n = 0
	n, err := w.w.Write(w.packed)
	w.written += int64(n)
	return err
}

// Close writes what is left, and the seek table where there is more than one
// frame. It does not close the writer below. Size is valid afterwards.
func (w *Writer) Close() error {
	if w.frame == nil {
		return nil
	}
	defer w.release()
	if w.n > 0 || len(w.table) == 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	frames := len(w.table) / tableEntry
	if frames < 2 {
		return nil
	}
	b := make([]byte, 0, tableHead+len(w.table)+tableFoot)
	b = binary.LittleEndian.AppendUint32(b, skippableMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(w.table)+tableFoot))
	b = append(b, w.table...)
	b = binary.LittleEndian.AppendUint32(b, uint32(frames))
	b = append(b, 0) // descriptor: no checksums, the frames have their own
	b = binary.LittleEndian.AppendUint32(b, seekableMagic)
	n, err := w.w.Write(b)
	w.written += int64(n)
	return err
}

// release gives the frame back to the pool.
func (w *Writer) release() {
	w.codec.frames.Put(w.frame)
	w.frame = nil
}

// Size returns the bytes written to the writer below.
func (w *Writer) Size() int64 { return w.written }

// Reader reads a blob. It is not for concurrent use.
type Reader struct {
	codec  *Codec
	r      io.ReaderAt // nil: in whole
	whole  []byte
	packed []int64 // where each frame starts in r, and where the last ends
	one    [2]int64
	size   int64
	frame  *[]byte // content of frame number at, from the codec's pool
	n      int
	at     int
	buf    []byte
}

// NewBytesReader returns a Reader of the blob packed, which is in memory and holds
// size bytes, as NewReader does.
func (c *Codec) NewBytesReader(packed []byte, size int64) (*Reader, error) {
	if size > FrameSize {
		return c.NewReader(bytes.NewReader(packed), int64(len(packed)), size)
	}
	rd := &Reader{codec: c, whole: packed, size: size, at: -1, one: [2]int64{0, int64(len(packed))}}
	rd.packed = rd.one[:]
	return rd, nil
}

// NewReader returns a Reader of the blob of packed bytes in r that holds size
// bytes. Bytes that no Writer made are an error of mail.KindCorrupt, here or
// at the read that meets them.
func (c *Codec) NewReader(r io.ReaderAt, packed, size int64) (*Reader, error) {
	rd := &Reader{codec: c, r: r, size: size, at: -1}
	if size <= FrameSize {
		rd.packed = []int64{0, packed}
		return rd, nil
	}
	return rd, rd.readTable(packed)
}

// readTable reads the seek table and checks it against the sizes known.
func (r *Reader) readTable(packed int64) error {
	var foot [tableFoot]byte
	if packed < tableFoot {
		return mail.Errorf(mail.KindCorrupt, "a message's stored bytes end too early")
	}
	if _, err := r.r.ReadAt(foot[:], packed-tableFoot); err != nil {
		return err
	}
	frames := int64(binary.LittleEndian.Uint32(foot[:]))
	start := packed - tableFoot - frames*tableEntry - tableHead
	if binary.LittleEndian.Uint32(foot[5:]) != seekableMagic || frames > maxFrames || start < 0 {
		return mail.Errorf(mail.KindCorrupt, "a message's stored bytes have no seek table")
	}
	if frames != (r.size+FrameSize-1)/FrameSize {
		return mail.Errorf(mail.KindCorrupt, "a message's stored bytes hold another size than expected")
	}
	table := make([]byte, frames*tableEntry)
	if _, err := r.r.ReadAt(table, start+tableHead); err != nil {
		return err
	}
	r.packed = make([]int64, 1, frames+1)
	for ; len(table) > 0; table = table[tableEntry:] {
		r.packed = append(r.packed, r.packed[len(r.packed)-1]+int64(binary.LittleEndian.Uint32(table)))
	}
	if r.packed[frames] != start {
		return mail.Errorf(mail.KindCorrupt, "a message's seek table does not fit its bytes")
	}
	return nil
}

// load makes frame i the present one.
func (r *Reader) load(i int) error {
	if r.at == i {
		return nil
	}
	r.at = -1
	want := int(min(FrameSize, r.size-int64(i)*FrameSize))
	n := r.packed[i+1] - r.packed[i]
	if n < 0 || n > 2*FrameSize {
		return mail.Errorf(mail.KindCorrupt, "a message's stored bytes are damaged")
	}
	packed := r.whole
	if r.r != nil {
		if int64(cap(r.buf)) < n {
			r.buf = make([]byte, n)
		}
		packed = r.buf[:n]
		if _, err := r.r.ReadAt(packed, r.packed[i]); err != nil && err != io.EOF {
			return mail.WrapError(mail.KindUnavailable, err, "reading a message's stored bytes failed")
		}
	}
	if r.frame == nil {
		r.frame = r.codec.frames.Get().(*[]byte)
	}
	out, err := r.codec.dec.DecodeAll(packed, (*r.frame)[:0])
	if err != nil || len(out) != want {
		return mail.WrapError(mail.KindCorrupt, err, "a message's stored bytes are damaged")
	}
	*r.frame = out[:cap(out)]
	r.n, r.at = len(out), i
	return nil
}

// Size returns the number of bytes of the content.
func (r *Reader) Size() int64 { return r.size }

// ReadAt reads content; it decompresses the frames that p touches only.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, mail.Errorf(mail.KindInvalid, "a message was read before its start")
	}
	done := 0
	for done < len(p) {
		if off >= r.size {
			return done, io.EOF
		}
		i := int(off / FrameSize)
		if err := r.load(i); err != nil {
			return done, err
		}
		n := copy(p[done:], (*r.frame)[off-int64(i)*FrameSize:r.n])
		done += n
		off += int64(n)
	}
	return done, nil
}

// WriteRange writes the content [from, to) to w, a frame at a time.
func (r *Reader) WriteRange(w io.Writer, from, to int64) (int64, error) {
	done := int64(0)
	to = min(to, r.size)
	for from < to {
		i := int(from / FrameSize)
		if err := r.load(i); err != nil {
			return done, err
		}
		start := int64(i) * FrameSize
		n, err := w.Write((*r.frame)[from-start : min(to-start, int64(r.n))])
		done += int64(n)
		from += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Close gives the Reader's memory back. The reader below stays open.
func (r *Reader) Close() {
	if r.frame != nil {
		r.codec.frames.Put(r.frame)
		r.frame = nil
	}
	r.at = -1
}
