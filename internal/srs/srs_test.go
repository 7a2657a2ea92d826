package srs

import (
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
)

// at returns a Rewriter at a day.
func at(day int, domain string, keys ...string) *Rewriter {
	r := New(domain, []byte(keys[0]))
	for _, k := range keys[1:] {
		r.keys = append(r.keys, []byte(k))
	}
	r.now = func() time.Time { return time.Unix(int64(day)*86400+7, 0) }
	return r
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, from := range []mail.Address{"ann@a.example", "Ann.B+list@A.example", "a=b@x.example", "o'neil@x.example", "a b@x.example", "müller@müller.example"} {
		r := at(20000, "ours.example", "key")
		out := r.Forward(from)
		if !strings.HasPrefix(string(out), "SRS0=") || out.Domain() != "ours.example" {
			t.Errorf("%s became %s", from, out)
		}
		for _, form := range []mail.Address{out, mail.Address(strings.ToLower(string(out)))} {
			back, err := r.Reverse(form)
			if err != nil || !strings.EqualFold(string(back), string(from)) {
				t.Errorf("%s leads back to %s, %v, want %s", form, back, err, from)
			}
		}
	}
}

func TestChainOfForwarders(t *testing.T) {
	t.Parallel()
	first, second, third := at(20000, "one.example", "1"), at(20000, "two.example", "2"), at(20000, "three.example", "3")
	a := first.Forward("ann@a.example")
	b := second.Forward(a)
	c := third.Forward(b)
	if !strings.HasPrefix(string(b), "SRS1=") || !strings.HasPrefix(string(c), "SRS1=") || len(c) > len(b)+len("three") {
		t.Fatalf("%s, %s", b, c)
	}
	back, err := third.Reverse(c)
	if err != nil || back != a {
		t.Fatalf("%s leads back to %s, %v, want %s", c, back, err, a)
	}
	if back, err = first.Reverse(back); err != nil || back != "ann@a.example" {
		t.Errorf("%s, %v", back, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := at(20000, "ours.example", "key")
	good := string(r.Forward("ann@a.example"))
	for name, addr := range map[string]string{
		"another victim": strings.Replace(good, "a.example=ann", "b.example=ann", 1),
		"another name":   strings.Replace(good, "=ann@", "=bob@", 1),
		"no hash":        "SRS0==AA=a.example=ann@ours.example",
		"short":          "SRS0=ABCDEFGH@ours.example",
		"empty":          "SRS0=@ours.example",
		"SRS1 forged":    "SRS1=ABCDEFGH=one.example==X=Y=a.example=ann@ours.example",
		"not rewritten":  "ann@ours.example",
	} {
		if back, err := r.Reverse(mail.Address(addr)); mail.KindOf(err) != mail.KindNotExist {
			t.Errorf("%s: %s leads to %s, %v", name, addr, back, err)
		}
	}
	for _, tt := range []struct {
		day  int
		keys []string
		ok   bool
	}{
		{20000 + 21, []string{"key"}, true}, {20000 + 22, []string{"key"}, false}, {20000 - 1, []string{"key"}, true}, {20000 - 2, []string{"key"}, false},
		{20000, []string{"new", "key"}, true}, {20000, []string{"new"}, false},
	} {
		if _, err := at(tt.day, "ours.example", tt.keys...).Reverse(mail.Address(good)); (err == nil) != tt.ok {
			t.Errorf("day %d, keys %q: %v", tt.day, tt.keys, err)
		}
	}
}

func TestUnchanged(t *testing.T) {
	t.Parallel()
	r := at(20000, "ours.example", "key")
	for _, from := range []mail.Address{"", mail.Address(strings.Repeat("x", 250) + "@a.example")} {
		if got := r.Forward(from); got != from {
			t.Errorf("%q became %q", from, got)
		}
	}
}

func FuzzReverse(f *testing.F) {
	r := at(20000, "ours.example", "key")
	f.Add("SRS0=ABCDEFGH=AA=a.example=ann@ours.example")
	f.Add("srs1-x=y==z@q")
	f.Add(string(r.Forward("ann@a.example")))
	f.Fuzz(func(t *testing.T, s string) {
		back, err := r.Reverse(mail.Address(s))
		if err == nil && (back.Local() == "" || back.Domain() == "" || strings.ContainsAny(string(back), "\r\n\x00<>")) {
			t.Errorf("%q leads to %q", s, back)
		}
		r.Forward(mail.Address(s))
	})
}
