package pst

import (
	"errors"
	"fmt"

	"expost/mapi"
)

// FolderOptions say what a folder is.
type FolderOptions struct {
	Name  string
	Class string // of its items' folder: "IPF.Note" where it is "", "IPF.Contact" …
	Kind  Kind   // what it is for; each but Plain once in a file
}

// FolderWriter is a folder of a file that is written.
type FolderWriter struct {
	w        *Writer
	parent   *FolderWriter
	nid      uint32
	opt      FolderOptions
	below    []*FolderWriter
	contents *tableWriter // nil until there is an item
	hidden   *tableWriter
	items    int
	unread   int
	others   int // hidden items
	done     bool
}

// Folder makes a folder below f. Of the kinds Trash and Subtree there is one
// already, which is returned under its new name.
func (f *FolderWriter) Folder(opt FolderOptions) (*FolderWriter, error) {
	w := f.w
	switch {
	case w.closed:
		return nil, errClosed
	case opt.Kind == Trash || opt.Kind == Subtree:
		d := w.special[opt.Kind]
		d.opt.Name = opt.Name
		return d, nil
	case opt.Kind != Plain && w.special[opt.Kind] != nil:
		return nil, fmt.Errorf("making folder %q: there is a folder of the kind %s already", opt.Name, opt.Kind)
	case w.nextNode >= firstItem:
		return nil, fmt.Errorf("making folder %q: a PST file has room for %d folders", opt.Name, firstItem-firstFolder)
	}
	nid := w.nextNode<<5 | typeFolder
	w.nextNode++
	return w.newFolder(f, nid, opt), nil
}

func (w *Writer) newFolder(parent *FolderWriter, nid uint32, opt FolderOptions) *FolderWriter {
	if opt.Class == "" {
		opt.Class = "IPF.Note"
	}
	d := &FolderWriter{w: w, parent: parent, nid: nid, opt: opt}
	if parent != nil {
		parent.below = append(parent.below, d)
	}
	if opt.Kind != Plain {
		w.special[opt.Kind] = d
	}
	w.folders = append(w.folders, d)
	return d
}

// Add writes an item of any class into the folder and returns its id. Where m
// cannot be read the item is not in the file, and the error says why.
func (f *FolderWriter) Add(m mapi.Message) (uint32, error) {
	return f.add(m, typeMessage, &f.contents, contentsColumns)
}

// AddHidden writes an associated item: settings, a view, a rule.
func (f *FolderWriter) AddHidden(m mapi.Message) (uint32, error) {
	return f.add(m, typeAssociated, &f.hidden, associatedColumns)
}

func (f *FolderWriter) add(m mapi.Message, typ uint32, table **tableWriter, columns []mapi.Tag) (uint32, error) {
	w := f.w
	if w.closed || f.done {
		return 0, errClosed
	}
	nid := w.nextItem<<5 | typ
	if w.nextItem >= 1<<27-1 {
		return 0, errors.New("a PST file has no room for more items")
	}
	w.nextItem++ // embedded messages take ids behind it
	n, row, err := w.item(m, nid)
	if err != nil {
		return 0, fmt.Errorf("writing an item: %w", err)
	}
	if *table == nil {
		*table = w.newTable(columns)
	}
	if err := (*table).row(nid, row); err != nil {
		return 0, fmt.Errorf("writing an item: %w", err)
	}
	n.parent = f.nid
	if err := w.nodes.add(uint64(nid), n.bytes()); err != nil {
		return 0, fmt.Errorf("writing an item: %w", err)
	}
	if typ == typeAssociated {
		f.others++
		return nid, nil
	}
	f.items++
	if flags, _ := row[tag(0x0E07, mapi.TypeInt32)].(int32); flags&1 == 0 {
		f.unread++
	}
	return nid, nil
}

// Close writes the folder's tables, which frees memory. Nothing more can be
// added to it, but folders below it. Writer.Close closes all that are open.
func (f *FolderWriter) Close() error {
	if f.w.closed {
		return errClosed
	}
	return f.finish()
}

func (f *FolderWriter) finish() error {
	if f.done {
		return nil
	}
	f.done = true
	for _, t := range []struct {
		table   *tableWriter
		typ     uint32
		columns []mapi.Tag
	}{{f.contents, typeContents, contentsColumns}, {f.hidden, typeAssociatedList, associatedColumns}} {
		if t.table == nil {
			t.table = f.w.newTable(t.columns)
		}
		if err := f.w.addTable(t.table, f.nid&^0x1F|t.typ, 0); err != nil {
			return fmt.Errorf("writing folder %q: %w", f.opt.Name, err)
		}
	}
	f.contents, f.hidden = nil, nil
	return nil
}

// writeFolders writes the folders themselves, with the root and the folder of
// searches, which is empty.
func (w *Writer) writeFolders() error {
	root := &FolderWriter{w: w, nid: nidRoot, below: []*FolderWriter{w.folders[0]}}
	search := &FolderWriter{w: w, nid: nidSearchRoot, parent: root, opt: FolderOptions{Name: "Search Root", Class: "IPF.Note"}}
	root.below = append(root.below, search)
	w.folders[0].parent = root
	for _, f := range append([]*FolderWriter{root, search}, w.folders...) {
		if err := f.finish(); err != nil {
			return err
		}
		if err := f.write(root); err != nil {
			return fmt.Errorf("writing folder %q: %w", f.opt.Name, err)
		}
	}
	return nil
}

// write writes the folder's properties and the table of those below it
// ([MS-PST] 2.4.4).
func (f *FolderWriter) write(root *FolderWriter) error {
	t := f.w.newTable(hierarchyColumns)
	for _, d := range f.below {
		row := map[mapi.Tag]any{
			0x3001001F: d.opt.Name, 0x36020003: int32(d.items), 0x36030003: int32(d.unread), 0x360A000B: len(d.below) > 0, 0x3613001F: d.opt.Class,
		}
		if err := t.row(d.nid, row); err != nil {
			return err
		}
	}
	if err := f.w.addTable(t, f.nid&^0x1F|typeHierarchy, 0); err != nil {
		return err
	}
	p := f.w.newContext()
	p.add(0x3001, mapi.TypeString, f.opt.Name)
	p.add(0x3602, mapi.TypeInt32, int32(f.items))
	p.add(0x3603, mapi.TypeInt32, int32(f.unread))
	p.add(0x3617, mapi.TypeInt32, int32(f.others))
	p.add(0x360A, mapi.TypeBool, len(f.below) > 0)
	if f.opt.Class != "" {
		p.add(0x3613, mapi.TypeString, f.opt.Class)
	}
	if f == root || f.opt.Kind == Inbox {
		f.w.addSpecial(p)
	}
	parent := uint32(nidRoot)
	if f.parent != nil {
		parent = f.parent.nid
	}
	return f.w.addContext(p, f.nid, parent)
}

// addSpecial names the special folders ([MS-OXOSFLD] 2.2.3, 2.2.4).
func (w *Writer) addSpecial(p *contextWriter) {
	for _, k := range folderKinds {
		if d := w.special[k.kind]; d != nil {
			p.add(k.id, mapi.TypeBinary, w.entryID(d.nid))
		}
	}
	list, any := make([][]byte, len(listKinds)), false
	for i, k := range listKinds {
		if d := w.special[k]; d != nil {
			list[i], any = w.entryID(d.nid), true
		}
	}
	if any {
		p.add(0x36D8, mapi.TypeBinary|mapi.MultiValued, list)
	}
}
