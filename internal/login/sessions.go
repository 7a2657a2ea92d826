package login

import (
	"net/netip"
	"slices"
	"sync"

	"expost/internal/mail"
)

// Sessions counts the sessions of each account and bounds them.
type Sessions struct {
	PerAccount int            // at once; 0: any number
	PerAddress int            // of an account, at once, from one address (IPv6: one /64); 0: any number
	Trusted    []netip.Prefix // addresses of many people, which PerAddress is not for

	mu    sync.Mutex
	count map[pair]int // with no address: all of the account
}

// enter counts a session in until leave is called, once.
func (s *Sessions) enter(id mail.AccountID, from netip.Addr) (leave func(), err error) {
	all := pair{account: string(id)}
	here := pair{string(id), network(from)}
	limited := s.PerAddress > 0 && from.IsValid() && !slices.ContainsFunc(s.Trusted, func(p netip.Prefix) bool { return p.Contains(from.Unmap()) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = map[pair]int{}
	}
	if s.PerAccount > 0 && s.count[all] >= s.PerAccount || limited && s.count[here] >= s.PerAddress {
		return nil, mail.Errorf(mail.KindTemporary, "too many sessions of this account: close some")
	}
	keys := []pair{all}
	if limited {
		keys = append(keys, here)
	}
	for _, k := range keys {
		s.count[k]++
	}
	return sync.OnceFunc(func() { s.leave(keys) }), nil
}

func (s *Sessions) leave(keys []pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if s.count[k]--; s.count[k] <= 0 {
			delete(s.count, k)
		}
	}
}
