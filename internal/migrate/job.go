package migrate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// job is one step for the writer: do, or an item to be appended, which is
// ready once ready is closed.
type job struct {
	do func(ctx context.Context, w *writer) error

	folder   *folderWalk
	item     Item
	body     *body
	spooled  Spooled
	hash     Hash
	id       Identity
	likeness Identity
	size     int64  // of a job that needs no body
	reason   string // why it needs none
	err      error  // why the source has no bytes, or the target does not take them
	ready    chan struct{}
}

// weight is what the job takes of pass.memory.
func (j *job) weight() int64 {
	if j.body == nil {
		return 1
	}
	return min(j.body.size, bodyMemory) + 1<<10
}

// bytes is the size of the message.
func (j *job) bytes() int64 {
	if j.body == nil {
		return j.size
	}
	return j.body.size
}

// spool makes the item ready to be appended.
func (j *job) spool(ctx context.Context, target Target) {
	defer close(j.ready)
	r, err := j.body.open()
	if err == nil {
		j.spooled, err = target.Spool(ctx, r)
	}
	if j.err = err; err == nil {
		j.hash = j.spooled.Hash()
		if j.likeness = likenessOf(j.body.start()); j.item.Email != "" {
			j.likeness = likenessOfEmail(j.item.Email)
		}
		if j.folder.occupied {
			j.id = IdentityOf(j.body.start())
		}
		j.body.close() // only what is set aside is needed again
	}
}

// free gives back what the job holds beside its part of pass.memory.
func (j *job) free() {
	if j.spooled != nil {
		j.spooled.Close() // an error leaves a file that the target's start removes
	}
	if j.body != nil {
		j.body.close()
	}
}

// drop frees a job that was given to the spoolers, or is ready without them.
func (p *pass) drop(j *job) {
	if j.do != nil {
		return
	}
	<-j.ready
	j.free()
	p.memory.Release(j.weight())
}

// bodyMemory is the size up to which a body waits in memory.
const bodyMemory = 1 << 20

// body is a message between source and target: in memory, or in a file that
// has no name.
type body struct {
	size int64
	buf  *bytes.Buffer
	pool *sync.Pool // where buf goes back to
	file *os.File
}

// readBody reads r to its end. Its error is that of r, or one of the disk.
func (p *pass) readBody(r io.Reader) (*body, error) {
	b := &body{buf: p.buffers.Get().(*bytes.Buffer), pool: &p.buffers}
	n, err := io.Copy(b.buf, io.LimitReader(r, bodyMemory+1))
	b.size = n
	if err == nil && n > bodyMemory {
		err = b.spill(r, filepath.Dir(p.ledger.Path()))
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// spill moves a body that is too large for memory to a file, and the rest of r
// behind it.
func (b *body) spill(r io.Reader, dir string) error {
	f, err := os.CreateTemp(dir, ".migrate-*")
	if err != nil {
		return fmt.Errorf("making a file for a large message: %w", err)
	}
	b.file = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("making a file for a large message: %w", err)
	}
	if _, err := f.Write(b.buf.Bytes()); err != nil {
		return fmt.Errorf("writing a large message to a file: %w", err)
	}
	n, err := io.Copy(f, r)
	b.size += n
	return err
}

// start returns the first bytes, up to bodyMemory of them.
func (b *body) start() []byte { return b.buf.Bytes() }

// open returns the bytes from the start.
func (b *body) open() (io.Reader, error) {
	if b.file == nil {
		return bytes.NewReader(b.buf.Bytes()), nil
	}
	if _, err := b.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading a large message: %w", err)
	}
	return b.file, nil
}

// close frees the memory or the file. It may be called twice.
func (b *body) close() {
	if b.buf != nil {
		b.buf.Reset()
		b.pool.Put(b.buf)
		b.buf = nil
	}
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
}
