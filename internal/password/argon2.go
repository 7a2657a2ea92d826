package password

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Limits of a stored argon2 value, which somebody else may have written.
const (
	maxArgon2Memory = 1 << 20 // KiB
	maxArgon2Time   = 64
	maxArgon2Key    = 128 // bytes
)

// argon2Params is a parsed PHC string.
type argon2Params struct {
	variant      string // argon2id or argon2i
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// parseArgon2 reads "$argon2id$v=19$m=65536,t=2,p=1$salt$key".
func parseArgon2(s string) (argon2Params, bool) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return argon2Params{}, false
	}
	p := argon2Params{variant: parts[1]}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); n != 3 || err != nil {
		return p, false
	}
	var errSalt, errKey error
	p.salt, errSalt = base64.RawStdEncoding.DecodeString(parts[4])
	p.key, errKey = base64.RawStdEncoding.DecodeString(parts[5])
	ok := errSalt == nil && errKey == nil && (p.variant == "argon2id" || p.variant == "argon2i") &&
		p.memory > 0 && p.memory <= maxArgon2Memory && p.time > 0 && p.time <= maxArgon2Time && p.threads > 0 &&
		len(p.key) >= 4 && len(p.key) <= maxArgon2Key
	return p, ok
}

// verifyArgon2 computes the key again, in one of the bounded places.
func (v *Verifier) verifyArgon2(ctx context.Context, phc string, password []byte) (bool, error) {
	p, ok := parseArgon2(phc)
	if !ok {
		return false, nil
	}
	if err := v.acquire(ctx); err != nil {
		return false, err
	}
	defer v.release()
	derive := argon2.IDKey
	if p.variant == "argon2i" {
		derive = argon2.Key
	}
	key := derive(password, p.salt, p.time, p.memory, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1, nil
}
