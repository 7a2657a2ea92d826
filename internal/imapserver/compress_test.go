package imapserver_test

import (
	"bufio"
	"compress/flate"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// deflated is a client's compressed connection.
type deflated struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func (d *deflated) Read(p []byte) (int, error) { return d.r.Read(p) }

func (d *deflated) Write(p []byte) (int, error) {
	if _, err := d.w.Write(p); err != nil {
		return 0, err
	}
	return len(p), d.w.Flush()
}

// compress makes the peer compress what follows.
func (p *peer) compress() {
	p.t.Helper()
	p.must("COMPRESS DEFLATE")
	w, err := flate.NewWriter(p.nc, 6)
	if err != nil {
		p.t.Fatal(err)
	}
	p.nc = &deflated{Conn: p.nc, r: flate.NewReader(bufio.NewReader(p.nc)), w: w}
	p.r = bufio.NewReader(p.nc)
}

func TestCompress(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.dial(t)
	if greeting := p.line(); strings.Contains(greeting, "COMPRESS") {
		t.Errorf("offered before login: %s", greeting)
	}
	if _, tagged := p.do("COMPRESS DEFLATE"); !strings.HasPrefix(tagged, "BAD") {
		t.Errorf("before login: %s", tagged)
	}
	p.must("LOGIN ajay secret")
	if caps := p.must("CAPABILITY")[0]; !strings.Contains(caps, " COMPRESS=DEFLATE") {
		t.Errorf("not offered: %s", caps)
	}
	if _, tagged := p.do("COMPRESS LZW"); !strings.HasPrefix(tagged, "BAD") {
		t.Errorf("another mechanism: %s", tagged)
	}
	p.compress()
	if caps := p.must("CAPABILITY")[0]; strings.Contains(caps, "COMPRESS") {
		t.Errorf("offered again: %s", caps)
	}
	if _, tagged := p.do("COMPRESS DEFLATE"); !strings.HasPrefix(tagged, "NO [COMPRESSIONACTIVE]") {
		t.Errorf("twice: %s", tagged)
	}
	msg := "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 1<<14)
	p.must("APPEND INBOX {" + strconv.Itoa(len(msg)) + "+}\r\n" + msg)
	p.must("SELECT INBOX")
	p.send("x FETCH 1 BODY.PEEK[]\r\n")
	p.line()
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(p.r, got); err != nil || string(got) != msg {
		t.Errorf("the bytes differ (%v)", err)
	}
	p.line()
	p.line()
	p.send("y IDLE\r\n")
	p.line()
	s.deliver(t, "INBOX", "Subject: x\r\n\r\n")
	if got := p.line(); got != "* 2 EXISTS" {
		t.Errorf("while idle: %s", got)
	}
	p.line()
	p.send("DONE\r\n")
	p.line()
	if _, tagged := p.do("LOGOUT"); !strings.HasPrefix(tagged, "OK") {
		t.Errorf("LOGOUT: %s", tagged)
	}
}

// Commands that were sent before compression begins would be taken for
// compressed ones.
func TestCompressPipelined(t *testing.T) {
	t.Parallel()
	p := newSite(t, nil).login(t)
	p.send("a COMPRESS DEFLATE\r\nb NOOP\r\n")
	if got := p.line(); !strings.HasPrefix(got, "a BAD") {
		t.Errorf("hears %s", got)
	}
	if got := p.line(); !strings.HasPrefix(got, "b OK") {
		t.Errorf("then hears %s", got)
	}
}

// Bytes that are not compressed end the connection and nothing else.
func TestCompressNonsense(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.login(t)
	p.must("COMPRESS DEFLATE")
	p.send("a NOOP\r\nb NOOP\r\nc NOOP\r\n\xff\xff\xff\xff")
	p.deadline()
	if _, err := io.Copy(io.Discard, p.nc); err != nil {
		t.Errorf("the connection does not end: %v", err)
	}
	s.login(t).must("NOOP")
}
