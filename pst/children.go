package pst

import (
	"iter"
	"slices"
)

// children are the folders and items of a file by their parents, as the tree
// of nodes records them ([MS-PST] 2.2.2.7.7.4, nidParent): eight bytes each,
// parent<<32|node, in order.
type children struct {
	links   []uint64
	folders []uint32 // in order
	deleted []uint32 // items of nodes that are in no tree, in order
	errs    []error  // of parts of the tree that could not be read
}

// kids returns the children, read when they are first asked for.
func (f *File) kids() *children {
	f.childOnce.Do(func() {
		c := &f.children
		for n, err := range f.dir.nodes() {
			if err != nil {
				c.errs = append(c.errs, err)
				continue
			}
			switch n.nid & 0x1F {
			case typeFolder:
				c.folders = append(c.folders, n.nid)
			case typeMessage, typeAssociated:
			default:
				continue
			}
			if f.isDeleted(n.nid) && n.nid&0x1F != typeFolder {
				c.deleted = append(c.deleted, n.nid)
				continue
			}
			c.links = append(c.links, uint64(n.parent)<<32|uint64(n.nid))
		}
		slices.Sort(c.links)
		slices.Sort(c.folders)
		slices.Sort(c.deleted)
	})
	return &f.children
}

// isFolder tells whether the file has a folder.
func (c *children) isFolder(nid uint32) bool {
	_, ok := slices.BinarySearch(c.folders, nid)
	return ok
}

// of yields the children of a folder that are of a type.
func (c *children) of(parent, typ uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		i, _ := slices.BinarySearch(c.links, uint64(parent)<<32)
		for ; i < len(c.links) && uint32(c.links[i]>>32) == parent; i++ {
			nid := uint32(c.links[i])
			if nid&0x1F == typ && nid != parent && !yield(nid) {
				return
			}
		}
	}
}

// orphans returns the items of a type whose folder does not exist and that are
// in no folder's table.
func (f *File) orphans(typ uint32) []uint32 {
	c := f.kids()
	var lost []uint32
	for _, l := range c.links {
		if nid := uint32(l); nid&0x1F == typ && !c.isFolder(uint32(l>>32)) {
			lost = append(lost, nid)
		}
	}
	slices.Sort(lost)
	found := make([]bool, len(lost))
	for _, folder := range c.folders {
		if len(lost) == 0 {
			break
		}
		for _, nid := range f.listed(folder, tableOf(typ)) {
			if i, ok := slices.BinarySearch(lost, nid); ok {
				found[i] = true
			}
		}
	}
	var left []uint32
	for i, nid := range lost {
		if !found[i] {
			left = append(left, nid)
		}
	}
	return left
}

// tableOf returns the type of the table that lists items of a type.
func tableOf(typ uint32) uint32 {
	switch typ {
	case typeAssociated:
		return typeAssociatedList
	case typeFolder:
		return typeHierarchy
	}
	return typeContents
}

// listed returns the ids in a folder's table ([MS-PST] 2.4.4.3 to .5), in its
// order. A table that cannot be read is reported, and empty.
func (f *File) listed(folder, kind uint32) []uint32 {
	e, ok, err := f.dir.node(folder&^0x1F | kind)
	if err == nil && !ok {
		return nil
	}
	var t *table
	if err == nil {
		t, err = openTable(f.nodeOf(e))
	}
	if err != nil {
		f.report(at(folder&^0x1F|kind, err))
		return nil
	}
	refs := t.refs()
	ids := make([]uint32, len(refs))
	for i, r := range refs {
		ids[i] = r.id
	}
	return ids
}

// union returns the ids of type typ below a folder: those its table lists,
// unless they have another folder, and those whose parent it is.
func (f *File) union(folder, typ uint32) []uint32 {
	c := f.kids()
	linked := slices.Collect(c.of(folder, typ))
	taken := make([]bool, len(linked))
	other := make(map[uint32]bool)
	var ids []uint32
	for _, nid := range f.listed(folder, tableOf(typ)) {
		if nid&0x1F != typ || nid == folder {
			continue
		}
		if i, ok := slices.BinarySearch(linked, nid); ok {
			if !taken[i] {
				ids = append(ids, nid)
			}
			taken[i] = true
			continue
		}
		if e, ok, err := f.dir.node(nid); err == nil && ok && c.isFolder(e.parent) {
			continue // it is yielded there
		}
		if !other[nid] {
			ids = append(ids, nid)
		}
		other[nid] = true
	}
	for i, nid := range linked {
		if !taken[i] {
			ids = append(ids, nid)
		}
	}
	return ids
}
