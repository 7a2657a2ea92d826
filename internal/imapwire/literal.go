package imapwire

import (
	"bytes"
	"io"
	"strconv"
)

// Literal announces the bytes that follow a line (RFC 9051 §4.3, RFC 7888,
// RFC 3516 §4.4).
type Literal struct {
	Size   int64
	Binary bool // literal8: may hold NUL
	Asked  bool // synchronizing: the client waits to be asked
}

// literalReader streams a literal out of the Decoder's reader.
type literalReader struct {
	d    *Decoder
	left int64
}

// Read returns bytes of the literal, and io.EOF behind its last.
func (l *literalReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.d.r.Read(p)
	l.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		l.d.lose(err)
	}
	return n, err
}

// LiteralHeader reads the announcement of a literal, which ends the line. The
// bytes stay unread: call OpenLiteral and CloseLiteral, or Finish to decline.
func (d *Decoder) LiteralHeader() Literal {
	start := d.off
	lit := Literal{Binary: d.Try('~'), Asked: true}
	d.Expect('{')
	lit.Size = d.Number()
	if d.Try('+') || d.Try('-') {
		lit.Asked = false
	}
	d.Expect('}')
	if d.err == nil && d.off != len(d.line) {
		d.Fail("a literal must be announced at the end of a line")
	}
	if d.err != nil || !lit.Asked {
		d.off = min(start, len(d.line)) // so that Finish finds it
	}
	return lit
}

// OpenLiteral invites the literal that LiteralHeader returned and gives its
// bytes as they come.
func (d *Decoder) OpenLiteral(lit Literal) (io.Reader, error) {
	if d.err != nil {
		return nil, d.err
	}
	d.off = len(d.line)
	if lit.Asked {
		if err := d.ask(); err != nil {
			d.err = err
			return nil, err
		}
	}
	d.base += lit.Size
	d.lit = &literalReader{d, lit.Size}
	return d.lit, nil
}

// CloseLiteral skips what is left of the open literal and goes on with the
// line behind it.
func (d *Decoder) CloseLiteral() error {
	l := d.lit
	d.lit = nil
	if l.left > d.lim.Skip {
		return ErrFlood
	}
	if _, err := io.Copy(io.Discard, l); err != nil {
		return err
	}
	return d.readLine()
}

// literal reads a literal into memory.
func (d *Decoder) literal() string {
	lit := d.LiteralHeader()
	if d.err != nil {
		return ""
	}
	if d.held += lit.Size; lit.Size > d.lim.Literal || d.held > d.lim.Literal {
		d.tooBig("literals are larger than " + strconv.FormatInt(d.lim.Literal, 10) + " bytes")
		return ""
	}
	r, err := d.OpenLiteral(lit)
	if err != nil {
		return ""
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return ""
	}
	if d.CloseLiteral() != nil {
		return ""
	}
	if !lit.Binary && bytes.IndexByte(b, 0) >= 0 {
		d.Fail("a literal holds NUL")
	}
	return string(b)
}
