package smtpserver

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"strings"
)

// bdat is BDAT (RFC 3030 §2). The first chunk starts a message; the further ones
// are read by the chunks that the message is read from.
func (c *conn) bdat(ctx context.Context, arg string) reply {
	size, last, ok := parseBDAT(arg)
	if !ok {
		return badBDAT()
	}
	c.wire.expectData()
	ch := &chunks{c: c, left: size, last: last}
	if r := c.ready(); r.refused() {
		return ch.skip(r)
	}
	b := newBody(bufio.NewReaderSize(ch, readBuffer), bodyOptions{limit: c.cfg.Limits.MessageSize})
	ch.body = b
	return ch.skip(c.receive(ctx, b))
}

// parseBDAT reads "size" or "size LAST".
func parseBDAT(arg string) (size int64, last, ok bool) {
	number, rest, _ := strings.Cut(arg, " ")
	size, err := strconv.ParseInt(number, 10, 64)
	last = strings.EqualFold(rest, "LAST")
	return size, last, err == nil && size >= 0 && number[0] != '+' && (last || rest == "")
}

// badBDAT ends the session, because where the chunk ends is not known.
func badBDAT() reply {
	return reply{code: 501, status: "5.5.4", text: "BDAT takes a number of bytes and LAST"}.closing()
}

// chunks is an io.Reader over the chunks of a message. Where one ends and it is
// not the last, it answers it and reads the next command.
type chunks struct {
	c    *conn
	body *body
	left int64 // bytes of the present chunk
	last bool
}

// Read returns bytes of the present chunk, and io.EOF at the end of the last.
func (ch *chunks) Read(p []byte) (int, error) {
	for ch.left == 0 {
		if ch.last {
			return 0, io.EOF
		}
		if err := ch.next(); err != nil {
			return 0, err
		}
	}
	n, err := ch.c.wire.in.Read(p[:min(int64(len(p)), ch.left)])
	ch.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next answers a chunk and reads commands until another begins.
func (ch *chunks) next() error {
	r := reply{code: 250, status: "2.0.0", text: "chunk received"}
	for {
		ch.c.write(r)
		line, err := ch.c.wire.readLine(commandLine, ch.c.strict)
		if err == errLineTooLong {
			line, err = nil, nil
		}
		if err != nil {
			return err
		}
		verb, arg, _ := splitCommand(line)
		switch verb {
		case "BDAT":
			var ok bool
			if ch.left, ch.last, ok = parseBDAT(arg); !ok {
				ch.left = 0
				return ch.abort(badBDAT())
			}
			return nil
		case "RSET":
			return ch.abort(ch.c.rset(arg))
		case "QUIT":
			return ch.abort(reply{code: 221, status: "2.0.0", text: "bye"}.closing())
		case "NOOP":
			r = ch.c.noop(verb)
		default:
			r = reply{code: 503, status: "5.5.1", text: "BDAT or RSET"}
		}
		if r = ch.c.limit(r); r.end {
			return ch.abort(r)
		}
	}
}

// abort ends the message; r answers the command that did.
func (ch *chunks) abort(r reply) error {
	ch.body.aborted = r
	return errAborted
}

// skip reads over the rest of a chunk that is refused with r.
func (ch *chunks) skip(r reply) reply {
	if r.end || ch.left == 0 {
		return r
	}
	if ch.left > ch.c.cfg.Limits.MessageSize+maxDrain {
		return r.closing()
	}
	if _, err := io.CopyN(io.Discard, ch.c.wire.in, ch.left); err != nil {
		return ch.c.broken(err)
	}
	return r
}
