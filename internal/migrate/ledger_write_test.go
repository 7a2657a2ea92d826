package migrate_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"expost/internal/migrate"
)

// TestLedgerWritesTogether writes from many goroutines at once: what fails is
// undone alone, what was said to be on disk is there though the ledger was
// never closed, and what was only noted before it too.
func TestLedgerWritesTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l.ledger")
	l := openLedger(t, path)
	if err := l.Note(t.Context(), "noted", nil); err != nil {
		t.Fatal(err)
	}
	mistake := errors.New("a mistake")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			var fail error
			if i%4 == 0 {
				fail = mistake
			}
			if err := l.Update(t.Context(), fmt.Sprintf("user%d", i), fail); !errors.Is(err, fail) {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	other, err := migrate.ReadLedger(path) // sees what is committed only
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r, err := other.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, a := range r.Accounts {
		found[a.Source] = true
	}
	if !found["noted"] || len(found) != 1+48 {
		t.Errorf("%d accounts, noted %t", len(found), found["noted"])
	}
	for i := range 64 {
		if name := fmt.Sprintf("user%d", i); found[name] != (i%4 != 0) {
			t.Errorf("%s: %t", name, found[name])
		}
	}
}
