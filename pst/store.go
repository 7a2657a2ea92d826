package pst

import (
	"fmt"
	"io"
	"sync"

	"expost/mapi"
)

// The ids of special nodes ([MS-PST] 2.4.1), and the types of ids (2.2.2.1).
const (
	nidStore          = 0x21
	nidNames          = 0x61
	nidRoot           = 0x122
	nidReceiveFolders = 0x62B
	nidAttachments    = 0x671
	nidRecipients     = 0x692

	typeFolder         = 0x02
	typeMessage        = 0x04
	typeAttachment     = 0x05
	typeAssociated     = 0x08
	typeHierarchy      = 0x0D
	typeContents       = 0x0E
	typeAssociatedList = 0x0F
)

// Options are the choices of Open. The zero value is good.
type Options struct {
	// Report is told what is damaged and read all the same, a place once. It may
	// be called from any goroutine that reads, one at a time.
	Report func(error)

	// MaxValue is the size in bytes above which Value refuses a property, which
	// Open still reads. 0 is 64 MiB.
	MaxValue int

	// Decode decodes the names of the folders of ANSI files, which are in a code
	// page that the file seldom names. nil is Latin-1.
	Decode func([]byte) string

	// CacheSize bounds the blocks and pages kept in memory, in bytes. 0 is 8 MiB.
	CacheSize int
}

// File is an open PST, OST or PAB. Several goroutines may use it; each Folder,
// Message or Attachment is for one at a time.
type File struct {
	r      io.ReaderAt
	ahead  *readAhead
	size   int64
	opt    Options
	header *header
	format *format
	dir    directory

	pages  *cache[*page]
	cached *cache[[]byte]

	reporting sync.Mutex
	reported  map[string]bool

	namesOnce   sync.Once
	names       *names
	childOnce   sync.Once
	children    children
	specialOnce sync.Once
	special     map[uint32]Kind
}

// Open reads the header of a file of size bytes and finds its trees. Where
// their roots are lost it scans the whole file, as Recover does. Its error is ErrFormat,
// ErrProtected or ErrTruncated with a reason, or r's.
func Open(r io.ReaderAt, size int64, opt Options) (*File, error) {
	if opt.MaxValue <= 0 {
		opt.MaxValue = 64 << 20
	}
	if opt.CacheSize <= 0 {
		opt.CacheSize = 8 << 20
	}
	if opt.Decode == nil {
		opt.Decode = latin1
	}
	f := &File{r: r, ahead: &readAhead{r: r, size: size}, size: size, opt: opt, reported: make(map[string]bool),
		pages: newCache[*page](opt.CacheSize / 4), cached: newCache[[]byte](opt.CacheSize / 4 * 3)}
	h, err := readHeader(r, size, f.report)
	if err != nil {
		return nil, fmt.Errorf("opening a PST file: %w", err)
	}
	f.header, f.format = h, h.format
	f.dir = trees{f}
	_, errN := f.page(h.nbt, pageNBT)
	_, errB := f.page(h.bbt, pageBBT)
	if errN == nil && errB == nil {
		return f, nil
	}
	for _, err := range []error{errN, errB} {
		if err != nil {
			f.report(err)
		}
	}
	return f.reopen()
}

// reopen rebuilds the trees of a file whose roots are lost.
func (f *File) reopen() (*File, error) {
	g, err := f.Recover()
	if err != nil {
		return nil, fmt.Errorf("opening a PST file: %w", err)
	}
	if len(g.dir.(*rebuilt).list) > 0 {
		return g, nil
	}
	if f.header.eof > uint64(f.size) {
		return nil, fmt.Errorf("opening a PST file: %w: it has %d of %d bytes, and nothing readable in them", ErrTruncated, f.size, f.header.eof)
	}
	return nil, fmt.Errorf("opening a PST file: %w: after its header nothing readable was found", ErrFormat)
}

// Type tells what the file was made for.
func (f *File) Type() Type { return f.header.typ }

// Format describes the variant of the file, for people.
func (f *File) Format() string {
	crypt := map[byte]string{cryptNone: "not encoded", cryptPermute: "permuted", cryptCyclic: "cyclic"}
	return fmt.Sprintf("%s, %s, version %d, %s", f.header.typ, f.format.name, f.header.ver, crypt[f.header.crypt])
}

// Store returns the properties of the message store ([MS-PST] 2.4.3).
func (f *File) Store() (mapi.Properties, error) {
	p, err := f.open(nidStore)
	if err != nil {
		return nil, err // not p: it would be an interface that is not nil
	}
	return p, nil
}

// open reads the properties of a node of the file.
func (f *File) open(nid uint32) (*properties, error) {
	n, err := f.openNode(nid)
	if err != nil {
		return nil, err
	}
	return openProperties(n)
}

// report tells of damage that does not end the reading.
func (f *File) report(err error) {
	f.reporting.Lock()
	defer f.reporting.Unlock()
	s := err.Error()
	if f.opt.Report == nil || f.reported[s] {
		return
	}
	if len(f.reported) < 10000 {
		f.reported[s] = true
	}
	f.opt.Report(err)
}
