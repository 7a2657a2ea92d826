// Package mailauth finds out who really sent a message: SPF (RFC 7208), DKIM
// (RFC 6376, 8301, 8463) and DMARC (RFC 7489), and writes what it found into
// an Authentication-Results field (RFC 8601).
//
// Nothing a message or DNS says makes it fail. What DNS does not answer now is
// a temperror, which never turns mail away. Bounded: the header that is looked
// at, signatures, the bytes hashed for them, From domains, sizes of keys, and
// the time for all of it.
package mailauth

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of one message.
const (
	maxHeader     = 256 << 10 // bytes of a header that are looked at
	maxSignatures = 8         // DKIM signatures checked, from the top
	maxHashed     = 256 << 20 // bytes hashed for all signatures
	maxFrom       = 4         // domains in From that are judged
	maxKeyRecord  = 2048      // bytes of a DKIM key record, enough for 8,192 bits
	timeLimit     = 30 * time.Second
)

// Resolver asks DNS. Errors are *net.DNSError; those that are not IsNotFound
// are taken for temporary.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Verifier checks messages. It is safe for concurrent use.
type Verifier struct {
	hostname string
	dns      Resolver
	percent  func() int // 0 to 99, for the pct of a DMARC record
}

// New returns a Verifier that signs its results with hostname (RFC 8601 §2.5).
func New(hostname string, dns Resolver) *Verifier {
	return &Verifier{hostname: hostname, dns: dns, percent: func() int { return rand.IntN(100) }}
}

// Message is a message as it came from a client.
type Message struct {
	Client netip.Addr
	Helo   string
	Sender string // domain of the reverse-path; empty: the null one
	Local  string // its local part
	Size   int64  // bytes of Text
	Text   io.ReadSeeker
}

// Result is the word for what a check found (RFC 8601 §2.7).
type Result string

// The results.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"
	Neutral   Result = "neutral"
	PolicyBad Result = "policy" // valid, but not by what we accept
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Action is what the sender's domain asks us to do with a message.
type Action uint8

// The actions, mildest first.
const (
	Accept Action = iota
	Quarantine
	Reject
)

// Report is everything found out about a message.
type Report struct {
	Hostname string
	SPF      SPF
	DKIM     []Signature
	DMARC    DMARC
}

// Verify checks a message. The error is one of reading m.Text.
func (v *Verifier) Verify(ctx context.Context, m *Message) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	head, err := readHead(m.Text)
	if err != nil {
		return nil, err
	}
	r := &Report{Hostname: v.hostname}
	var wg sync.WaitGroup
	wg.Go(func() { r.SPF = v.checkSPF(ctx, m) })
	r.DKIM, err = v.checkDKIM(ctx, m, head)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	r.DMARC = v.checkDMARC(ctx, head, r)
	return r, nil
}
