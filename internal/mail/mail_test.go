package mail

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want, wrong string }{
		{in: "ajay@linuxforu.com", want: "ajay@linuxforu.com"},
		{in: "Ajay.Kumar+x@LinuxForU.com", want: "Ajay.Kumar+x@LinuxForU.com"},
		{in: `"ajay"@example.org`, want: "ajay@example.org"},
		{in: `"a b"@example.org`, want: "a b@example.org"},
		{in: `"a\"b"@example.org`, want: `a"b@example.org`},
		{in: `"a@b"@example.org`, want: "a@b@example.org"},
		{in: "müller@müller.example", want: "müller@müller.example"},
		{in: "x@[192.0.2.1]", want: "x@[192.0.2.1]"},
		{in: "nobody", wrong: "must look like name@domain"},
		{in: "@example.org", wrong: "must look like name@domain"},
		{in: "x@", wrong: "must look like name@domain"},
		{in: "a b@example.org", wrong: "must be quoted"},
		{in: "a\r\nb@example.org", wrong: "must be quoted"},
		{in: "a@b/../c", wrong: "no domain may hold"},
		{in: `"a@example.org`, wrong: "does not end"},
		{in: `"a"b"@example.org`, wrong: "a quote stands inside"},
		{in: strings.Repeat("x", 300) + "@example.org", wrong: "too long"},
	} {
		got, err := ParseAddress(tt.in)
		if tt.wrong == "" && (err != nil || string(got) != tt.want) {
			t.Errorf("%q: %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong) || KindOf(err) != KindInvalid) {
			t.Errorf("%q: %q, %v; want an error with %q", tt.in, got, err, tt.wrong)
		}
	}
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[Address]string{
		"Ajay@LinuxForU.COM":        "ajay@linuxforu.com",
		"a@xn--mller-kva.example":   "a@müller.example",
		"a@MÜLLER.example":          "a@müller.example",
		"a@example.org.":            "a@example.org",
		"a@b@example.org":           "a@b@example.org",
		"ÄRGER@xn--not-punycode-.x": "ärger@xn--not-punycode-.x",
	} {
		if got := in.Key(); got != want {
			t.Errorf("%q.Key() = %q, want %q", in, got, want)
		}
	}
	if a := Address("a@b@example.org"); a.Local() != "a@b" || a.Domain() != "example.org" {
		t.Errorf("parts %q %q", a.Local(), a.Domain())
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c.d`, `"\"@x`, "ä@ö", "@@@", `""@x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if a.Local() == "" || a.Domain() == "" || strings.ContainsAny(string(a), "\r\n\x00") {
			t.Fatalf("%q gave %q", s, a)
		}
		if slow := strings.ToLower(a.Local()) + "@" + DomainKey(a.Domain()); a.Key() != slow {
			t.Fatalf("the key of %q is %q, not %q", a, a.Key(), slow)
		}
		if k := Address(a.Key()); k.Key() != a.Key() {
			t.Fatalf("the key of %q is not its own key: %q, %q", a, a.Key(), k.Key())
		}
	})
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	k := NewKeywords("$Forwarded", "Work", "$forwarded")
	if k.String() != "$Forwarded Work" {
		t.Errorf("%q", k)
	}
	if k != NewKeywords("Work", "$Forwarded") {
		t.Error("equal sets differ")
	}
	if !k.Has("WORK") || k.Has("Wor") || k.Has("") {
		t.Error("Has")
	}
	if got := k.Add("work", "Later").String(); got != "$Forwarded Later Work" {
		t.Errorf("Add: %q", got)
	}
	if got := k.Remove("WORK", "$FORWARDED"); got != (Keywords{}) {
		t.Errorf("Remove: %q", got)
	}
	if (Keywords{}).Words() != nil && len((Keywords{}).Words()) != 0 {
		t.Error("the empty set has words")
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	if got := (Seen | Draft | Answered).String(); got != `\Answered \Seen \Draft` {
		t.Errorf("%q", got)
	}
	for _, f := range SystemFlags() {
		if got, ok := FlagByName(strings.ToLower(f.String())); !ok || got != f {
			t.Errorf("FlagByName(%q) = %v, %v", f, got, ok)
		}
	}
	if _, ok := FlagByName(`\Recent`); ok {
		t.Error(`\Recent is a flag`)
	}
}

// TestUIDSet compares with a map over random ranges.
func TestUIDSet(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		var set UIDSet
		want := map[UID]bool{}
		for range 1 + rnd.IntN(30) {
			a, b := UID(1+rnd.IntN(100)), UID(1+rnd.IntN(100))
			if rnd.IntN(2) == 0 {
				b = a
			}
			set.AddRange(a, b)
			for u := min(a, b); u <= max(a, b); u++ {
				want[u] = true
			}
		}
		got := slices.Collect(set.All())
		if len(got) != len(want) || set.Len() != len(want) || !slices.IsSorted(got) {
			t.Fatalf("seed %d: %d UIDs of %d in %s", seed, len(got), len(want), set)
		}
		for u := UID(1); u <= 100; u++ {
			if set.Contains(u) != want[u] {
				t.Fatalf("seed %d: Contains(%d) = %v in %s", seed, u, set.Contains(u), set)
			}
		}
		for i := 1; i < len(set); i++ {
			if set[i].First <= set[i-1].Last+1 {
				t.Fatalf("seed %d: ranges touch: %s", seed, set)
			}
		}
	}
	var edge UIDSet
	edge.AddRange(4294967295, 4294967290)
	edge.Add(1)
	edge.AddRange(4294967280, 4294967295)
	if edge.String() != "1,4294967280:4294967295" || edge.Len() != 17 || len(slices.Collect(edge.All())) != 17 {
		t.Errorf("at the top: %s", edge)
	}
}

func TestErrorKinds(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	err := fmt.Errorf("storing: %w", WrapError(KindUnavailable, cause, "no room for the message"))
	if KindOf(err) != KindUnavailable || PublicText(err) != "no room for the message" || !errors.Is(err, cause) {
		t.Errorf("%v: %v, %q", err, KindOf(err), PublicText(err))
	}
	if KindOf(cause) != KindInternal || PublicText(cause) != "internal error" {
		t.Error("a private cause is told to clients")
	}
	for k := KindInternal; k <= KindConflict; k++ {
		if k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
}

func TestDateKeepsItsZone(t *testing.T) {
	t.Parallel()
	at := time.Date(2003, 5, 1, 12, 30, 15, 999, time.FixedZone("", 5*3600+1800))
	if got := DateOf(at).Time().Format(time.RFC3339); got != "2003-05-01T12:30:15+05:30" {
		t.Errorf("%s", got)
	}
}
