package dkimkey

import (
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"
)

// signedFields returns the fields that are signed (RFC 6376 §5.4.1), each twice:
// the second, which an honest message does not have, keeps others from adding
// one.
func signedFields() []string {
	var out []string
	for _, name := range []string{
		"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	} {
		out = append(out, name, name)
	}
	return out
}

// Sign reads a message and returns the DKIM-Signature fields to put before it,
// none where the domain has no keys; r is not read then.
func (r *Ring) Sign(domain string, text io.Reader) ([]byte, error) {
	keys, err := r.Keys(domain)
	if err != nil {
		return nil, err
	}
	var signers []*dkim.Signer
	var to []io.Writer
	for _, k := range keys {
		if !k.Signs {
			continue
		}
		s, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain, Selector: k.Selector, Signer: k.private, HeaderKeys: signedFields(),
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return nil, fmt.Errorf("signing with key %q: %w", k.Selector, err)
		}
		signers, to = append(signers, s), append(to, s)
	}
	if len(signers) == 0 {
		return nil, nil
	}
	_, err = io.Copy(io.MultiWriter(to...), text)
	var fields []byte
	for _, s := range signers {
		closed := s.Close()
		if err == nil {
			err = closed
		}
		if err == nil {
			fields = append(fields, s.Signature()...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("signing for %q: %w", domain, err)
	}
	return fields, nil
}
