package pst

import (
	"io"
	"sync"
)

// readAhead reads more than is asked for where reads follow one another, as those
// of the blocks of an item and of the next item mostly do. Others pass as they
// are. It may be used by several goroutines.
type readAhead struct {
	r    io.ReaderAt
	size int64

	mu    sync.Mutex
	buf   []byte // what was read ahead
	at    int64  // where it lies
	next  int64  // where a read would follow the last one
	inRow int    // how many did
}

// aheadSize is how much is read at once; near is how far behind the last one a
// read still follows it.
const (
	aheadSize = 128 << 10
	near      = 16 << 10
	patience  = 2
)

// ReadAt implements io.ReaderAt.
func (a *readAhead) ReadAt(p []byte, off int64) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	end := off + int64(len(p))
	if off >= a.at && end <= a.at+int64(len(a.buf)) {
		a.next = end
		return copy(p, a.buf[off-a.at:]), nil
	}
	if off >= a.next-near && off <= a.next+near {
		a.inRow++
	} else {
		a.inRow = 0
	}
	a.next = end
	if a.inRow < patience || len(p) >= aheadSize {
		return a.r.ReadAt(p, off)
	}
	if cap(a.buf) == 0 {
		a.buf = make([]byte, aheadSize)
	}
	want := min(aheadSize, a.size-off)
	n, err := a.r.ReadAt(a.buf[:want], off)
	a.buf, a.at = a.buf[:n], off
	if n < len(p) {
		copy(p, a.buf)
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	return copy(p, a.buf), nil // an error behind it is told when that is read
}
