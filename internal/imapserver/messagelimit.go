package imapserver

import (
	"strconv"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// messageLimit returns the code that says how many messages a command may work
// on (MESSAGELIMIT, RFC 9738 §3.1).
func (c *conn) messageLimit() string {
	return "MESSAGELIMIT " + strconv.FormatInt(c.srv.cfg.Limits.Messages, 10)
}

// messageLimitCapability tells the limit.
func messageLimitCapability() capability {
	return capability{name: "MESSAGELIMIT", value: func(c *conn) string { return strconv.FormatInt(c.srv.cfg.Limits.Messages, 10) }}
}

// clip returns of the messages that a command is for those it may work on, the
// ones with the highest UIDs, and where that is not all the lowest of them.
func (c *conn) clip(spans []span) ([]span, mail.UID) {
	left := c.srv.cfg.Limits.Messages
	if count(spans) <= left {
		return spans, 0
	}
	i := len(spans) - 1
	for ; spans[i].len() < left; i-- {
		left -= spans[i].len()
	}
	from := spans[i].to - int(left) + 1
	return append([]span{{from, spans[i].to}}, spans[i+1:]...), c.sel.view.Snapshot().At(from).UID
}

// tooMany refuses a command that works on all of its messages or on none.
func (c *conn) tooMany() error { return no(c.messageLimit(), "too many messages for one command") }

// len returns how many messages are in the span.
func (s span) len() int64 { return int64(s.to - s.from + 1) }

// count returns how many messages are in spans.
func count(spans []span) int64 {
	n := int64(0)
	for _, s := range spans {
		n += s.len()
	}
	return n
}

// partly says that a command did a part of its work, down to a UID; 0: all.
func (c *conn) partly(r reply, lowest mail.UID) reply {
	if lowest == 0 {
		return r
	}
	if r.code == "" {
		r.code = c.partCode(lowest)
		r.text += " a part"
		return r
	}
	c.tellPart(lowest)
	return r
}

// tellPart says it ahead of a reply that has another code.
func (c *conn) tellPart(lowest mail.UID) {
	if lowest != 0 {
		c.out.Line("* NO [", c.partCode(lowest), "] this is a part")
	}
}

// partCode returns the code of a part.
func (c *conn) partCode(lowest mail.UID) string {
	return c.messageLimit() + " " + strconv.FormatUint(uint64(lowest), 10)
}

// searched returns where a search looks: where its outermost keys say, but at
// no more messages than a command may, down to a UID; 0: all.
func (c *conn) searched(s *searching, k *imapwire.SearchKey) ([]span, mail.UID, error) {
	spans := []span{{1, s.snap.Len()}}
	keys := []imapwire.SearchKey{*k}
	if k.Op == imapwire.SearchAnd {
		keys = k.Keys
	}
	for i := range keys {
		if op := keys[i].Op; op != imapwire.SearchSeq && op != imapwire.SearchUID {
			continue
		}
		var t test
		if err := s.compileSet(&t, &keys[i]); err != nil {
			return nil, 0, err
		}
		spans = overlap(spans, t.spans)
	}
	clipped, lowest := c.clip(spans)
	return clipped, lowest, nil
}

// overlap returns what two lists of spans share.
func overlap(a, b []span) []span {
	var out []span
	for i, j := 0, 0; i < len(a) && j < len(b); {
		from, to := max(a[i].from, b[j].from), min(a[i].to, b[j].to)
		if from <= to {
			out = append(out, span{from, to})
		}
		if a[i].to < b[j].to {
			i++
		} else {
			j++
		}
	}
	return out
}
