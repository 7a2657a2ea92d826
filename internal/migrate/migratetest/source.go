package migratetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/sample"
)

// Keeps says what a source's format can carry beside names and bytes.
type Keeps struct {
	UIDs, Flags, Dates, Roles, Subscriptions bool
	EmptyFolders                             bool

	// Rebuilt is of formats that do not hold the bytes: a message is known by its
	// Message-ID.
	Rebuilt bool
}

// Source checks that a source satisfies the contract of migrate.Source. open
// returns a source that holds the mailbox, and the user to open it with.
func Source(t *testing.T, keeps Keeps, open func(t *testing.T, m *sample.Mailbox) (migrate.Source, migrate.User)) {
	t.Helper()
	want := sample.New(sample.Options{People: 2, Messages: 150, Seed: 7}).Mailbox(1)
	src, user := open(t, want)
	t.Run("Open", func(t *testing.T) {
		missing := user
		missing.Source = "/does/not/exist"
		if a, err := src.Open(t.Context(), missing); err == nil {
			_, ferr := a.Folders(t.Context())
			if a.Close(); ferr == nil {
				t.Skip("this source has no account that does not exist")
			}
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if a, err := src.Open(canceled, user); err == nil {
			if _, err := a.Folders(canceled); err == nil {
				if err := a.Fetch(canceled, migrate.Folder{}, []migrate.Item{{}}, nil); err == nil {
					t.Error("a session goes on after its context ended")
				}
			}
			a.Close()
		}
	})
	a, err := src.Open(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	s := &sourceTest{account: a, want: want, keeps: keeps}
	t.Run("Folders", s.testFolders)
	t.Run("Scan", s.testScan)
	t.Run("Fetch", s.testFetch)
	t.Run("FetchMissing", s.testMissing)
	t.Run("FolderMissing", s.testFolderMissing)
	t.Run("FetchError", s.testError)
	t.Run("FetchWhileScanning", s.testBoth)
}

// sourceTest is one open account and what it should hold.
type sourceTest struct {
	account migrate.SourceAccount
	want    *sample.Mailbox
	keeps   Keeps
}

// folders returns what Folders returns.
func (s *sourceTest) folders(t *testing.T) []migrate.Folder {
	t.Helper()
	folders, err := s.account.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return folders
}

// wanted returns the sample's folder and its messages.
func (s *sourceTest) wanted(t *testing.T, name string) (sample.Folder, []sample.Message) {
	t.Helper()
	i := slices.IndexFunc(s.want.Folders, func(f sample.Folder) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("there is a folder %q that the mailbox does not have", name)
	}
	return s.want.Folders[i], slices.Collect(s.want.Messages(i))
}

func (s *sourceTest) testFolders(t *testing.T) {
	folders := s.folders(t)
	names, keys := map[string]bool{}, map[string]bool{}
	for i, f := range folders {
		if names[f.Name] || keys[f.Key] {
			t.Errorf("folder %q (%q) is there twice", f.Name, f.Key)
		}
		names[f.Name], keys[f.Key] = true, true
		if f.Name == mail.Inbox && i != 0 {
			t.Errorf("INBOX comes as number %d", i+1)
		}
		want, messages := s.wanted(t, f.Name)
		if s.keeps.UIDs && (f.State.UIDValidity != want.UIDValidity) {
			t.Errorf("%s: UIDVALIDITY %d, want %d", f.Name, f.State.UIDValidity, want.UIDValidity)
		}
		if f.State.Messages >= 0 && f.State.Messages != len(messages) {
			t.Errorf("%s: %d messages, want %d", f.Name, f.State.Messages, len(messages))
		}
		if s.keeps.Roles && f.Use != want.SpecialUse {
			t.Errorf("%s: role %q, want %q", f.Name, f.Use, want.SpecialUse)
		}
		if s.keeps.Subscriptions && f.Subscribed != want.Subscribed {
			t.Errorf("%s: subscribed %t, want %t", f.Name, f.Subscribed, want.Subscribed)
		}
	}
	for _, f := range s.want.Folders {
		if !names[f.Name] && (s.keeps.EmptyFolders || f.Messages > 0) {
			t.Errorf("folder %q is missing", f.Name)
		}
	}
}

// scan returns all items of a folder.
func (s *sourceTest) scan(t *testing.T, f migrate.Folder) ([]migrate.Item, migrate.Scanned) {
	t.Helper()
	var items []migrate.Item
	scanned, err := s.account.Scan(t.Context(), f, migrate.State{}, func(batch []migrate.Item) error {
		if len(batch) == 0 || len(batch) > migrate.ScanBatch {
			t.Errorf("a batch of %d items", len(batch))
		}
		items = append(items, batch...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return items, scanned
}

func (s *sourceTest) testScan(t *testing.T) {
	for _, f := range s.folders(t) {
		_, messages := s.wanted(t, f.Name)
		items, scanned := s.scan(t, f)
		if scanned.Has != nil {
			t.Errorf("%s: a full scan says that it was not one", f.Name)
		}
		if len(items) != len(messages) || scanned.State.Messages != len(messages) {
			t.Errorf("%s: %d items, %d in the state, want %d", f.Name, len(items), scanned.State.Messages, len(messages))
			continue
		}
		keys := map[string]bool{}
		for i, it := range items {
			if it.Key == "" || keys[it.Key] {
				t.Errorf("%s: key %q is empty or there twice", f.Name, it.Key)
			}
			keys[it.Key] = true
			if s.keeps.UIDs {
				s.checkItem(t, f.Name, it, messages[i])
			}
		}
	}
}

// checkItem compares an item with the message it should be.
func (s *sourceTest) checkItem(t *testing.T, folder string, it migrate.Item, want sample.Message) {
	t.Helper()
	if s.keeps.UIDs && it.UID != want.UID {
		t.Errorf("%s: UID %d, want %d", folder, it.UID, want.UID)
	}
	if s.keeps.Flags && (it.Flags != want.Flags || it.Keywords != want.Keywords) {
		t.Errorf("%s, %s: flags (%s) (%s), want (%s) (%s)", folder, it.Key, it.Flags, it.Keywords, want.Flags, want.Keywords)
	}
	if s.keeps.Dates && it.Date.Unix != want.Date.Unix {
		t.Errorf("%s, %s: date %v, want %v", folder, it.Key, it.Date.Time(), want.Date.Time())
	}
}

func (s *sourceTest) testFetch(t *testing.T) {
	for _, f := range s.folders(t) {
		_, messages := s.wanted(t, f.Name)
		byHash := map[[32]byte]sample.Message{}
		for _, m := range messages {
			byHash[s.identity(m.Body)] = m
		}
		items, _ := s.scan(t, f)
		n := 0
		err := s.account.Fetch(t.Context(), f, items, func(it migrate.Item, r io.Reader, err error) error {
			if err != nil {
				t.Errorf("%s, %s: %v", f.Name, it.Key, err)
				return nil
			}
			if it.Key != items[n].Key {
				t.Errorf("%s: item %s in the place of %s", f.Name, it.Key, items[n].Key)
			}
			n++
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			m, ok := byHash[s.identity(b)]
			if !ok {
				t.Errorf("%s, %s: the bytes are those of no message", f.Name, it.Key)
				return nil
			}
			s.checkItem(t, f.Name, it, m)
			return nil
		})
		if err != nil || n != len(items) {
			t.Errorf("%s: fetched %d of %d: %v", f.Name, n, len(items), err)
		}
	}
}

// identity is what a message is known by.
func (s *sourceTest) identity(b []byte) [32]byte {
	if !s.keeps.Rebuilt {
		return sha256.Sum256(b)
	}
	m, err := netmail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		return sha256.Sum256(b)
	}
	return sha256.Sum256([]byte(m.Header.Get("Message-ID")))
}

// some returns a folder with several items.
func (s *sourceTest) some(t *testing.T) (migrate.Folder, []migrate.Item) {
	t.Helper()
	for _, f := range s.folders(t) {
		if items, _ := s.scan(t, f); len(items) > 5 {
			return f, items
		}
	}
	t.Fatal("no folder has more than five messages")
	return migrate.Folder{}, nil
}

func (s *sourceTest) testFolderMissing(t *testing.T) {
	f, _ := s.some(t)
	f.Key, f.Name = f.Key+"0123", f.Name+"0123"
	_, err := s.account.Scan(t.Context(), f, migrate.State{}, func([]migrate.Item) error { return nil })
	if mail.KindOf(err) != mail.KindNotExist {
		t.Errorf("scanning a folder that is gone: %v", err)
	}
}

func (s *sourceTest) testMissing(t *testing.T) {
	f, items := s.some(t)
	wrong := []migrate.Item{items[0], {Key: "4000000000", UID: 4_000_000_000, Size: -1}, items[1]}
	var got []string
	err := s.account.Fetch(t.Context(), f, wrong, func(it migrate.Item, r io.Reader, err error) error {
		if err != nil {
			ie, ok := errors.AsType[*migrate.ItemError](err)
			if !ok || !ie.Gone {
				t.Errorf("%s: error is %v, want an ItemError that says gone", it.Key, err)
			}
			got = append(got, "gone")
			return nil
		}
		got = append(got, it.Key)
		_, err = io.Copy(io.Discard, r)
		return err
	})
	if want := []string{items[0].Key, "gone", items[1].Key}; err != nil || !slices.Equal(got, want) {
		t.Errorf("fetched %v, want %v: %v", got, want, err)
	}
}

func (s *sourceTest) testError(t *testing.T) {
	f, items := s.some(t)
	stop := errors.New("stop")
	n := 0
	err := s.account.Fetch(t.Context(), f, items, func(migrate.Item, io.Reader, error) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("an error of the callback: %v after %d calls", err, n)
	}
	n = 0
	err = s.account.Fetch(t.Context(), f, items[:2], func(_ migrate.Item, r io.Reader, err error) error {
		if n++; err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		return err
	})
	if err != nil || n != 2 {
		t.Errorf("after an error: %v, %d calls", err, n)
	}
}

func (s *sourceTest) testBoth(t *testing.T) {
	f, items := s.some(t)
	n := 0
	_, err := s.account.Scan(t.Context(), f, migrate.State{}, func(batch []migrate.Item) error {
		return s.account.Fetch(t.Context(), f, batch, func(_ migrate.Item, r io.Reader, err error) error {
			if err != nil {
				return err
			}
			n++
			_, err = io.Copy(new(strings.Builder), r)
			return err
		})
	})
	if err != nil || n != len(items) {
		t.Errorf("fetched %d of %d while scanning: %v", n, len(items), err)
	}
}
