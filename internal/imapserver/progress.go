package imapserver

import (
	"sync"
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

// during runs a step of the store, and tells meanwhile that the server is at
// work: how far it is nobody knows (RFC 9585 §4).
func (c *conn) during(step func() error) error {
	var mu sync.Mutex
	ended := false
	every := c.srv.cfg.Limits.Progress
	var timer *time.Timer
	mu.Lock()
	timer = time.AfterFunc(every, func() {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return
		}
		c.out.Text("* OK [INPROGRESS (")
		c.out.b = imapwire.AppendString(c.out.b, c.tag, false)
		c.out.Line(" NIL NIL)] still at work")
		if c.out.Flush() == nil { // else the client is gone: the step ends all the same
			timer.Reset(every)
		}
	})
	mu.Unlock()
	defer func() {
		timer.Stop()
		mu.Lock()
		ended = true
		mu.Unlock()
	}()
	return step()
}
