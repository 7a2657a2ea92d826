package pst

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"expost/mapi"
)

// WriterOptions are the choices of NewWriter. The zero value is good.
type WriterOptions struct {
	Name string // of the store, as Outlook shows it; "" is "Expost"

	// Plain leaves the blocks as they are. The usual encoding protects nothing
	// either, but is what Outlook writes.
	Plain bool
}

// Writer writes a Unicode PST ([MS-PST], version 23). What it is given goes to
// the file at once: it keeps in memory a buffer of 250 KiB, two blocks for each
// folder that is open, and about 3 bytes for each KiB of the file.
//
// The file is whole only after Close. It is not for concurrent use.
type Writer struct {
	space   *space
	blocks  leaves // of the tree of blocks
	nodes   leaves // of the tree of nodes: the items
	fixed   []nodeEntry
	names   *namesWriter
	record  [16]byte
	name    string
	nextBID uint64

	folders  []*FolderWriter // the subtree first
	special  map[Kind]*FolderWriter
	nextNode uint32 // index of the next folder
	nextItem uint32 // index of the next item
	closed   bool
}

// The indexes of nodes that the writer gives out ([MS-PST] 2.2.2.6, rgnid).
const (
	firstFolder = 0x404
	firstItem   = 0x10000
)

// The nodes of the folders every file has.
const (
	nidSubtreeFolder = 0x8022
	nidSearchRoot    = 0x8042
	nidDeletedItems  = 0x8062
)

// NewWriter starts a file, which must be empty.
func NewWriter(w io.WriterAt, opt WriterOptions) (*Writer, error) {
	if opt.Name == "" {
		opt.Name = "Expost"
	}
	f := &Writer{
		space: newSpace(w, opt.Plain), name: opt.Name, nextBID: 4, nextNode: firstFolder, nextItem: firstItem,
		names: newNamesWriter(), special: make(map[Kind]*FolderWriter),
	}
	f.blocks = leaves{kind: pageBBT, space: f.space}
	f.nodes = leaves{kind: pageNBT, space: f.space}
	sum := sha256.Sum256([]byte("store " + opt.Name))
	copy(f.record[:], sum[:])
	top := f.newFolder(nil, nidSubtreeFolder, FolderOptions{Name: "Top of Outlook data file", Kind: Subtree})
	f.newFolder(top, nidDeletedItems, FolderOptions{Name: "Deleted Items", Kind: Trash})
	return f, nil
}

// Subtree returns the folder that users see as the top.
func (w *Writer) Subtree() *FolderWriter { return w.folders[0] }

var errClosed = errors.New("the PST file is finished")

// Close finishes the file. It does not close what it writes to.
func (w *Writer) Close() error {
	if w.closed {
		return errClosed
	}
	w.closed = true
	if err := w.finish(); err != nil {
		return fmt.Errorf("finishing a PST file: %w", err)
	}
	return nil
}

func (w *Writer) finish() error {
	for _, f := range w.folders {
		if err := f.finish(); err != nil {
			return err
		}
	}
	for _, step := range []func() error{w.writeFolders, w.writeStore, w.writeTemplates, w.writeNames} {
		if err := step(); err != nil {
			return err
		}
	}
	nbt, err := w.nodeTree()
	if err != nil {
		return err
	}
	// The pages of the tree of blocks are in no tree themselves.
	bbt, err := w.blocks.root(nil)
	if err != nil {
		return err
	}
	return w.space.finish(w.header(nbt, bbt))
}

// nodeTree writes the tree of nodes: those of folders come before all items.
func (w *Writer) nodeTree() (ref, error) {
	first := leaves{kind: pageNBT, space: w.space}
	sortNodes(w.fixed)
	for _, n := range w.fixed {
		if err := first.add(uint64(n.nid), n.bytes()); err != nil {
			return ref{}, err
		}
	}
	if err := first.flush(); err != nil {
		return ref{}, err
	}
	return w.nodes.root(first.up)
}

