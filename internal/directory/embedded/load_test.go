package embedded

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
)

// BenchmarkStart opens a directory of 100,000 entries, or as many as
// EXPOST_ENTRIES says, and tells what its memory is then.
func BenchmarkStart(b *testing.B) {
	n := benchmarkEntries
	if text := os.Getenv("EXPOST_ENTRIES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	opt := options(b.TempDir())
	d := open(b, opt)
	filling := time.Now()
	for first := 0; first < n; first += 5000 {
		var wg sync.WaitGroup
		for i := first; i < min(n, first+5000); i++ {
			wg.Go(func() {
				if err := d.Add(context.Background(), directory.Local(), person(i)); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	b.Logf("filled in %v", time.Since(filling)) // of which ns/op has nothing
	for b.Loop() {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		d, err := Open(context.Background(), opt)
		if err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64((after.HeapAlloc-before.HeapAlloc)>>20), "MiB")
		b.ReportMetric(float64(took.Milliseconds()), "ms/start")
		found := 0
		req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter(fmt.Sprintf("(uid=u%d)", n/2))}
		if err := d.Search(context.Background(), directory.Local(), req, func(*ldap.Entry) error { found++; return nil }); err != nil || found != 1 {
			b.Fatalf("%d found, %v", found, err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
