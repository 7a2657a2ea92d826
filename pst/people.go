package pst

import (
	"iter"
	"strings"

	"expost/mapi"
)

// People yields the contacts and the lists in the file, for an address book:
// every entry of a PAB, and of other files the items of such a class in all
// folders but the one of deleted items. An error is of one item or folder.
func (f *File) People(c *mapi.Converter) iter.Seq2[*mapi.Contact, error] {
	return func(yield func(*mapi.Contact, error) bool) {
		for d, err := range f.Folders() {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if d.kind == Trash {
				continue
			}
			for m, err := range d.Messages() {
				if err != nil {
					if !yield(nil, err) {
						return
					}
					continue
				}
				if f.Type() != PAB && !isPerson(m.Class()) {
					continue
				}
				if p, ok := c.Contact(m); ok && !yield(p, nil) {
					return
				}
			}
		}
	}
}

// isPerson tells whether items of a class are people or lists.
func isPerson(class string) bool {
	class = strings.ToUpper(class)
	for _, is := range []string{"IPM.CONTACT", "IPM.DISTLIST", "IPM.ABCHPERSON"} {
		if class == is || strings.HasPrefix(class, is+".") {
			return true
		}
	}
	return false
}
