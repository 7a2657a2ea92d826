package sqlite_test

import (
	"testing"

	"expost/internal/redo"
	"expost/internal/store"
	"expost/internal/store/sqlite"
	"expost/internal/store/storetest"
)

func open(tb testing.TB, dir string) store.Engine {
	tb.Helper()
	// The segments are small so that the tests use them many times.
	e, err := sqlite.New(dir, sqlite.Options{IdleConns: 8, Journal: redo.Options{Segments: 3, SegmentSize: 512 << 10}})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, open)
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(tb testing.TB, dir string) store.Engine {
		e, err := sqlite.New(dir, sqlite.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		return e
	})
}
