package pst_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"expost/pst"
)

// BenchmarkFixtures walks all properties of all sample files; an op is all of
// them.
func BenchmarkFixtures(b *testing.B) {
	var files [][]byte
	for _, path := range fixtures(b) {
		files = append(files, fixture(b, filepath.Base(path)))
	}
	var size int64
	for _, f := range files {
		size += int64(len(f))
	}
	items := 0
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		items = 0
		for _, data := range files {
			f, err := open(data, pst.Options{})
			if err != nil {
				b.Fatal(err)
			}
			w := walk(f, nil)
			items += w.messages + w.associated + w.embed
		}
	}
	b.ReportMetric(float64(items)*float64(b.N)/b.Elapsed().Seconds(), "items/s")
}

// generated writes a file of letters with attachments to disk.
func generated(t testing.TB, im *image, n, size int) string {
	t.Helper()
	im.mailbox()
	var ids []uint32
	att := pattern(size)
	for i := range n {
		nid := nidFirst + uint32(i)<<5
		im.node(im.message(nid, nidMany, letter{subject: "letter", recipients: 2, attachments: [][]byte{att}, props: im.manyProps(3)}))
		ids = append(ids, nid)
	}
	im.folder(nidMany, nidSubtree, "Many", nil, ids...)
	path := filepath.Join(t.TempDir(), "generated.pst")
	if err := os.WriteFile(path, im.finish(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// BenchmarkWalk walks a file of 4000 letters of 40 kB from the disk, and tells the
// memory that stays in use.
func BenchmarkWalk(b *testing.B) {
	for name, im := range map[string]*image{"unicode": unicodeImage(1), "4K": largeImage(1)} {
		b.Run(name, func(b *testing.B) {
			path := generated(b, im, 4000, 30000)
			im.buf = nil
			file, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			info, err := file.Stat()
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(info.Size())
			b.ReportAllocs()
			var before, after runtime.MemStats
			items := 0
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				f, err := pst.Open(file, info.Size(), pst.Options{})
				if err != nil {
					b.Fatal(err)
				}
				w := walk(f, nil)
				if len(w.errs) > 0 || w.messages != 4000 {
					b.Fatalf("%d letters, errors %v", w.messages, w.errs)
				}
				items += w.messages
				runtime.GC()
				runtime.ReadMemStats(&after)
				runtime.KeepAlive(f)
			}
			b.ReportMetric(float64(items)/b.Elapsed().Seconds(), "items/s")
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e6, "MB-kept")
		})
	}
}
