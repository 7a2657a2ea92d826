package mailauth

import (
	"context"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// DMARC is whether the domain that the reader sees in From is the one that
// SPF or DKIM vouches for, and what that domain asks for where it is not.
type DMARC struct {
	Result Result
	Domain string // of From, ASCII
	Policy string // as published: "none", "quarantine", "reject"; empty: no record
	Action Action
}

// dmarcRecord is a DMARC record (RFC 7489 §6.3), as far as it concerns receivers.
type dmarcRecord struct {
	policy, subdomains    string
	strictDKIM, strictSPF bool
	percent               int
}

// checkDMARC judges every domain of From; the worst counts (RFC 7489 §6.6.1).
func (v *Verifier) checkDMARC(ctx context.Context, h *head, r *Report) DMARC {
	if h.cut || len(h.domains) > maxFrom {
		return DMARC{Result: PermError, Action: Quarantine}
	}
	if h.from == 0 {
		return DMARC{Result: PermError}
	}
	var worst DMARC
	for i, name := range h.domains {
		d := DMARC{Result: PermError, Domain: domain(name), Action: Quarantine}
		if strings.Contains(d.Domain, ".") {
			d = v.judgeFrom(ctx, d.Domain, r)
		}
		if i == 0 || d.Action > worst.Action || d.Action == worst.Action && worst.Result == Pass {
			worst = d
		}
	}
	if len(h.domains) == 0 { // a From that shows something, but no address
		return DMARC{Result: PermError, Action: Quarantine}
	}
	return worst
}

// judgeFrom applies the policy of one From domain.
func (v *Verifier) judgeFrom(ctx context.Context, from string, r *Report) DMARC {
	d := DMARC{Result: None, Domain: from}
	rec, policy, err := v.policy(ctx, from)
	switch {
	case err != nil:
		d.Result = TempError
		return d
	case rec == nil:
		return d
	}
	d.Policy = policy
	temporary := r.SPF.Result == TempError
	passed := r.SPF.Result == Pass && aligned(from, r.SPF.Domain, rec.strictSPF)
	for _, s := range r.DKIM {
		temporary = temporary || s.Result == TempError
		passed = passed || s.Result == Pass && aligned(from, s.Domain, rec.strictDKIM)
	}
	switch {
	case passed:
		d.Result = Pass
	case temporary:
		d.Result = TempError
	default:
		d.Result = Fail
		d.Action = v.action(policy, rec.percent)
	}
	return d
}

// action is what a policy asks for; a message that pct leaves out gets the
// next milder one (RFC 7489 §6.6.4).
func (v *Verifier) action(policy string, percent int) Action {
	a := Accept
	switch policy {
	case "quarantine":
		a = Quarantine
	case "reject":
		a = Reject
	}
	if a > Accept && percent < 100 && v.percent() >= percent {
		a--
	}
	return a
}

// aligned compares identifiers (RFC 7489 §3.1).
func aligned(from, other string, strict bool) bool {
	return from == other || !strict && organization(from) == organization(other)
}

// organization returns the organizational domain (RFC 7489 §3.2): a public
// suffix and one label, or the name itself where it has no more.
func organization(name string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return org
	}
	return name
}

// policy finds the record for a From domain (RFC 7489 §6.6.3) and its policy
// for that domain; a nil record where there is none.
func (v *Verifier) policy(ctx context.Context, from string) (*dmarcRecord, string, error) {
	rec, err := v.record(ctx, from)
	if rec != nil || err != nil {
		if err != nil {
			return nil, "", err
		}
		return rec, rec.policy, nil
	}
	org := organization(from)
	if org == from {
		return nil, "", nil
	}
	if rec, err = v.record(ctx, org); rec == nil || err != nil {
		return nil, "", err
	}
	return rec, rec.subdomains, nil
}

// record returns the DMARC record of a domain; nil where there is none, or
// more than one.
func (v *Verifier) record(ctx context.Context, name string) (*dmarcRecord, error) {
	texts, err := v.dns.LookupTXT(ctx, "_dmarc."+name)
	if err != nil {
		if e, ok := err.(*net.DNSError); ok && e.IsNotFound {
			return nil, nil
		}
		return nil, err
	}
	var found *dmarcRecord
	for _, text := range texts {
		rec, ok := parseRecord(text)
		if ok && found != nil {
			return nil, nil
		}
		if ok {
			found = rec
		}
	}
	return found, nil
}

// parseRecord reads a DMARC record. Tags that are not understood do not count;
// without a valid policy, a record that asks for reports is one of "none"
// (RFC 7489 §6.6.3), and another is no record.
func parseRecord(text string) (*dmarcRecord, bool) {
	version, _, _ := strings.Cut(text, ";")
	if name, value, _ := strings.Cut(version, "="); strings.TrimSpace(name) != "v" || strings.TrimSpace(value) != "DMARC1" {
		return nil, false
	}
	t := tags(text)
	rec := &dmarcRecord{
		policy: strings.ToLower(t["p"]), strictDKIM: strings.EqualFold(t["adkim"], "s"), strictSPF: strings.EqualFold(t["aspf"], "s"), percent: 100,
	}
	if !isPolicy(rec.policy) {
		if t["rua"] == "" {
			return nil, false
		}
		rec.policy = "none"
	}
	if rec.subdomains = strings.ToLower(t["sp"]); !isPolicy(rec.subdomains) {
		rec.subdomains = rec.policy
	}
	if n, err := strconv.Atoi(t["pct"]); err == nil && n >= 0 && n <= 100 {
		rec.percent = n
	}
	return rec, true
}

func isPolicy(s string) bool { return s == "none" || s == "quarantine" || s == "reject" }
