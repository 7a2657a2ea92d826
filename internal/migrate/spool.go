package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"expost/internal/mail"
)

// Bytes is the Spooled of targets that take a message's bytes as they are: in
// memory, or, where there are many, in a file that has no name.
type Bytes struct {
	Size      int64
	Identity  Identity
	MessageID string // as in the header, or ""
	hash      Hash
	memory    []byte
	file      *os.File
}

var _ Spooled = (*Bytes)(nil)

// SpoolBytes reads r to its end. A message of more than limit bytes (0: none)
// is mail.KindTooBig. Files are made in dir ("": the system's place for them).
func SpoolBytes(ctx context.Context, r io.Reader, dir string, limit int64) (*Bytes, error) {
	b := &Bytes{}
	var start bytes.Buffer
	if known, ok := r.(interface{ Len() int }); ok { // bytes in memory
		start.Grow(min(known.Len(), bodyMemory) + bytes.MinRead)
	}
	sum := sha256.New()
	r = io.TeeReader(r, sum)
	if limit > 0 {
		r = io.LimitReader(r, limit+1)
	}
	n, err := io.Copy(&start, io.LimitReader(r, bodyMemory+1))
	b.Size, b.memory = n, start.Bytes()
	if err == nil && n > bodyMemory {
		err = b.spill(r, dir)
	}
	if err == nil && limit > 0 && b.Size > limit {
		err = mail.Errorf(mail.KindTooBig, "the message is larger than %d bytes", limit)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.Identity, b.MessageID = identityOf(start.Bytes())
	sum.Sum(b.hash[:0])
	return b, nil
}

// spill moves the bytes to a file, and the rest of r behind them.
func (b *Bytes) spill(r io.Reader, dir string) error {
	f, err := os.CreateTemp(dir, ".migrate-*")
	if err != nil {
		return fmt.Errorf("making a file for a large message: %w", err)
	}
	b.file = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("making a file for a large message: %w", err)
	}
	if _, err := f.Write(b.memory); err != nil {
		return fmt.Errorf("writing a large message to a file: %w", err)
	}
	b.memory = nil
	n, err := io.Copy(f, r)
	b.Size += n
	return err
}

// Hash implements Spooled.
func (b *Bytes) Hash() Hash { return b.hash }

// Open returns the bytes from the start. One reader at a time is of use.
func (b *Bytes) Open() (io.Reader, error) {
	if b.file == nil {
		return bytes.NewReader(b.memory), nil
	}
	return io.NewSectionReader(b.file, 0, b.Size), nil
}

// Close frees the memory or the file. It may be called twice.
func (b *Bytes) Close() error {
	b.memory = nil
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	return err
}
