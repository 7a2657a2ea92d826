package imapserver

import (
	"time"

	"expost/internal/imapwire"
)

// progress tells a client how far a command is that takes long (RFC 9585), so
// that it does not give up.
type progress struct {
	c     *conn
	total int // messages to look at
	told  time.Time
}

// newProgress begins to count the time of a command.
func (c *conn) newProgress(total int) progress {
	return progress{c: c, total: total, told: time.Now()}
}

// at tells that a number of messages are done, where it is time to tell.
func (p *progress) at(done int) error {
	if time.Since(p.told) < p.c.srv.cfg.Limits.Progress {
		return nil
	}
	p.told = time.Now()
	o := &p.c.out
	o.Text("* OK [INPROGRESS (")
	o.b = imapwire.AppendString(o.b, p.c.tag, false)
	o.Text(" ")
	o.Number(int64(done))
	o.Text(" ")
	o.Number(int64(p.total))
	o.Line(")] still at work")
	return o.Flush()
}
