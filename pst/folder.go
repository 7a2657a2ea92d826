package pst

import (
	"fmt"
	"iter"
	"slices"

	"expost/mapi"
)

// Folder is a folder of the file ([MS-PST] 2.4.4).
type Folder struct {
	props *properties
	f     *File
	nid   uint32
	kind  Kind
	path  []string
	open  bool // in the subtree that users see
}

// ID returns the folder's node id, 0 for that of recovered items.
func (d *Folder) ID() uint32 { return d.nid }

// Kind tells what the folder is for.
func (d *Folder) Kind() Kind { return d.kind }

// Name returns the folder's name, in ANSI files as Options.Decode has it.
func (d *Folder) Name() string {
	if len(d.path) == 0 {
		return ""
	}
	return d.path[len(d.path)-1]
}

// Path returns the names from the top down to the folder: from the subtree
// that users see, for what lies in it, else from the root. It is empty for
// these two.
func (d *Folder) Path() []string { return slices.Clone(d.path) }

// Visible tells whether the folder lies in the subtree that users see.
func (d *Folder) Visible() bool { return d.open }

// Class returns the folder's container class, such as "IPF.Contact".
func (d *Folder) Class() string { return d.props.text(0x3613) }

// Properties returns the properties of the folder, none where they cannot be
// read.
func (d *Folder) Properties() mapi.Properties { return d.props }

// Messages yields the items of the folder, in the order of its table, and an
// error for each that cannot be read.
func (d *Folder) Messages() iter.Seq2[*Message, error] { return d.items(typeMessage) }

// Associated yields the hidden items: settings, views, rules.
func (d *Folder) Associated() iter.Seq2[*Message, error] { return d.items(typeAssociated) }

// IDs returns the ids of the items that Messages yields, for those who open them
// later with File.Message.
func (d *Folder) IDs() []uint32 { return d.ids(typeMessage) }

// Count returns the number of items that Messages yields.
func (d *Folder) Count() int { return len(d.ids(typeMessage)) }

func (d *Folder) items(typ uint32) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for _, nid := range d.ids(typ) {
			if !yield(d.f.message(nid)) {
				return
			}
		}
	}
}

func (d *Folder) ids(typ uint32) []uint32 {
	if d.kind != Recovered {
		return d.f.union(d.nid, typ)
	}
	ids := d.f.orphans(typ)
	for _, nid := range d.f.kids().deleted {
		if nid&0x1F == typ {
			ids = append(ids, nid)
		}
	}
	return ids
}

// recoveredName is that of the folder of items that have none.
const recoveredName = "Recovered"

// Folders yields all folders but search folders, each before those below it,
// and an error for each that cannot be read; the items of that are still
// found. Folders that hang nowhere come last, below a folder of the Recovered
// kind, which also holds the items that have no folder, if there are any.
func (f *File) Folders() iter.Seq2[*Folder, error] {
	return func(yield func(*Folder, error) bool) {
		c := f.kids()
		for _, err := range c.errs {
			if !yield(nil, err) {
				return
			}
		}
		w := &walker{f: f, seen: make(map[uint32]bool), yield: yield}
		root := &Folder{props: &properties{}, f: f, nid: nidRoot, kind: Root}
		if !w.visit(nidRoot, root) {
			return
		}
		top := &Folder{props: &properties{}, f: f, kind: Recovered, path: []string{recoveredName}}
		lost := w.unseen(c)
		if len(lost) == 0 && len(top.ids(typeMessage)) == 0 && len(top.ids(typeAssociated)) == 0 {
			return
		}
		if !yield(top, nil) {
			return
		}
		for _, nid := range lost {
			if !w.visit(nid, top) {
				return
			}
		}
	}
}

// Root returns the root folder.
func (f *File) Root() (*Folder, error) {
	for d, err := range f.Folders() {
		if err != nil || d.kind == Root {
			return d, err
		}
	}
	return nil, damaged(Place{Node: nidRoot}, "there is no root folder")
}

// walker visits folders, each once.
type walker struct {
	f     *File
	seen  map[uint32]bool
	yield func(*Folder, error) bool
}

// visit yields a folder and those below it. It is not recursive: the folders
// of a hostile file may hang below one another without end.
func (w *walker) visit(nid uint32, parent *Folder) bool {
	type todo struct {
		nid    uint32
		parent *Folder
	}
	stack := []todo{{nid, parent}}
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if w.seen[t.nid] {
			continue
		}
		w.seen[t.nid] = true
		d, err := w.f.folder(t.nid, t.parent)
		if err != nil && !w.yield(nil, err) || !w.yield(d, nil) {
			return false
		}
		below := w.f.union(t.nid, typeFolder)
		slices.Reverse(below)
		for _, nid := range below {
			stack = append(stack, todo{nid, d})
		}
	}
	return true
}

// unseen returns the folders that were not visited: first those whose parent
// does not exist, then those in cycles.
func (w *walker) unseen(c *children) []uint32 {
	var first, then []uint32
	for _, l := range c.links {
		nid, parent := uint32(l), uint32(l>>32)
		switch {
		case nid&0x1F != typeFolder || w.seen[nid]:
		case c.isFolder(parent) && parent != nid:
			then = append(then, nid)
		default:
			first = append(first, nid)
		}
	}
	return append(first, then...)
}

// folder opens a folder below parent. With an error it is one without
// properties.
func (f *File) folder(nid uint32, parent *Folder) (*Folder, error) {
	p, err := f.open(nid)
	if err != nil {
		p = &properties{}
	}
	d := &Folder{props: p, f: f, nid: nid, kind: f.specials()[nid], open: parent.open}
	name := p.text(0x3001)
	if name == "" {
		name = fmt.Sprintf("%#x", nid)
	}
	switch d.kind {
	case Root:
	case Subtree:
		d.open = true
	default:
		d.path = append(slices.Clone(parent.path), name)
	}
	return d, err
}
