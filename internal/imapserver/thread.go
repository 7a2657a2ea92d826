package imapserver

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/message"
)

// threadCommand is THREAD (RFC 5256 §4).
func threadCommand() command {
	return command{name: "THREAD", in: selected, keepsNumbers: true, takesNumbers: true, caps: caps("THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES"), run: func(ctx context.Context, c *conn) (reply, error) {
		return c.thread(ctx, false)
	}}
}

// uidThreadCommand is UID THREAD.
func uidThreadCommand() command {
	return command{name: "UID THREAD", in: selected, run: func(ctx context.Context, c *conn) (reply, error) {
		return c.thread(ctx, true)
	}}
}

func (c *conn) thread(ctx context.Context, uids bool) (reply, error) {
	algorithm, cmd := c.dec.Thread()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	build := threadByReferences
	switch algorithm {
	case "REFERENCES":
	case "ORDEREDSUBJECT":
		build = threadBySubject
	default:
		return reply{}, bad("unknown threading algorithm " + algorithm)
	}
	hits, _, err := c.find(ctx, &cmd, true)
	if err != nil {
		return reply{}, err
	}
	var msgs []*threaded
	err = c.details(ctx, hits, func(h hit, m *mail.Message, parsed *message.Message) {
		base := message.BaseSubject(parsed.Envelope.Subject)
		msgs = append(msgs, &threaded{
			number: h.number(uids), sent: sentAt(m, parsed), refs: parsed.Refs,
			subject: foldString(base), isReply: isReply(parsed.Envelope.Subject, base),
		})
	})
	if err != nil {
		return reply{}, err
	}
	c.out.Text("* THREAD")
	for i, root := range build(msgs) {
		if i == 0 {
			c.out.Text(" ")
		}
		c.out.Text("(")
		c.writeThread(root)
		c.out.Text(")")
		c.out.Spill()
	}
	c.out.Line()
	return ok("", "threaded"), c.out.err
}

// writeThread writes a message and those below it (RFC 5256 §4 thread-members).
func (c *conn) writeThread(t *threaded) {
	for first := true; ; first = false {
		if t.number != 0 {
			if !first {
				c.out.Text(" ")
			}
			c.out.Number(t.number)
		}
		if len(t.children) != 1 {
			break
		}
		t = t.children[0]
	}
	if len(t.children) > 1 && t.number != 0 {
		c.out.Text(" ")
	}
	for _, child := range t.children {
		c.out.Text("(")
		c.writeThread(child)
		c.out.Text(")")
	}
}

// threaded is a message in a tree of threads. One without a number stands for
// a message that is not there.
type threaded struct {
	number   int64
	sent     int64 // seconds since 1970
	subject  string
	isReply  bool
	refs     message.Refs
	parent   *threaded
	hasBelow bool // it is or was the parent of another
	children []*threaded
}

// isReply tells whether a subject has lost more on the way to its base subject
// than blobs such as "[list]" (RFC 5256 §2.1).
func isReply(subject, base string) bool {
	s := strings.ToLower(strings.Join(strings.Fields(message.DecodeHeader(subject)), " "))
	for s != base && strings.HasPrefix(s, "[") {
		_, rest, closed := strings.Cut(s, "]")
		if !closed {
			break
		}
		s = strings.TrimSpace(rest)
	}
	return s != base
}

// byDate orders by sent date, then by number; a missing message counts as its
// first child.
func byDate(a, b *threaded) int {
	a, b = a.present(), b.present()
	return cmp.Or(cmp.Compare(a.sent, b.sent), cmp.Compare(a.number, b.number))
}

// present returns the message, or the first one below it that is there.
func (t *threaded) present() *threaded {
	for t.number == 0 && len(t.children) > 0 {
		t = t.children[0]
	}
	return t
}

