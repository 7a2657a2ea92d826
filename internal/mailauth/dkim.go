package mailauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

// Signature is a DKIM-Signature field and what became of it.
type Signature struct {
	Result    Result
	Reason    string // why it is not a pass
	Domain    string // d=, ASCII lower case
	Selector  string // s=
	Algorithm string // a=
	Start     string // the first characters of b=, which tell signatures apart (RFC 6008)
}

// checkDKIM checks the signatures of a message. The error is one of reading it.
func (v *Verifier) checkDKIM(ctx context.Context, m *Message, h *head) ([]Signature, error) {
	if len(h.signatures) == 0 {
		return nil, nil
	}
	limit := int(max(1, min(maxSignatures, maxHashed/max(1, m.Size))))
	out := make([]Signature, min(limit, len(h.signatures)))
	for i := range out {
		out[i] = describe(h.signatures[i])
	}
	if h.cut {
		for i := range out {
			out[i].Result, out[i].Reason = PolicyBad, "header too large"
		}
		return out, nil
	}
	if _, err := m.Text.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the message again: %w", err)
	}
	text := &failing{r: m.Text}
	found, err := dkim.VerifyWithOptions(text, &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return v.key(ctx, name) }, MaxVerifications: limit,
	})
	if text.err != nil {
		return nil, fmt.Errorf("reading the message again: %w", text.err)
	}
	for i := range out {
		if i < len(found) {
			out[i].Result, out[i].Reason = v.judge(ctx, found[i], &out[i])
		} else if err != nil {
			out[i].Result, out[i].Reason = PermError, "signature not readable"
		}
	}
	return out, nil
}

// failing remembers the error of a reader.
type failing struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// describe returns what a signature says of itself.
func describe(t map[string]string) Signature {
	start := t["b"]
	return Signature{
		Result: PermError, Domain: domain(t["d"]), Selector: domain(t["s"]), Algorithm: t["a"], Start: start[:min(8, len(start))],
	}
}

// key returns the record of a DKIM key.
func (v *Verifier) key(ctx context.Context, name string) ([]string, error) {
	records, err := v.dns.LookupTXT(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if len(r) > maxKeyRecord {
			return nil, errors.New("key record too large")
		}
	}
	return records, nil
}

// judge turns the outcome of a verification into a result.
func (v *Verifier) judge(ctx context.Context, found *dkim.Verification, s *Signature) (Result, string) {
	err := found.Err
	switch {
	case err == nil && v.strictKey(ctx, s) && !strings.HasSuffix(strings.ToLower(found.Identifier), "@"+s.Domain):
		return PolicyBad, "the key is not for subdomains"
	case err == nil && s.Domain == "":
		return PermError, "no domain"
	case err == nil:
		return Pass, ""
	}
	reason := strings.TrimPrefix(err.Error(), "dkim: ")
	if _, ok := errors.AsType[*net.DNSError](err); ok || dkim.IsTempFail(err) {
		return TempError, "key not available"
	}
	switch {
	case strings.HasPrefix(reason, "no key for signature"):
		return PermError, "no key for signature"
	case strings.Contains(reason, "body length tag"), strings.Contains(reason, "too weak"), strings.Contains(reason, "too short"):
		return PolicyBad, reason
	case dkim.IsPermFail(err):
		return PermError, reason
	case strings.HasPrefix(reason, "signature did not verify"):
		return Fail, "signature did not verify"
	}
	return Fail, reason
}

// strictKey tells whether the key of a signature, which was just looked up, has
// the flag that forbids subdomains in i= (RFC 6376 §3.6.1).
func (v *Verifier) strictKey(ctx context.Context, s *Signature) bool {
	records, err := v.key(ctx, s.Selector+"._domainkey."+s.Domain)
	return err == nil && len(records) == 1 && slices.Contains(strings.Split(tags(records[0])["t"], ":"), "s")
}
