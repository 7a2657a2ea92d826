package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"expost/internal/mail"
)

// draftMemory is how much of a message a Draft keeps in memory.
const draftMemory = 256 << 10

// Draft is a message as it came over the wire, kept while it is examined and
// before it is in the store: in memory, or in a file that has no name any more
// where it is large. A crash leaves nothing of it; nobody was told 250 yet.
type Draft struct {
	data []byte
	file *os.File
	size int64
}

// NewDraft reads r to its end. A large message goes into a file in dir; empty:
// the system's folder for such files. Close what it returns.
func NewDraft(dir string, r io.Reader) (*Draft, error) {
	d := &Draft{}
	buf := make([]byte, 0, 8<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			d.data, d.size = buf, int64(len(buf))
			return d, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) >= draftMemory {
			break
		}
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		}
	}
	if err := d.spill(dir, buf, r); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// spill puts what was read, and the rest, into a file.
func (d *Draft) spill(dir string, head []byte, r io.Reader) error {
	f, err := os.CreateTemp(dir, "draft-*")
	if err != nil {
		return errDraft(err)
	}
	d.file = f
	if err := os.Remove(f.Name()); err != nil {
		return errDraft(err)
	}
	out := &draftFile{f: f}
	if _, err := out.Write(head); err != nil {
		return err
	}
	if _, err := io.Copy(out, r); err != nil {
		return err
	}
	d.size = out.size
	return nil
}

// draftFile marks errors of writing, which are ours, not the client's.
type draftFile struct {
	f    *os.File
	size int64
}

func (w *draftFile) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.size += int64(n)
	if err != nil {
		err = errDraft(err)
	}
	return n, err
}

func errDraft(err error) error {
	return mail.WrapError(mail.KindUnavailable, err, "the message could not be written to disk")
}

// Size returns the bytes of the message.
func (d *Draft) Size() int64 { return d.size }

// Reader returns a new reader of the message, from its beginning.
func (d *Draft) Reader() *io.SectionReader {
	if d.file != nil {
		return io.NewSectionReader(d.file, 0, d.size)
	}
	return io.NewSectionReader(bytes.NewReader(d.data), 0, d.size)
}

// Close drops the message.
func (d *Draft) Close() error {
	d.data = nil
	if d.file == nil {
		return nil
	}
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("dropping a draft: %w", err)
	}
	return nil
}
