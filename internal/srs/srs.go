// Package srs rewrites the reverse-path of mail that is forwarded (the Sender
// Rewriting Scheme), so that SPF at the next host finds a domain that this host
// may send for, and finds the way back when that mail bounces.
//
// An address x@a.example becomes SRS0=HASH=TT=a.example=x@ours, with the day TT
// in it; one that another forwarder has rewritten already becomes
// SRS1=HASH=first.example==HASH=TT=a.example=x@ours, which leads back to that first
// forwarder. HASH is an HMAC, so that nobody but we can make an address that
// leads out of this host, and days end.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"expost/internal/mail"
)

// Lifetime is how long a rewritten address leads back: longer than mail is
// tried and a report about it takes.
const Lifetime = 21 * 24 * time.Hour

const (
	alphabet   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	hashLength = 8    // characters: 40 bits
	dayCycle   = 1024 // two characters
	maxLocal   = 256  // bytes
)

// Rewriter rewrites for one domain. It is safe for concurrent use.
type Rewriter struct {
	domain string
	keys   [][]byte
	now    func() time.Time
}

// New returns a Rewriter whose addresses are in domain. The first key signs;
// the others are older ones that still lead back.
func New(domain string, key []byte, older ...[]byte) *Rewriter {
	return &Rewriter{domain: domain, keys: append([][]byte{key}, older...), now: time.Now}
}

// Domain returns the domain of rewritten addresses.
func (r *Rewriter) Domain() string { return r.domain }

// Forward returns the reverse-path under which mail of from is forwarded. The
// null one, and one that would become too long, stay as they are.
func (r *Rewriter) Forward(from mail.Address) mail.Address {
	if from == "" || from.Domain() == "" {
		return from
	}
	local := ""
	switch kind, rest := split(from.Local()); kind {
	case "SRS0":
		rest = from.Domain() + "=" + string(from.Local()[4]) + rest
		local = "SRS1=" + r.hash(r.keys[0], rest) + "=" + rest
	case "SRS1":
		_, rest, ok := strings.Cut(rest, "=")
		if !ok {
			return from
		}
		local = "SRS1=" + r.hash(r.keys[0], rest) + "=" + rest
	default:
		rest := r.day() + "=" + from.Domain() + "=" + from.Local()
		local = "SRS0=" + r.hash(r.keys[0], rest) + "=" + rest
	}
	if len(local) > maxLocal {
		return from
	}
	return mail.Address(local + "@" + r.domain)
}

// IsRewritten tells whether the local part of an address has the form of one
// that was rewritten, by whomever.
func IsRewritten(addr mail.Address) bool {
	kind, _ := split(addr.Local())
	return kind != ""
}

// Reverse returns the address that Forward was given, or, for SRS1, the
// address at the first forwarder. Errors: mail.KindNotExist where addr was not
// made with our keys, or is too old.
func (r *Rewriter) Reverse(addr mail.Address) (mail.Address, error) {
	forged := mail.Errorf(mail.KindNotExist, "%s is no address of this host", addr)
	kind, rest := split(addr.Local())
	hash, rest, ok := strings.Cut(rest, "=")
	if kind == "" || !ok || !r.valid(hash, rest) {
		return "", forged
	}
	if kind == "SRS1" {
		domain, local, ok := strings.Cut(rest, "=")
		if !ok || local == "" || strings.IndexByte("=-+", local[0]) < 0 {
			return "", forged
		}
		return parse("SRS0"+local, domain)
	}
	day, rest, ok := strings.Cut(rest, "=")
	if !ok || !r.fresh(day) {
		return "", mail.Errorf(mail.KindNotExist, "%s is too old to lead back", addr)
	}
	domain, local, ok := strings.Cut(rest, "=")
	if !ok {
		return "", forged
	}
	return parse(local, domain)
}

// parse checks what becomes a recipient.
func parse(local, domain string) (mail.Address, error) {
	addr := mail.Address(local + "@" + domain)
	checked, err := mail.ParseAddress(mail.QuotedAddress(addr))
	if err != nil || checked.Local() != local {
		return "", mail.Errorf(mail.KindNotExist, "%q leads back to no address", addr)
	}
	return checked, nil
}

// split returns "SRS0" or "SRS1" and what follows its separator, which hosts
// write as "=", "-" or "+"; an empty kind for any other local part.
func split(local string) (kind, rest string) {
	if len(local) < 6 || strings.IndexByte("=-+", local[4]) < 0 {
		return "", ""
	}
	switch kind = strings.ToUpper(local[:4]); kind {
	case "SRS0", "SRS1":
		return kind, local[5:]
	}
	return "", ""
}

// hash is the HMAC of what follows it; the case of letters does not count,
// because some hosts do not keep it.
func (r *Rewriter) hash(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.ToLower(text)))
	return base32.StdEncoding.EncodeToString(mac.Sum(nil))[:hashLength]
}

func (r *Rewriter) valid(hash, text string) bool {
	for _, key := range r.keys {
		if hmac.Equal([]byte(strings.ToUpper(hash)), []byte(r.hash(key, text))) {
			return true
		}
	}
	return false
}

// day is today in two characters; they come again after 1,024 days.
func (r *Rewriter) day() string {
	d := r.today()
	return string([]byte{alphabet[d>>5], alphabet[d&31]})
}

func (r *Rewriter) today() int { return int(r.now().Unix() / 86400 % dayCycle) }

// fresh tells whether a day is not too long ago, nor in the future.
func (r *Rewriter) fresh(day string) bool {
	if len(day) != 2 {
		return false
	}
	day = strings.ToUpper(day)
	high, low := strings.IndexByte(alphabet, day[0]), strings.IndexByte(alphabet, day[1])
	if high < 0 || low < 0 {
		return false
	}
	age := (r.today() - (high<<5 | low) + dayCycle) % dayCycle
	return age <= int(Lifetime/(24*time.Hour)) || age == dayCycle-1 // a clock that was ahead of ours
}