// header returns the file's header ([MS-PST] 2.2.2.6) but for what the space
// knows.
func (w *Writer) header(nbt, bbt ref) []byte {
	h := make([]byte, headerSize)
	copy(h, "!BDN")
	copy(h[8:], "SM")
	le.PutUint16(h[10:], 23)
	le.PutUint16(h[12:], 19)
	h[14], h[15] = 1, 1
	le.PutUint32(h[40:], 1) // dwUnique
	for typ := range 32 {
		next := uint32(0x400)
		switch typ {
		case typeFolder:
			next = w.nextNode
		case typeMessage:
			next = w.nextItem
		case 0x03: // search folders
			next = 0x4000
		case typeAssociated:
			next = 0x8000
		}
		le.PutUint32(h[44+4*typ:], next<<5|uint32(typ))
	}
	for i, r := range []ref{nbt, bbt} {
		le.PutUint64(h[216+16*i:], r.bid)
		le.PutUint64(h[224+16*i:], r.ib)
	}
	for i := 256; i < 512; i++ {
		h[i] = 0xFF // rgbFM, rgbFP
	}
	h[512] = 0x80
	if !w.space.plain {
		h[513] = cryptPermute
	}
	le.PutUint64(h[516:], w.nextBID)
	return h
}

// addNode adds a node that is no item to the file.
func (w *Writer) addNode(n nodeEntry) { w.fixed = append(w.fixed, n) }

// entryID returns the entry id of a folder ([MS-PST] 2.4.3.2).
func (w *Writer) entryID(nid uint32) []byte {
	return le.AppendUint32(append(make([]byte, 4), w.record[:]...), nid)
}

// writeStore writes the message store ([MS-PST] 2.4.3).
func (w *Writer) writeStore() error {
	p := w.newContext()
	p.add(0x0FF9, mapi.TypeBinary, w.record[:])
	p.add(0x3001, mapi.TypeString, w.name)
	p.add(0x35DF, mapi.TypeInt32, int32(0x89)) // which of the following are valid
	p.add(0x35E0, mapi.TypeBinary, w.entryID(nidSubtreeFolder))
	p.add(0x35E3, mapi.TypeBinary, w.entryID(nidDeletedItems))
	p.add(0x35E7, mapi.TypeBinary, w.entryID(nidSearchRoot))
	p.add(0x67FF, mapi.TypeInt32, int32(0)) // no password
	p.add(0x0E38, mapi.TypeInt32, int32(0))
	for _, k := range storeKinds {
		if f := w.special[k.kind]; f != nil && k.kind != Subtree && k.kind != Trash {
			p.add(k.id, mapi.TypeBinary, w.entryID(f.nid))
		}
	}
	return w.addContext(p, nidStore, 0)
}

// addContext writes a property context as a node of the file.
func (w *Writer) addContext(p *contextWriter, nid, parent uint32) error {
	n, err := p.finish(nid)
	if err != nil {
		return err
	}
	n.parent = parent
	w.addNode(n)
	return nil
}

// addTable writes a table as a node of the file.
func (w *Writer) addTable(t *tableWriter, nid, parent uint32) error {
	n, err := t.finish(nid)
	if err != nil {
		return err
	}
	n.parent = parent
	w.addNode(n)
	return nil
}

// writeTemplates writes the empty tables that new ones are made like ([MS-PST]
// 2.7.1), and the nodes of the search engine, which are empty.
func (w *Writer) writeTemplates() error {
	for _, t := range []struct {
		nid     uint32
		columns []mapi.Tag
	}{
		{0x60D, hierarchyColumns}, {0x60E, contentsColumns}, {0x60F, associatedColumns}, {0x610, contentsColumns},
		{nidAttachments, attachmentColumns}, {nidRecipients, recipientColumns},
	} {
		if err := w.addTable(w.newTable(t.columns), t.nid, 0); err != nil {
			return err
		}
	}
	for _, nid := range []uint32{0x1E1, 0x201, 0x261} {
		w.addNode(nodeEntry{nid: nid})
	}
	inbox := w.special[Inbox]
	if inbox == nil {
		return nil
	}
	t := w.newTable([]mapi.Tag{tag(0x001A, mapi.TypeString), tag(0x6605, mapi.TypeInt32)})
	for i, class := range []string{"", "IPM"} {
		if err := t.row(uint32(i+1), map[mapi.Tag]any{tag(0x001A, mapi.TypeString): class, tag(0x6605, mapi.TypeInt32): int32(inbox.nid)}); err != nil {
			return err
		}
	}
	return w.addTable(t, nidReceiveFolders, 0)
}

func tag(id uint16, typ mapi.Type) mapi.Tag { return mapi.Tag(id)<<16 | mapi.Tag(typ) }
