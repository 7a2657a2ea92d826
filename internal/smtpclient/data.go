package smtpclient

import (
	"bytes"
	"io"
)

// block writes into the session's buffer, each write within its time.
type block struct{ c *Conn }

// Write implements io.Writer.
func (b *block) Write(p []byte) (int, error) {
	if len(p) > b.c.out.Available() {
		if err := b.c.writeWithin(b.c.opt.Timeouts.DataBlock); err != nil {
			return 0, err
		}
	}
	return b.c.out.Write(p)
}

// data sends the message as DATA wants it.
func (t *transaction) data() error {
	w := &dotWriter{w: &block{t.Conn}}
	_, err := t.m.Body.WriteTo(w)
	if err == nil {
		err = w.end()
	}
	return t.fail(err)
}

// dotWriter doubles the dots that begin a line (RFC 5321 §4.5.2).
type dotWriter struct {
	w    io.Writer
	last [2]byte // what was written last
	some bool
}

// Write implements io.Writer.
func (d *dotWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if p[0] == '.' && (!d.some || d.last == [2]byte{'\r', '\n'}) {
			if _, err := d.w.Write([]byte{'.'}); err != nil {
				return 0, err
			}
		}
		n := len(p)
		if i := bytes.Index(p, []byte("\n.")); i >= 0 {
			n = i + 1 // up to the line end
		}
		if _, err := d.w.Write(p[:n]); err != nil {
			return 0, err
		}
		d.keep(p[:n])
		p = p[n:]
	}
	return total, nil
}

// keep remembers the last two bytes.
func (d *dotWriter) keep(p []byte) {
	d.some = true
	if len(p) > 1 {
		d.last = [2]byte{p[len(p)-2], p[len(p)-1]}
	} else {
		d.last = [2]byte{d.last[1], p[0]}
	}
}

// end writes the line end that the message may lack and the dot.
func (d *dotWriter) end() error {
	tail := ".\r\n"
	if d.some && d.last != [2]byte{'\r', '\n'} {
		tail = "\r\n.\r\n"
	}
	_, err := io.WriteString(d.w, tail)
	return err
}
