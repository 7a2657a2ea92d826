package migrate_test

import (
	"strings"
	"testing"

	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
)

func TestEstimate(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 1, messages(300, 1, 1)), box("Sent", 2, messages(5, 1, 1)))
	previews, err := b.engine.Preview(t.Context(), []migrate.User{b.user})
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.engine.Estimate(t.Context(), previews)
	if err != nil || e.Accounts != 1 || e.Messages < 50 || e.Messages > 150 || e.Bytes == 0 || e.Duration <= e.Took {
		t.Errorf("the estimate is %+v, %v", e, err)
	}
	if !strings.Contains(e.String(), "a first pass may take") {
		t.Errorf("it says %q", e)
	}
	if len(b.items(t, "INBOX")) != 0 {
		t.Error("the sample was kept")
	}
}

// TestEstimateNamesWhatCannotBeRead samples a folder with a message that the
// source does not give.
func TestEstimateNamesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	isBad := func(m migratetest.Message) bool { return m.UID == 4 }
	b := newBench(t, migratetest.Quirks{Fetch: badBody(isBad, "BODY[] NIL", false)}, box("INBOX", 1, messages(30, 1, 1)))
	previews, err := b.engine.Preview(t.Context(), []migrate.User{b.user})
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.engine.Estimate(t.Context(), previews)
	if err != nil || e.Messages != 29 || len(e.Unreadable) != 1 {
		t.Fatalf("the estimate is %+v, %v", e, err)
	}
	for _, part := range []string{b.user.Source, `"INBOX"`, "item 4", "no bytes"} {
		if !strings.Contains(e.Unreadable[0], part) {
			t.Errorf("%q does not say %q", e.Unreadable[0], part)
		}
	}
}

func TestBatchBySize(t *testing.T) {
	t.Parallel()
	previews := []migrate.Preview{{Source: "a", Bytes: 60}, {Source: "b", Bytes: 30}, {Source: "c", Bytes: 30}, {Source: "d", Bytes: 500}, {Source: "e", Bytes: -1}}
	got := migrate.BatchBySize(previews, 100)
	for source, want := range map[string]string{"a": "batch-001", "b": "batch-001", "c": "batch-002", "d": "batch-003", "e": "batch-004"} {
		if got[source] != want {
			t.Errorf("%s is in %s, want %s", source, got[source], want)
		}
	}
}
