package password

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// cheap returns a Verifier that is quick enough for tests.
func cheap(opt Options) *Verifier {
	opt.Memory, opt.Time = 64, 1
	return New(opt)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	const long = "Tr0ub4dor&3 längér than eight"
	v := cheap(Options{})
	for stored, password := range map[string]string{
		// crypt(3) of glibc
		"{CRYPT}abNANd1rDfiNc":                                             "secret",
		"{crypt}./17m29LFAflg":                                             "secret",
		"{CRYPT}zZ7NFVOio5w3M":                                             long,
		"{CRYPT}abxxB7HlIeckU":                                             "a",
		"{CRYPT}$1$saltsalt$9xy1btjgzLYfb7hivXtC//":                        "secret",
		"{CRYPT}$1$x$MyNPZ.dgF2ySfQPyGaTuV1":                               long,
		"$1$x$P8VObTrxaqT4VBmnH06P8.":                                      "a",
		"{CRYPT}$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.": "secret",
		"{CRYPT}$5$rounds=1400$anotherlongsalt$n.MXi2VvI3SlEkQp7BQaziwrWlPU.QK1tAiyRZr4Py5":                              long,
		"{CRYPT}$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.":    "secret",
		"{CRYPT}$6$rounds=1000$x$fX/WuBCHxaZFTxgKYILWyX3dpwbt00F6Twh7GaeiWc3x7fUB/1Dfdnp9IvEqktvGk6Daoaq3Vl3IWhFtLZvBf/": long,
		"{CRYPT}$2b$04$TkigkGOPbD3dg47A9KffhujKKouUG4nlcJH4bn8Q.lNalyiCAz3Ky":                                            "secret",
		"$2y$04$TkigkGOPbD3dg47A9KffhujKKouUG4nlcJH4bn8Q.lNalyiCAz3Ky":                                                   "secret",
		// slappasswd
		"{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$c8qsR7vY5a9IGI864ae1Bw$C6lluEwVS0eYRKXLzww4lhYxltgXObaEyt1sbnD8gVc": "secret",
		"{SSHA}+BzpSujtOgOuw+r0E8Pp4hWAmWbldkNK": "secret",
		"{SMD5}z4KWJA8Xa6/MSjoID9VzE4i065A=":     "secret",
		"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=":      "secret",
		"{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==":          "secret",
		"{md5}5ebe2294ecd0e0f08eab7690d2a6ee69":  "secret",
	} {
		for _, c := range []struct {
			password string
			want     bool
		}{{password, true}, {password, true}, {password + "x", c8(stored)}, {"", false}, {strings.ToUpper(password), false}} {
			ok, err := v.Verify(context.Background(), []byte(stored), []byte(c.password))
			if ok != c.want || err != nil {
				t.Errorf("%s with %q: %v, %v", stored, c.password, ok, err)
			}
		}
		if v.NeedsRehash([]byte(stored)) == strings.HasPrefix(stored, "{ARGON2}$argon2id") {
			t.Errorf("%s: NeedsRehash = %v", stored, v.NeedsRehash([]byte(stored)))
		}
		if _, ok := Clear([]byte(stored)); ok {
			t.Errorf("%s is taken for clear text", stored)
		}
	}
}

// c8 tells whether stored is a scheme that only looks at eight bytes, of a
// password that has more.
func c8(stored string) bool { return stored == "{CRYPT}zZ7NFVOio5w3M" }

