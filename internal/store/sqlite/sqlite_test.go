package sqlite_test

import (
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

func TestSmoke(t *testing.T) {
	e, err := sqlite.New(t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(e, store.Options{})
	ctx := t.Context()
	if err := s.Create(ctx, "example.org/ajay"); err != nil {
		t.Fatal(err)
	}
	a, err := s.Open(ctx, "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	box, err := a.Mailbox(ctx, "inbox")
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.Select(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 100_000, 2_000_000} {
		in, err := s.Spool(ctx, []byte("Received: x\r\n"), strings.NewReader("Subject: x\r\n\r\n"+strings.Repeat("hello world\r\n", n)), 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Append(ctx, box.ID, in, store.AppendOptions{Flags: mail.Seen})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(got)
		in.Close()
		b, err := a.Body(ctx, got.Email)
		if err != nil {
			t.Fatal(err)
		}
		var sb strings.Builder
		if _, err := b.WriteTo(&sb); err != nil || int64(sb.Len()) != in.Size() {
			t.Fatal(err, sb.Len())
		}
		b.Close()
	}
	<-v.Changed()
	t.Log(v.Latest().Len(), v.Latest().Mailbox())
	v.Close()
	a.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
