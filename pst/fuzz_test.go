package pst_test

import (
	"os"
	"testing"

	"expost/pst"
)

// FuzzFile reads a sample file in which some bytes are changed: pairs of a
// place, counted in sixteenths of the file and bytes from there, and a value.
func FuzzFile(f *testing.F) {
	for _, name := range []string{"HiraokaHyperTools__msgInMsg.pst", "HiraokaHyperTools__nonUnicodeCP932.pst"} {
		b, err := os.ReadFile(fixtureDir + "/" + name)
		if err != nil {
			continue
		}
		f.Add(trim(b), []byte{})
		f.Add(trim(b), []byte{0, 0, 10, 36, 1, 2, 3, 4})
	}
	f.Fuzz(func(t *testing.T, b, changes []byte) {
		if len(b) > 1<<20 {
			t.Skip()
		}
		b = append([]byte(nil), b...)
		for c := changes; len(c) >= 4 && len(b) > 0; c = c[4:] {
			b[(int(c[0])<<16+int(c[1])<<8+int(c[2]))%len(b)] = c[3]
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

// trim cuts the empty end from a file.
func trim(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}
