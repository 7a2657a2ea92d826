package moderation

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	m := &Message{Token: NewToken(), Stage: Moderate, List: "news@example.org", From: "x@far.example", Subject: "a \"b\"", Received: time.Now().Round(0)}
	asked := false
	err := s.Put(m, strings.NewReader("Subject: x\r\n\r\nbody\r\n"), func() error {
		asked = true
		if _, err := s.Get(m.Token); mail.KindOf(err) != mail.KindNotExist {
			t.Errorf("it can be decided on before it is kept: %v", err)
		}
		return nil
	})
	if err != nil || !asked {
		t.Fatal(asked, err)
	}
	s = open(t, dir) // a restart
	h, err := s.Get(m.Token)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	body, err := io.ReadAll(h.Body())
	if err != nil || string(body) != "Subject: x\r\n\r\nbody\r\n" || h.From != m.From || h.Subject != m.Subject || !h.Received.Equal(m.Received) {
		t.Errorf("%q, %+v, %v", body, h.Message, err)
	}
	if all, err := s.All(); err != nil || len(all) != 1 || all[0].List != m.List {
		t.Errorf("%+v, %v", all, err)
	}
	refused := errors.New("the disk is full")
	if err := s.Decide(m.Token, func(*Held) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Decide: %v", err)
	}
	var carried atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Decide(m.Token, func(*Held) error { carried.Add(1); return nil }); err != nil && mail.KindOf(err) != mail.KindNotExist {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := carried.Load(); n != 1 {
		t.Errorf("carried out %d times", n)
	}
	if all, err := s.All(); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestUnfinished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	m := &Message{Token: NewToken()}
	away := errors.New("nobody can be asked")
	if err := s.Put(m, strings.NewReader("x"), func() error { return away }); !errors.Is(err, away) {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%v is left", files)
	}
	if err := os.WriteFile(filepath.Join(dir, m.Token+".new"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%v is left after a crash", files)
	}
}

func TestBadFilesAndTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	good, bad := &Message{Token: NewToken()}, NewToken()
	if err := s.Put(good, strings.NewReader("x"), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, bad+".held"), []byte("no json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := s.All(); len(all) != 1 || mail.KindOf(err) != mail.KindCorrupt || !strings.Contains(err.Error(), bad) {
		t.Errorf("%+v, %v", all, err)
	}
	for _, token := range []string{"", "../x", strings.ToUpper(good.Token), good.Token + "a", strings.Repeat("/", 26)} {
		if _, err := s.Get(token); mail.KindOf(err) != mail.KindNotExist {
			t.Errorf("Get(%q): %v", token, err)
		}
	}
}
