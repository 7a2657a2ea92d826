package pst_test

import (
	"testing"

	"expost/pst"
)

// FuzzFile changes bytes of files that it makes: three of a place and one of a
// value, each.
func FuzzFile(f *testing.F) {
	var files [][]byte
	for _, im := range []*image{ansiImage(0), unicodeImage(0), largeImage(0), unicodeImage(2)} {
		im.lists = false
		files = append(files, im.small())
	}
	for i := range files {
		f.Add(byte(i), []byte{})
		f.Add(byte(i), []byte{0, 0, 184, 0, 0, 0, 224, 0}) // roots of the trees
		f.Add(byte(i), []byte{0, 0x44, 3, 0x20, 0, 0x44, 4, 0xFF})
	}
	f.Fuzz(func(t *testing.T, which byte, changes []byte) {
		b := append([]byte(nil), files[int(which)%len(files)]...)
		for c := changes; len(c) >= 4; c = c[4:] {
			b[(int(c[0])<<16|int(c[1])<<8|int(c[2]))%len(b)] = c[3]
		}
		file, err := open(b, pst.Options{MaxValue: 1 << 20})
		if err != nil {
			return
		}
		walk(file, nil)
		if g, err := file.Recover(); err == nil {
			walk(g, nil)
		}
	})
}

// FuzzNode reads bytes as the data of a message and of all its parts, in one
// block or in two.
func FuzzNode(f *testing.F) {
	for _, make := range []func(byte) *image{ansiImage, unicodeImage, largeImage} {
		im := make(0)
		n := im.message(nidFirst, nidMany, letter{subject: "seed"})
		t := im.tc(0x692, []uint32{1}, [][]imageProp{{im.text(0x3001, "Person"), number(0x0C15, 3, 1)}})
		for _, b := range im.blocks {
			if b.bid == n.data || b.bid == t.data {
				f.Add(im.buf[b.ib:b.ib+uint64(b.full)], uint16(0), byte(im.ver))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, ver byte) {
		im := unicodeImage(0)
		switch ver {
		case 15:
			im = ansiImage(0)
		case 36:
			im = largeImage(0)
		}
		if len(data) == 0 || len(data) > im.max {
			return
		}
		im.mailbox()
		leaves := [][]byte{data}
		if n := int(cut) % len(data); n > 0 {
			leaves = [][]byte{data[:n], data[n:]}
		}
		bid := im.leaves(leaves...)
		var subs []imageNode
		for _, nid := range []uint32{0x671, 0x692, 0x8005, 0x200004, 0x8025} {
			subs = append(subs, imageNode{nid: nid, data: bid})
		}
		sub := im.subnodes(subs)
		for i := range subs {
			subs[i].sub = sub
		}
		im.node(imageNode{nidFirst, nidMany, bid, im.subnodes(subs)})
		im.node(imageNode{nidMany, nidSubtree, bid, sub})
		im.node(imageNode{nidMany&^0x1F | 0x0E, 0, bid, sub})
		file, err := open(im.finish(), pst.Options{})
		if err != nil {
			t.Fatal(err)
		}
		walk(file, nil)
	})
}