func TestArgon2(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := cheap(Options{CacheSize: -1})
	stored, err := v.Hash(ctx, []byte("geheim"))
	if err != nil || !strings.HasPrefix(stored, "{ARGON2}$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("%q, %v", stored, err)
	}
	for password, want := range map[string]bool{"geheim": true, "Geheim": false, "": false} {
		if ok, err := v.Verify(ctx, []byte(stored), []byte(password)); ok != want || err != nil {
			t.Errorf("%q: %v, %v", password, ok, err)
		}
	}
	if v.NeedsRehash([]byte(stored)) || !New(Options{}).NeedsRehash([]byte(stored)) {
		t.Error("a rehash is due where the cost has risen, and only there")
	}
	other, err := v.Hash(ctx, []byte("geheim"))
	if err != nil || other == stored {
		t.Error("two hashes of one password are equal")
	}
	for _, bad := range []string{"", strings.Repeat("x", maxLength+1)} {
		if _, err := v.Hash(ctx, []byte(bad)); err == nil {
			t.Errorf("a password of %d bytes was hashed", len(bad))
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	v := cheap(Options{})
	for _, stored := range []string{
		"secret", "{CLEARTEXT}secret", "{PLAIN}secret", "{NOSUCH}secret", "{SHA}", "{SHA}secret", "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
		"{CRYPT}secret", "{CRYPT}*", "{CRYPT}$5$rounds=99999999$x$y", "{CRYPT}$2b$31$TkigkGOPbD3dg47A9KffhujKKouUG4nlcJH4bn8Q.lNalyiCAz3Ky",
		"{ARGON2}$argon2id$v=19$m=99999999,t=1,p=1$AAAA$AAAAAAAA", "{ARGON2}$argon2id$v=19$m=64,t=0,p=0$AAAA$AAAAAAAA", "{ARGON2}", "", "{", "{}",
	} {
		if ok, err := v.Verify(context.Background(), []byte(stored), []byte("secret")); ok || err != nil {
			t.Errorf("%q was accepted", stored)
		}
	}
	plain := cheap(Options{AllowPlain: true})
	for _, stored := range []string{"secret", "{CLEARTEXT}secret"} {
		if ok, _ := plain.Verify(context.Background(), []byte(stored), []byte("secret")); !ok {
			t.Errorf("%q was refused although clear text is allowed", stored)
		}
	}
}

func TestClear(t *testing.T) {
	t.Parallel()
	for stored, want := range map[string]string{"{CLEARTEXT}a": "a", "{plain}{b}": "{b}", "{x}y": "{x}y", "secret": "secret", "": ""} {
		if got, ok := Clear([]byte(stored)); !ok || string(got) != want {
			t.Errorf("Clear(%q) = %q, %v", stored, got, ok)
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	now := time.Unix(1_700_000_000, 0)
	v := cheap(Options{CacheSize: 2, CacheTTL: time.Minute, Now: func() time.Time { return now }})
	stored, err := v.Hash(ctx, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	key := v.cacheKey([]byte(stored), []byte("a"))
	if _, err := v.Verify(ctx, []byte(stored), []byte("b")); err != nil || v.remembered(key) {
		t.Fatal("a wrong password was remembered")
	}
	if _, err := v.Verify(ctx, []byte(stored), []byte("a")); err != nil || !v.remembered(key) {
		t.Fatal("a right password was not remembered")
	}
	now = now.Add(2 * time.Minute)
	if v.remembered(key) {
		t.Error("it was remembered for too long")
	}
	for _, p := range []string{"x", "y", "z"} {
		v.remember(v.cacheKey([]byte(stored), []byte(p)))
	}
	if len(v.verified) != 2 {
		t.Errorf("%d are remembered where there is room for 2", len(v.verified))
	}
}

// TestBounded has more logins at once than places, and one that gives up.
func TestBounded(t *testing.T) {
	t.Parallel()
	v := cheap(Options{Concurrent: 2, CacheSize: -1})
	stored, err := v.Hash(context.Background(), []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if ok, err := v.Verify(context.Background(), []byte(stored), []byte("a")); !ok || err != nil {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
	wg.Wait()
	for range 2 {
		v.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := v.Verify(ctx, []byte(stored), []byte("a")); err == nil {
		t.Error("a login that was given up went on")
	}
}

func FuzzVerify(f *testing.F) {
	v := cheap(Options{CacheSize: -1})
	for _, s := range []string{"{CRYPT}abNANd1rDfiNc", "{SSHA}AAAA", "{ARGON2}$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAAAAAA", "$1$$", "$5$rounds=1000$$"} {
		f.Add(s, []byte("secret"))
	}
	f.Fuzz(func(t *testing.T, stored string, password []byte) {
		if strings.Contains(stored, "rounds=") || strings.Contains(stored, "$argon2") || strings.Contains(stored, "$2") {
			t.Skip("slow by design")
		}
		_, _ = v.Verify(context.Background(), []byte(stored), password)
		v.NeedsRehash([]byte(stored))
	})
}

func BenchmarkVerifyCached(b *testing.B) {
	v := New(Options{})
	stored, err := v.Hash(context.Background(), []byte("secret"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, _ := v.Verify(context.Background(), []byte(stored), []byte("secret")); !ok {
			b.Fatal("wrong")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := New(Options{CacheSize: -1})
	stored, err := v.Hash(context.Background(), []byte("secret"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, _ := v.Verify(context.Background(), []byte(stored), []byte("secret")); !ok {
			b.Fatal("wrong")
		}
	}
}
