package pst

import (
	"expost/mapi"
)

// The properties that make an embedded message, and PidTagAttachMethod's value
// for it ([MS-OXCMSG] 2.2.2.9).
const (
	tagAttachObject = mapi.Tag(0x3701<<16) | mapi.Tag(mapi.TypeObject)
	idAttachMethod  = 0x3705
	methodEmbedded  = 5
)

// Attachment is an attachment of any method ([MS-PST] 2.4.6.2). The bytes of a
// file are its PidTagAttachDataBinary, of an OLE object its
// PidTagAttachDataObject; both may be opened.
type Attachment struct {
	*properties
	node *node
	nest *nest
}

var _ mapi.Attachment = (*Attachment)(nil)

func (m *Message) attachment(nid uint32) (*Attachment, error) {
	n, ok, err := m.node.subnode(nid)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, damaged(Place{Node: m.node.top}, "attachment %#x is in the table but not there", nid)
	}
	p, err := openProperties(n)
	if err != nil {
		return nil, err
	}
	return &Attachment{p, n, m.nest}, nil
}

// ID returns the attachment's node id, unique in its message.
func (a *Attachment) ID() uint32 { return a.node.nid }

// Message implements mapi.Attachment.
func (a *Attachment) Message() (mapi.Message, bool, error) {
	method, _ := a.number(idAttachMethod)
	q, ok := a.find(tagAttachObject)
	if !ok || method != methodEmbedded {
		return nil, false, nil
	}
	n, err := a.object(q)
	if err != nil {
		return nil, true, a.damaged(q.tag, err)
	}
	way, err := a.nest.down(n)
	if err != nil {
		return nil, true, err
	}
	m, err := newMessage(n, way)
	if err != nil {
		return nil, true, err
	}
	return m, true, nil
}

// down adds a message to the way, unless it is on it already.
func (w *nest) down(n *node) (*nest, error) {
	for up := w; up != nil; up = up.up {
		if up.data == n.data {
			return nil, damaged(Place{Node: n.top, Block: n.data}, "the message is embedded in itself")
		}
	}
	if *w.opens++; w.depth >= maxDepth || *w.opens > maxOpens {
		return nil, damaged(Place{Node: n.top, Block: n.data}, "messages are embedded %d deep, %d were opened: no more are", w.depth, *w.opens-1)
	}
	return &nest{w, n.data, w.depth + 1, w.opens}, nil
}
