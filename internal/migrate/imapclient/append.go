package imapclient

import (
	"fmt"
	"io"

	"expost/internal/mail"
)

// Append is a message on its way into a mailbox.
type Append struct {
	Mailbox  string // as on the wire
	Flags    mail.Flags
	Keywords mail.Keywords
	Date     mail.Date // the zero Date: the server's present time
	Size     int64
	Body     io.Reader // Size bytes
}

// Append sends an APPEND command: call Wait with its tag, in the order of
// sending; Code then has what UIDPLUS says. Where the server knows literals that
// need no leave (RFC 7888) it returns as soon as the bytes are sent.
func (c *Client) Append(a Append) (tag string, err error) {
	free, err := c.Has("LITERAL+")
	if err != nil {
		return "", err
	}
	tag = c.begin("APPEND")
	c.w.WriteByte(' ')
	if err := c.writeText(tag, a.Mailbox); err != nil {
		return "", err
	}
	c.w.WriteString(" (" + markText(a.Flags, a.Keywords) + ")")
	if a.Date != (mail.Date{}) {
		c.w.WriteString(` "` + a.Date.Time().Format("02-Jan-2006 15:04:05 -0700") + `"`)
	}
	plus := ""
	if free {
		plus = "+"
	}
	fmt.Fprintf(c.w, " {%d%s}\r\n", a.Size, plus)
	if !free {
		if err := c.flush(); err != nil {
			return "", err
		}
		if err := c.wait(tag, nil, true); err != errContinue {
			return "", err
		}
	}
	if n, err := io.CopyN(c.w, a.Body, a.Size); err != nil {
		return "", mail.WrapError(mail.KindUnavailable, err, "sending a message, %d of %d bytes", n, a.Size)
	}
	c.w.WriteString("\r\n")
	return tag, c.flush()
}

// markText writes flags and keywords as a flag list without parentheses.
func markText(f mail.Flags, k mail.Keywords) string {
	switch {
	case f == 0:
		return k.String()
	case k == mail.Keywords{}:
		return f.String()
	}
	return f.String() + " " + k.String()
}
