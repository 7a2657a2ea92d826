// Package dkimkey keeps the DKIM keys of our domains and signs with them: an
// RSA key of 2,048 bits, which everybody verifies, and an Ed25519 key (RFC
// 8463) for those who can.
//
// A key is a file DOMAIN/SELECTOR.pem (PKCS #8, 0600). Its selector is the day it was
// made, a letter and the algorithm, "20261124a-rsa", so that the files alone
// say which key signs: the newest that was made [Settle] ago, for by then its
// record is seen everywhere; the oldest where none is that old. [Ring.Rotate]
// makes a new generation and keeps the one before it, whose records stay
// published because mail it signed is still under way.
package dkimkey

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"expost/internal/mail"
)

// Settle is how long a new key waits before it signs: for its record to be
// published, and for caches to forget that there was none.
const Settle = 48 * time.Hour

// Ring has the keys of every domain below a folder. It is safe for concurrent
// use; one Ring writes to a folder.
type Ring struct {
	dir  string
	now  func() time.Time
	mu   sync.Mutex
	keys map[string][]Key // by mail.DomainKey, as far as they were read
}

// Key is one key of a domain.
type Key struct {
	Domain   string // ASCII
	Selector string
	Signs    bool // it is used now
	private  crypto.Signer
}

// Open returns the Ring of a folder, which need not be there yet.
func Open(dir string) *Ring { return &Ring{dir: dir, now: time.Now, keys: map[string][]Key{}} }

// Keys returns the keys of a domain, oldest first; none is no error.
func (r *Ring) Keys(domain string) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys, err := r.read(domain)
	return r.mark(keys), err
}

// read returns the keys of a domain from memory, or from its folder.
func (r *Ring) read(domain string) ([]Key, error) {
	name := mail.DomainKey(domain)
	if keys, ok := r.keys[name]; ok {
		return keys, nil
	}
	ascii, err := folder(name)
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(r.dir, ascii))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the DKIM keys of %q: %w", domain, err)
	}
	var keys []Key
	for _, f := range files {
		selector, ok := strings.CutSuffix(f.Name(), ".pem")
		if !ok {
			continue
		}
		private, err := readKey(filepath.Join(r.dir, ascii, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading the DKIM key %q of %q: %w", selector, domain, err)
		}
		keys = append(keys, Key{Domain: ascii, Selector: selector, private: private})
	}
	if len(keys) > 0 {
		r.keys[name] = keys
	}
	return keys, nil
}

// folder returns the name of a domain's folder, its ASCII form.
func folder(domain string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || ascii == "" || strings.ContainsAny(ascii, `/\`) || ascii[0] == '.' {
		return "", mail.Errorf(mail.KindInvalid, "%q is not a domain", domain)
	}
	return ascii, nil
}

func readKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, mail.Errorf(mail.KindCorrupt, "%s holds no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, mail.WrapError(mail.KindCorrupt, err, "%s holds no PKCS #8 key", path)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, mail.Errorf(mail.KindCorrupt, "%s holds a key that is neither RSA nor Ed25519", path)
}

// mark returns a copy of keys that says which of them sign now.
func (r *Ring) mark(keys []Key) []Key {
	keys = slices.Clone(keys)
	settled := r.now().Add(-Settle).UTC().Format(dayLayout)
	current := ""
	for _, k := range keys {
		if g := k.generation(); current == "" || g > current && g[:len(dayLayout)] <= settled {
			current = g
		}
	}
	for i := range keys {
		keys[i].Signs = keys[i].generation() == current
	}
	return keys
}

// dayLayout is how a selector begins; a letter follows.
const dayLayout = "20060102"

// generation returns the part of the selector that keys made together share,
// never shorter than a day.
func (k *Key) generation() string {
	g, _, _ := strings.Cut(k.Selector, "-")
	return (g + strings.Repeat("0", len(dayLayout)))[:max(len(g), len(dayLayout))]
}

// Algorithm returns "rsa" or "ed25519".
func (k *Key) Algorithm() string {
	if _, ok := k.private.(ed25519.PrivateKey); ok {
		return "ed25519"
	}
	return "rsa"
}

// Name returns the name of the key's record.
func (k *Key) Name() string { return k.Selector + "._domainkey." + k.Domain + "." }

// Record returns the text of the key's record (RFC 6376 §3.6.1).
func (k *Key) Record() (string, error) {
	var public []byte
	switch p := k.private.Public().(type) {
	case ed25519.PublicKey:
		public = p
	default:
		der, err := x509.MarshalPKIXPublicKey(p)
		if err != nil {
			return "", fmt.Errorf("encoding the public key %q: %w", k.Selector, err)
		}
		public = der
	}
	return "v=DKIM1; k=" + k.Algorithm() + "; p=" + base64.StdEncoding.EncodeToString(public), nil
}

// Rotate makes a new generation of keys for a domain and forgets all but it and
// the one that signs now; with onlyNew that one too, so that the new keys sign
// at once. It returns the keys that are left, oldest first.
func (r *Ring) Rotate(domain string, onlyNew bool) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, err := r.read(domain)
	if err != nil {
		return nil, err
	}
	ascii, err := folder(mail.DomainKey(domain))
	if err != nil {
		return nil, err
	}
	fresh, err := r.create(ascii, old)
	if err != nil {
		return nil, err
	}
	delete(r.keys, mail.DomainKey(domain))
	for _, k := range r.mark(old) {
		if k.Signs && !onlyNew {
			fresh = append(fresh, k)
			continue
		}
		if err := os.Remove(filepath.Join(r.dir, ascii, k.Selector+".pem")); err != nil {
			return nil, fmt.Errorf("forgetting the DKIM key %q: %w", k.Selector, err)
		}
	}
	slices.SortFunc(fresh, func(a, b Key) int { return strings.Compare(a.Selector, b.Selector) })
	r.keys[mail.DomainKey(domain)] = fresh
	return r.mark(fresh), nil
}

// create makes and writes the keys of a new generation.
func (r *Ring) create(domain string, old []Key) ([]Key, error) {
	generation := ""
	day := r.now().UTC().Format(dayLayout)
	for letter := 'a'; generation == ""; letter++ {
		if letter > 'z' {
			return nil, mail.Errorf(mail.KindConflict, "%s had 26 rotations today", domain)
		}
		g := day + string(letter)
		if !slices.ContainsFunc(old, func(k Key) bool { return k.generation() == g }) {
			generation = g
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making an RSA key: %w", err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making an Ed25519 key: %w", err)
	}
	keys := []Key{
		{Domain: domain, Selector: generation + "-ed25519", private: edKey},
		{Domain: domain, Selector: generation + "-rsa", private: rsaKey},
	}
	for _, k := range keys {
		if err := r.write(&k); err != nil {
			return nil, fmt.Errorf("writing the DKIM key %q of %q: %w", k.Selector, domain, err)
		}
	}
	return keys, nil
}

// write puts a key on disk.
func (r *Ring) write(k *Key) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.dir, k.Domain)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, k.Selector+".pem")
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