// threadBySubject is ORDEREDSUBJECT: those of one subject in the order they were
// sent, all below the first.
func threadBySubject(msgs []*threaded) []*threaded {
	slices.SortFunc(msgs, byDate)
	bySubject := map[string]*threaded{}
	var roots []*threaded
	for _, m := range msgs {
		if root := bySubject[m.subject]; root != nil {
			root.children = append(root.children, m)
			continue
		}
		bySubject[m.subject] = m
		roots = append(roots, m)
	}
	return roots
}

// threadByReferences is REFERENCES, the algorithm of Jamie Zawinski.
func threadByReferences(msgs []*threaded) []*threaded {
	var all []*threaded // in the order of their appearance, so that the result is stable
	byID := map[string]*threaded{}
	find := func(id string) *threaded {
		t := byID[id]
		if t == nil {
			t = &threaded{}
			byID[id] = t
			all = append(all, t)
		}
		return t
	}
	for _, m := range msgs { // (1)
		t := m
		if id := m.refs.MessageID; id == "" {
			all = append(all, t)
		} else if t = find(id); t.number == 0 {
			t.number, t.sent, t.subject, t.isReply, t.refs = m.number, m.sent, m.subject, m.isReply, m.refs
		} else { // a second one of the same id
			t = m
			all = append(all, t)
		}
		var parent *threaded
		for _, id := range m.refs.References {
			ref := find(id)
			if parent != nil && ref.parent == nil {
				ref.adopt(parent)
			}
			parent = ref
		}
		t.parent = nil
		if parent != nil {
			t.adopt(parent)
		}
	}
	root := &threaded{}
	for _, t := range all {
		if t.parent == nil {
			root.children = append(root.children, t)
		} else {
			t.parent.children = append(t.parent.children, t)
		}
	}
	root.prune(true) // (3)
	root.sort()      // (4)
	root.gather()    // (5)
	root.sort()      // (6)
	return root.children
}

// adopt puts t below parent, unless that would make a loop.
func (t *threaded) adopt(parent *threaded) {
	for p := parent; p != nil && t.hasBelow; p = p.parent {
		if p == t {
			return
		}
	}
	t.parent, parent.hasBelow = parent, true
}

// prune removes missing messages: their children move up, but at the top only
// a single child does.
func (t *threaded) prune(top bool) {
	var kept []*threaded
	for _, child := range t.children {
		child.prune(false)
		switch {
		case child.number != 0:
			kept = append(kept, child)
		case !top || len(child.children) <= 1:
			kept = append(kept, child.children...)
		default:
			kept = append(kept, child)
		}
	}
	t.children = kept
}

// sort orders the children by date, all the way down.
func (t *threaded) sort() {
	for _, child := range t.children {
		child.sort()
	}
	slices.SortFunc(t.children, byDate)
}

// gather joins the threads of one subject (RFC 5256 §4 step 5).
func (t *threaded) gather() {
	table := map[string]*threaded{}
	for _, child := range t.children {
		subject := child.present().subject
		if subject == "" {
			continue
		}
		old := table[subject]
		if old == nil || child.number == 0 && old.number != 0 || old.number != 0 && old.isReply && child.number != 0 && !child.isReply {
			table[subject] = child
		}
	}
	var kept []*threaded
	joined := map[*threaded]*threaded{} // a thread of the table and the one that took its place
	for _, child := range t.children {
		first := table[child.present().subject]
		switch {
		case first == nil || first == child:
			kept = append(kept, child)
		case first.number == 0 && child.number == 0:
			first.children = append(first.children, child.children...)
		case first.number == 0 || child.number != 0 && child.isReply && !first.isReply:
			first.children = append(first.children, child)
		case joined[first] != nil:
			joined[first].children = append(joined[first].children, child)
		default:
			both := &threaded{subject: first.subject}
			both.children = []*threaded{first, child}
			joined[first] = both
		}
	}
	for i, child := range kept {
		if both := joined[child]; both != nil {
			kept[i] = both
		}
	}
	t.children = kept
}
