package pst

import "iter"

// Check reads every page and block of the file's trees and yields what cannot
// be used: pages, blocks, and nodes whose blocks are missing. What is damaged
// and can be used is told to Options.Report, as in all reading.
func (f *File) Check() iter.Seq[error] {
	return func(yield func(error) bool) {
		for e, err := range f.dir.blocks() {
			if err == nil {
				_, err = f.readBlock(e.bid)
			}
			if err != nil && !yield(err) {
				return
			}
		}
		for e, err := range f.dir.nodes() {
			if err == nil {
				err = f.checkNode(e)
			}
			if err != nil && !yield(err) {
				return
			}
		}
	}
}

// checkNode tells whether a node's blocks are known.
func (f *File) checkNode(e nodeEntry) error {
	for _, bid := range []uint64{e.data, e.sub} {
		if bid&^1 == 0 {
			continue
		}
		if _, err := f.locate(bid); err != nil {
			return at(e.nid, err)
		}
	}
	return nil
}
