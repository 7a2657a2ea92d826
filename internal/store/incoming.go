package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/message"
)

// Incoming is a message that has been received but is in no mailbox yet: read
// once, parsed, compressed; small in memory, large in a synced file. It may be
// appended to any number of accounts at the same time.
type Incoming struct {
	codec   *blob.Codec
	message *message.Message
	details []byte // message packed
	threads []uint64
	size    int64
	packed  int64
	sum     blob.Sum
	inline  []byte   // the compressed message, or
	file    *os.File // the spool file that holds it
}

// spoolBuffer is what Spool reads at once.
const spoolBuffer = 32 << 10

// Spool reads a message to its end. prefix, where not empty, stands before the
// bytes of r (trace headers). A message larger than limit (0: none) is an
// error of mail.KindTooBig; r is not read further then.
func (s *Store) Spool(ctx context.Context, prefix []byte, r io.Reader, limit int64) (*Incoming, error) {
	out := &spoolFile{engine: s.engine, max: s.opt.InlineMax}
	in, err := s.spool(ctx, prefix, r, limit, out)
	if err == nil && out.file != nil {
		err = out.sync()
	}
	if err != nil {
		return nil, errors.Join(err, out.remove())
	}
	in.inline, in.file = out.inline, out.file
	return in, nil
}

// spool reads, parses, hashes and compresses in one pass.
func (s *Store) spool(ctx context.Context, prefix []byte, r io.Reader, limit int64, out *spoolFile) (*Incoming, error) {
	parser := message.NewParser(s.opt.Limits, nil)
	sum := sha256.New()
	zip := s.codec.NewWriter(out)
	in := &Incoming{codec: s.codec}
	take := func(p []byte) error {
		in.size += int64(len(p))
		if limit > 0 && in.size > limit {
			return mail.Errorf(mail.KindTooBig, "the message is larger than %d bytes", limit)
		}
		parser.Write(p)
		sum.Write(p)
		_, err := zip.Write(p)
		return err
	}
	err := take(prefix)
	buf := s.buffers.Get().(*[spoolBuffer]byte)
	defer s.buffers.Put(buf)
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = r.Read(buf[:])
		if failed := take(buf[:n]); failed != nil {
			err = failed
		}
	}
	if closed := zip.Close(); err == io.EOF {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	in.message = parser.Finish()
	in.details = in.message.Append(nil)
	in.threads = threadHashes(in.message.Refs)
	in.packed = zip.Size()
	sum.Sum(in.sum[:0])
	return in, nil
}

// spoolFile takes compressed bytes: the first max in memory, more in a file.
type spoolFile struct {
	engine Engine
	max    int
	inline []byte
	file   *os.File
}

// Write implements io.Writer.
func (f *spoolFile) Write(p []byte) (int, error) {
	if f.file == nil && len(f.inline)+len(p) <= f.max {
		f.inline = append(f.inline, p...)
		return len(p), nil
	}
	if f.file == nil {
		file, err := f.engine.TempFile()
		if err != nil {
			return 0, err
		}
		f.file = file
		if _, err := file.Write(f.inline); err != nil {
			return 0, errSpool(err)
		}
		f.inline = nil
	}
	n, err := f.file.Write(p)
	if err != nil {
		return n, errSpool(err)
	}
	return n, nil
}

func errSpool(err error) error {
	return mail.WrapError(mail.KindUnavailable, err, "the message could not be written to disk")
}

// sync makes the file durable.
func (f *spoolFile) sync() error {
	if err := f.file.Sync(); err != nil {
		return errSpool(err)
	}
	return nil
}

// remove removes the file, where there is one.
func (f *spoolFile) remove() error {
	if f.file == nil {
		return nil
	}
	return errors.Join(f.file.Close(), os.Remove(f.file.Name()))
}

// Message returns what the parser found.
func (in *Incoming) Message() *message.Message { return in.message }

// Size returns the bytes of the message.
func (in *Incoming) Size() int64 { return in.size }

// path returns the name of the file that holds the message, or "".
func (in *Incoming) path() string {
	if in.file == nil {
		return ""
	}
	return in.file.Name()
}

// Sum returns the SHA-256 of the message.
func (in *Incoming) Sum() blob.Sum { return in.sum }

// Open returns the message's bytes. Close what it returns.
func (in *Incoming) Open() (*Body, error) {
	if in.file == nil {
		return newInlineBody(in.codec, in.inline, in.size)
	}
	file, err := os.Open(in.file.Name())
	if err != nil {
		return nil, err
	}
	return newFileBody(in.codec, file, in.packed, in.size)
}

// Close drops what no account has taken over.
func (in *Incoming) Close() error {
	if in.file == nil {
		return nil
	}
	return (&spoolFile{file: in.file}).remove()
}
