package dkimkey

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"expost/internal/mailauth"
	"expost/internal/resolver"
	"expost/internal/resolver/resolvertest"
)

const letter = "From: ann@example.org\r\nTo: x@elsewhere.example\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nbody  text\r\n\r\n"

func TestRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	day := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	r := Open(dir)
	r.now = func() time.Time { return day }
	signing := func(want string, all int) {
		t.Helper()
		for _, ring := range []*Ring{r, {dir: dir, now: r.now, keys: map[string][]Key{}}} { // in memory, and as a restart finds it
			keys, err := ring.Keys("Example.org.")
			if err != nil || len(keys) != all {
				t.Fatalf("%d keys, want %d, %v", len(keys), all, err)
			}
			for _, k := range keys {
				if k.Signs != strings.HasPrefix(k.Selector, want) {
					t.Errorf("%+v, want %s to sign", k, want)
				}
			}
		}
	}
	rotate := func(onlyNew bool) {
		t.Helper()
		if _, err := r.Rotate("example.org", onlyNew); err != nil {
			t.Fatal(err)
		}
	}
	if fields, err := r.Sign("example.org", strings.NewReader(letter)); err != nil || fields != nil {
		t.Fatalf("signed without a key: %q, %v", fields, err)
	}
	rotate(false)
	signing("20261124a-", 2)
	day = day.AddDate(0, 1, 0)
	rotate(false)
	signing("20261124a-", 4)
	day = day.AddDate(0, 0, 2)
	signing("20261224a-", 4)
	rotate(false)
	signing("20261224a-", 4)
	rotate(true)
	signing("20261226b-", 2)
	info, err := os.Stat(filepath.Join(dir, "example.org", "20261226b-rsa.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestBadFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := Open(filepath.Join(dir, "dkim"))
	for _, domain := range []string{"", "../x", ".", "a/b"} {
		if _, err := r.Rotate(domain, false); err == nil {
			t.Errorf("%q is no domain", domain)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "dkim", "example.org"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dkim", "example.org", "x.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sign("example.org", strings.NewReader(letter)); err == nil {
		t.Error("a broken key file is no error")
	}
}

// zone returns the records of a ring's keys.
func zone(t *testing.T, keys []Key) []string {
	t.Helper()
	var out []string
	for _, k := range keys {
		text, err := k.Record()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, resolvertest.TXT(k.Name(), text))
	}
	return out
}

// signed returns the letter with its signatures, and the keys.
func signed(t *testing.T) (string, []Key) {
	t.Helper()
	r := Open(t.TempDir())
	keys, err := r.Rotate("example.org", false)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := r.Sign("example.org", strings.NewReader(letter))
	if err != nil || bytes.Count(fields, []byte("DKIM-Signature:")) != 2 {
		t.Fatalf("%s, %v", fields, err)
	}
	return string(fields) + letter, keys
}

func TestWeVerifyWhatWeSign(t *testing.T) {
	t.Parallel()
	text, keys := signed(t)
	srv := resolvertest.Serve(t, zone(t, keys)...)
	v := mailauth.New("mx.example.net", resolver.New(resolver.Options{Server: srv.Addr}))
	for want, text := range map[mailauth.Result]string{
		mailauth.Pass: text,
		mailauth.Fail: strings.Replace(text, "To: ", "From: evil@example.org\r\nTo: ", 1),
	} {
		report, err := v.Verify(context.Background(), &mailauth.Message{Client: netip.MustParseAddr("192.0.2.1"), Text: strings.NewReader(text), Size: int64(len(text))})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range report.DKIM {
			if s.Result != want {
				t.Errorf("%+v, want %s", s, want)
			}
		}
	}
}
