package imapserver

import (
	"bytes"
	"context"
	"net"
	"sync"

	"github.com/klauspost/compress/flate"
)

// compressCommand is COMPRESS=DEFLATE (RFC 4978). It is not offered before
// login, so that a stranger cannot make the server decompress.
func compressCommand() command {
	return command{
		name: "COMPRESS", in: loggedIn,
		caps: []capability{{name: "COMPRESS=DEFLATE", in: loggedIn, when: func(c *conn) bool { return !c.compressed() }}},
		run: func(_ context.Context, c *conn) (reply, error) {
			c.dec.SP()
			mechanism := c.dec.Keyword()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			if mechanism != "DEFLATE" {
				return reply{}, bad("unknown compression " + mechanism)
			}
			if c.compressed() {
				return reply{}, no("COMPRESSIONACTIVE", "the connection is compressed already")
			}
			if c.in.Buffered() > 0 || len(c.first) > 0 {
				return reply{}, bad("nothing may follow COMPRESS before its answer")
			}
			rep := ok("", "compression begins")
			rep.then = c.startCompression
			return rep, nil
		},
	}
}

// compressed tells whether COMPRESS was given.
func (c *conn) compressed() bool {
	_, is := c.nc.(*compressedConn)
	return is
}

// startCompression compresses and decompresses what follows the OK.
func (c *conn) startCompression(context.Context) error {
	if err := c.out.Flush(); err != nil {
		return err
	}
	z := &compressedConn{Conn: c.nc, stream: newInflater(), buffers: &c.srv.buffers.compressed}
	c.nc, c.out.nc = z, z
	return nil
}

// compressedConn compresses what is written and decompresses what is read. A
// write is compressed for itself, so that nothing is kept for the next one; of
// what was read the part stays that the client may refer to.
type compressedConn struct {
	net.Conn
	stream  *inflater
	few     [64]byte // where compressed bytes arrive while there is no buffer
	buffers *sync.Pool
	buffer  *[readBuffer]byte // borrowed while it has bytes; may be nil
}

// Read returns what can be decompressed, waiting only where that is nothing.
func (z *compressedConn) Read(p []byte) (int, error) {
	for {
		n, err := z.stream.read(p)
		if n > 0 || err != nil || len(p) == 0 {
			z.giveBack()
			return n, err
		}
		to := z.few[:]
		if len(p) > len(to) {
			if z.buffer == nil {
				z.buffer = z.buffers.Get().(*[readBuffer]byte)
			}
			to = z.buffer[:]
		}
		n, err = z.Conn.Read(to)
		if n == 0 && err != nil {
			z.giveBack()
			return 0, err
		}
		z.stream.feed(to[:n])
	}
}

// giveBack returns the buffer, unless there are bytes in it.
func (z *compressedConn) giveBack() {
	if z.buffer != nil && len(z.stream.in) == 0 {
		z.buffers.Put(z.buffer)
		z.buffer = nil
	}
}

// Write compresses p so that the client can decompress all of it.
func (z *compressedConn) Write(p []byte) (int, error) {
	var b bytes.Buffer
	b.Grow(len(p)/2 + 64)
	if err := flate.StatelessDeflate(&b, p, false, nil); err != nil {
		return 0, err
	}
	if _, err := z.Conn.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
