package sqlite_test

import (
	"testing"

	"expost/internal/store"
	"expost/internal/store/sqlite"
	"expost/internal/store/storetest"
)

func open(tb testing.TB, dir string) store.Engine {
	tb.Helper()
	e, err := sqlite.New(dir, sqlite.Options{IdleConns: 8})
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
