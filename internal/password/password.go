// Package password makes and checks the values of userPassword (RFC 2307
// "{SCHEME}hash"). New ones are argon2id. Those of older directories, {SSHA}
// {SHA} {SMD5} {MD5} {CRYPT} and the SHA-2 kinds, are verified so that nobody
// needs a new password, and reported by NeedsRehash so that the caller can
// replace them at the next login. Beside the hash stand the keys of SCRAM
// (RFC 5802), which let a client prove that it knows the password without sending
// it; see Scram.
package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// Options sets a Verifier up. The zero value is a good one.
type Options struct {
	Memory          uint32 // KiB of memory one argon2id computation takes; 0: 19 MiB
	Time            uint32 // its passes; 0: 2
	Concurrent      int    // computations at once, which bounds the memory; 0: 4
	CacheSize       int    // verified passwords remembered; 0: 10,000; below 0: none
	CacheTTL        time.Duration
	AllowPlain      bool // accept values that are the password itself
	ScramIterations int  // of the SCRAM keys made; 0: 65,536; below 0: none are made
	Now             func() time.Time
}

// Verifier makes and checks password values. It is safe for concurrent use.
type Verifier struct {
	opt   Options
	slots chan struct{}
	decoy string // an argon2id value that no password fits

	mu       sync.Mutex
	key      [32]byte // of the cache; never leaves the process
	verified map[[32]byte]time.Time
}

// New returns a Verifier.
func New(opt Options) *Verifier {
	if opt.Memory == 0 {
		opt.Memory = 19 << 10
	}
	if opt.Time == 0 {
		opt.Time = 2
	}
	if opt.Concurrent == 0 {
		opt.Concurrent = 4
	}
	if opt.CacheSize == 0 {
		opt.CacheSize = 10_000
	}
	if opt.CacheTTL == 0 {
		opt.CacheTTL = 5 * time.Minute
	}
	if opt.ScramIterations == 0 {
		opt.ScramIterations = 65_536
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	v := &Verifier{opt: opt, slots: make(chan struct{}, opt.Concurrent), verified: map[[32]byte]time.Time{}}
	rand.Read(v.key[:])
	v.decoy = argon2Value(opt.Memory, opt.Time, 1, make([]byte, saltLength), make([]byte, keyLength))
	return v
}

const (
	maxLength  = 4096 // bytes of a password
	saltLength = 16
	keyLength  = 32
)

// Hash returns the value to store for a password.
func (v *Verifier) Hash(ctx context.Context, password []byte) (string, error) {
	if len(password) == 0 || len(password) > maxLength {
		return "", fmt.Errorf("a password has 1 to %d bytes", maxLength)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt)
	if err := v.acquire(ctx); err != nil {
		return "", err
	}
	defer v.release()
	key := argon2.IDKey(password, salt, v.opt.Time, v.opt.Memory, 1, keyLength)
	return argon2Value(v.opt.Memory, v.opt.Time, 1, salt, key), nil
}

// Verify tells whether password fits stored, a value of userPassword. A wrong
// one costs an argon2id computation whatever the scheme, so that the time of
// the answer does not tell schemes apart. The error is that of ctx.
func (v *Verifier) Verify(ctx context.Context, stored, password []byte) (bool, error) {
	if len(password) == 0 || len(password) > maxLength {
		return false, v.Decoy(ctx, password)
	}
	key := v.cacheKey(stored, password)
	if v.remembered(key) {
		return true, nil
	}
	scheme, rest := splitScheme(string(stored))
	if scheme == "argon2" {
		ok, err := v.verifyArgon2(ctx, rest, password)
		if ok {
			v.remember(key)
		}
		return ok, err
	}
	if verifyOther(scheme, rest, password, v.opt.AllowPlain) {
		v.remember(key)
		return true, nil
	}
	return false, v.Decoy(ctx, password)
}

// Decoy takes the time of a Verify that fails. Call it where there is no
// password to compare with, so that an unknown login cannot be told from a
// wrong password.
func (v *Verifier) Decoy(ctx context.Context, password []byte) error {
	_, rest := splitScheme(v.decoy)
	_, err := v.verifyArgon2(ctx, rest, password[:min(len(password), maxLength)])
	return err
}

// NeedsRehash tells whether stored should be replaced by a new Hash: it is of
// an older scheme or cheaper than what New was asked for.
func (v *Verifier) NeedsRehash(stored []byte) bool {
	scheme, rest := splitScheme(string(stored))
	if scheme != "argon2" {
		return true
	}
	p, ok := parseArgon2(rest)
	return !ok || p.variant != "argon2id" || p.memory < v.opt.Memory || p.time < v.opt.Time
}

// Clear returns the password of a value that holds one in clear text, which
// must not be stored: hash it first. A value of an unknown scheme is taken for
// a password that starts with a brace.
func Clear(stored []byte) (password []byte, ok bool) {
	switch scheme, rest := splitScheme(string(stored)); scheme {
	case "argon2", "ssha", "sha", "smd5", "md5", "ssha256", "sha256", "ssha512", "sha512", "crypt", scramSHA256, scramSHA1:
		return nil, false
	case "cleartext", "plain":
		return []byte(rest), true
	}
	return stored, true
}

// splitScheme cuts "{SCHEME}rest"; the scheme comes in lower case. A PHC string
// of argon2 stands for its scheme; "$1$…" and its like are {CRYPT}.
func splitScheme(stored string) (scheme, rest string) {
	if strings.HasPrefix(stored, "$argon2") {
		return "argon2", stored
	}
	if strings.HasPrefix(stored, "$") && strings.Count(stored, "$") >= 3 {
		return "crypt", stored
	}
	end := strings.IndexByte(stored, '}')
	if end < 2 || stored[0] != '{' {
		return "", stored
	}
	return strings.ToLower(stored[1:end]), stored[end+1:]
}

// acquire waits for one of the places that bound the memory in use.
func (v *Verifier) acquire(ctx context.Context) error {
	select {
	case v.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *Verifier) release() { <-v.slots }

// cacheKey depends on the stored value, so that a new password is never
// answered from what was remembered of the old one.
func (v *Verifier) cacheKey(stored, password []byte) [32]byte {
	mac := hmac.New(sha256.New, v.key[:])
	fmt.Fprintf(mac, "%d:", len(stored))
	mac.Write(stored)
	mac.Write(password)
	return [32]byte(mac.Sum(nil))
}

// remembered tells whether the pair of the key was verified a short while ago.
func (v *Verifier) remembered(key [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.verified[key]
	if ok && v.opt.Now().After(until) {
		delete(v.verified, key)
		return false
	}
	return ok
}

// remember keeps a verified pair, dropping any other one where there is no room.
func (v *Verifier) remember(key [32]byte) {
	if v.opt.CacheSize < 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for old := range v.verified {
		if len(v.verified) < v.opt.CacheSize {
			break
		}
		delete(v.verified, old)
	}
	v.verified[key] = v.opt.Now().Add(v.opt.CacheTTL)
}

// argon2Value writes the form that OpenLDAP's argon2 module stores.
func argon2Value(memory, time uint32, threads uint8, salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("{ARGON2}$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, time, threads, b64(salt), b64(key))
}
