package password

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// Scram is what a server keeps for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677): enough
// to see that a client knows the password, not enough to log in elsewhere.
type Scram struct {
	Iterations int
	Salt       []byte
	StoredKey  []byte // 32 bytes
	ServerKey  []byte // 32 bytes
}

// Limits of a stored value, which somebody else may have written.
const (
	minScramIterations = 4096 // RFC 7677 §4
	maxScramIterations = 10_000_000
	maxScramSalt       = 1024
)

const (
	scramSHA256 = "scram-sha-256"
	scramSHA1   = "scram-sha-1"
)

// NewScram returns the keys of a password under a salt.
func NewScram(password, salt []byte, iterations int) (Scram, error) {
	return newScram(sha256.New, password, salt, iterations)
}

// newScram computes the keys (RFC 5802 §3).
func newScram(newHash func() hash.Hash, password, salt []byte, iterations int) (Scram, error) {
	salted, err := pbkdf2.Key(newHash, Prepare(string(password)), salt, iterations, newHash().Size())
	if err != nil {
		return Scram{}, fmt.Errorf("deriving SCRAM keys: %w", err)
	}
	clientKey := hmacOf(newHash, salted, "Client Key")
	stored := newHash()
	stored.Write(clientKey)
	return Scram{Iterations: iterations, Salt: salt, StoredKey: stored.Sum(nil), ServerKey: hmacOf(newHash, salted, "Server Key")}, nil
}

func hmacOf(newHash func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(newHash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Fits tells whether the client that sent proof for authMessage knows the
// password, and returns what proves to it that we know it too (RFC 5802 §3).
func (s Scram) Fits(authMessage string, proof []byte) (signature []byte, ok bool) {
	signature = hmacOf(sha256.New, s.ServerKey, authMessage)
	clientSignature := hmacOf(sha256.New, s.StoredKey, authMessage)
	if len(proof) != len(clientSignature) {
		return nil, false
	}
	clientKey := make([]byte, len(proof))
	subtle.XORBytes(clientKey, proof, clientSignature)
	stored := sha256.Sum256(clientKey)
	return signature, subtle.ConstantTimeCompare(stored[:], s.StoredKey) == 1
}

// Value returns the value of userPassword that holds the keys: "{SCRAM-SHA-256}"
// and the text of RFC 5803 §2.
func (s Scram) Value() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{SCRAM-SHA-256}%d:%s$%s:%s", s.Iterations, b64(s.Salt), b64(s.StoredKey), b64(s.ServerKey))
}

// IsScram tells whether a value of userPassword holds SCRAM keys.
func IsScram(stored []byte) bool {
	scheme, _ := splitScheme(string(stored))
	return scheme == scramSHA256
}

// ParseScram reads a value of userPassword that holds SCRAM-SHA-256 keys, in the
// form of RFC 5803 or of Dovecot ("4096,salt,stored,server").
func ParseScram(stored []byte) (Scram, bool) {
	scheme, rest := splitScheme(string(stored))
	if scheme != scramSHA256 {
		return Scram{}, false
	}
	return parseScram(rest, sha256.Size)
}

// parseScram reads what stands behind the scheme.
func parseScram(text string, size int) (Scram, bool) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '$' || r == ',' })
	if len(parts) != 4 {
		return Scram{}, false
	}
	var s Scram
	var err error
	if s.Iterations, err = strconv.Atoi(parts[0]); err != nil || s.Iterations < minScramIterations || s.Iterations > maxScramIterations {
		return Scram{}, false
	}
	for i, field := range []*[]byte{&s.Salt, &s.StoredKey, &s.ServerKey} {
		if *field, err = base64.StdEncoding.DecodeString(parts[i+1]); err != nil {
			return Scram{}, false
		}
	}
	return s, len(s.Salt) > 0 && len(s.Salt) <= maxScramSalt && len(s.StoredKey) == size && len(s.ServerKey) == size
}

// verifyScram checks a password against stored keys.
func verifyScram(scheme, rest string, password []byte) bool {
	newHash := sha256.New
	if scheme == scramSHA1 {
		newHash = sha1.New
	}
	s, ok := parseScram(rest, newHash().Size())
	if !ok {
		return false
	}
	computed, err := newScram(newHash, password, s.Salt, s.Iterations)
	return err == nil && subtle.ConstantTimeCompare(computed.StoredKey, s.StoredKey) == 1
}

// MakesScram tells whether keys are to be stored beside the hash.
func (v *Verifier) MakesScram() bool { return v.opt.ScramIterations > 0 }

// Scram returns the keys to store for a password, under a new salt.
func (v *Verifier) Scram(password []byte) (Scram, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt)
	return NewScram(password, salt, v.opt.ScramIterations)
}

// Decoys returns keys that no password fits, always the same ones for a name, so
// that an unknown login looks like any other. secret is the server's own.
func Decoys(secret []byte, name string, iterations int) Scram {
	derive := func(what string) []byte { return hmacOf(sha256.New, secret, what+"\x00"+name) }
	return Scram{
		Iterations: max(iterations, minScramIterations), Salt: derive("salt")[:saltLength],
		StoredKey: derive("stored"), ServerKey: derive("server"),
	}
}

// WithoutScram returns the values that hold no SCRAM keys.
func WithoutScram(values [][]byte) [][]byte {
	var list [][]byte
	for _, v := range values {
		if !IsScram(v) {
			list = append(list, bytes.Clone(v))
		}
	}
	return list
}
