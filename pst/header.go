package pst

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Type tells what a file was made for.
type Type string

// The types of file, by wMagicClient ([MS-PST] 2.2.2.6).
const (
	PST Type = "PST"
	OST Type = "OST"
	PAB Type = "PAB"
)

// ref is a BREF: the id and the offset of a page ([MS-PST] 2.2.2.4).
type ref struct{ bid, ib uint64 }

// header is what is used of the file's header ([MS-PST] 2.2.2.6).
type header struct {
	format *format
	typ    Type
	ver    uint16
	crypt  byte
	eof    uint64 // the size the file should have
	nbt    ref
	bbt    ref
}

// headerSize is that of the Unicode header, the larger.
const headerSize = 564

// readHeader reads the header or says why the file cannot be read. Wrong
// checksums are told to report.
func readHeader(r io.ReaderAt, size int64, report func(error)) (*header, error) {
	b := make([]byte, headerSize)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	b = b[:n]
	if !bytes.HasPrefix(b, []byte("!BDN")) {
		return nil, foreign(b)
	}
	if n < 512 || size < headerSize {
		return nil, fmt.Errorf("%w: it ends within its header, after %d bytes", ErrTruncated, n)
	}
	h := &header{ver: le.Uint16(b[10:])}
	if h.typ, err = clientType(string(b[8:10])); err != nil {
		return nil, err
	}
	if err := h.layout(b); err != nil {
		return nil, err
	}
	switch {
	case h.crypt == cryptProtected:
		return nil, fmt.Errorf("%w (Windows Information Protection): the key is not in the file; export it again on a machine that may open it", ErrProtected)
	case h.crypt > cryptCyclic:
		report(damaged(Place{}, "encoding method %#x is unknown: read as not encoded", h.crypt))
		h.crypt = cryptNone
	}
	if sum := checksum(b[8 : 8+471]); sum != le.Uint32(b[4:]) {
		report(damaged(Place{}, "checksum is %#x, should be %#x", sum, le.Uint32(b[4:])))
	}
	if h.eof > uint64(size) {
		report(damaged(Place{Offset: size}, "%w: it has %d of %d bytes", ErrTruncated, size, h.eof))
	}
	return h, nil
}

func clientType(magic string) (Type, error) {
	switch magic {
	case "SM":
		return PST, nil
	case "SO":
		return OST, nil
	case "AB", "BA": // sources differ in the order
		return PAB, nil
	}
	return "", fmt.Errorf("%w: its client signature is %q", ErrFormat, magic)
}

// layout reads the fields whose place depends on the version.
func (h *header) layout(b []byte) error {
	root, crypt := 180, 513
	switch {
	case h.ver == 14 || h.ver == 15:
		h.format, root, crypt = ansiFormat(), 164, 461
	case h.ver == 36 || h.ver == 37:
		h.format = largeFormat()
	case h.ver >= 23:
		h.format = unicodeFormat()
	default:
		return fmt.Errorf("%w: version %d is unknown", ErrFormat, h.ver)
	}
	f, n := h.format, h.format.idSize()
	h.crypt = b[crypt]
	h.eof = f.id(b[root+4:])
	at := b[root+4+4*n:] // past ibFileEof, ibAMapLast, cbAMapFree, cbPMapFree ([MS-PST] 2.2.2.5)
	h.nbt = ref{f.id(at), f.id(at[n:])}
	h.bbt = ref{f.id(at[2*n:]), f.id(at[3*n:])}
	return nil
}

// foreign says what a file is that does not begin as a PST does.
func foreign(b []byte) error {
	low := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))))
	what := ""
	switch {
	case len(b) == 0:
		what = "it is empty"
	case bytes.HasPrefix(low, []byte("<!doctype")), bytes.HasPrefix(low, []byte("<html")), bytes.HasPrefix(low, []byte("<?xml")):
		what = "it is a web page or XML, perhaps the error page of a download"
	case bytes.HasPrefix(b, []byte("PK\x03\x04")), bytes.HasPrefix(b, []byte("\x1F\x8B")), bytes.HasPrefix(b, []byte("Rar!")), bytes.HasPrefix(b, []byte("7z\xBC\xAF")):
		what = "it is an archive; unpack it"
	case bytes.HasPrefix(b, []byte("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")):
		what = "it is a compound file, such as an Outlook .msg"
	case bytes.Contains(b[:min(64, len(b))], []byte("R\x00O\x00B\x00S\x00")):
		return fmt.Errorf("%w (EFS): it is a raw copy; decrypt it with the key of its owner", ErrProtected)
	case len(bytes.Trim(b, "\x00")) == 0:
		what = "it begins with zeros"
	default:
		what = fmt.Sprintf("it begins with %q, not %q", b[:min(4, len(b))], "!BDN")
	}
	return fmt.Errorf("%w: %s", ErrFormat, what)
}
