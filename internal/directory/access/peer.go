package access

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Peer is a set of network addresses.
type Peer struct {
	addr, mask []byte         // an address and which of its bits count
	port       uint16         // 0: any
	pattern    *regexp.Regexp // instead of them: of slapd's "IP=1.2.3.4:56789"
}

// parsePeer reads "peername.STYLE=VALUE".
func parsePeer(style, value string) (*Peer, error) {
	switch style {
	case "ip", "ipv6":
		return parseNetwork(value)
	case "regex":
		re, err := Compile(value)
		return &Peer{pattern: re}, err
	case "", "exact", "base":
		re, err := Compile("^" + regexp.QuoteMeta(value) + "$")
		return &Peer{pattern: re}, err
	case "path":
		return nil, fmt.Errorf("peername.path: there is no local socket of LDAP here: leave it out")
	}
	return nil, fmt.Errorf("peername.%s: the style is none of ip, ipv6, exact, regex", style)
}

// parseNetwork reads "10.0.0.0%255.0.0.0{389}", and "10.0.0.0/8" as well.
func parseNetwork(value string) (*Peer, error) {
	p := &Peer{}
	text, port, found := strings.Cut(value, "{")
	if found {
		n, err := strconv.ParseUint(strings.TrimSuffix(port, "}"), 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: %q is no port", value, port)
		}
		p.port = uint16(n)
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		p.addr = prefix.Addr().AsSlice()
		p.mask = make([]byte, len(p.addr))
		for i := range prefix.Bits() {
			p.mask[i/8] |= 0x80 >> (i % 8)
		}
		return p, nil
	}
	text, mask, masked := strings.Cut(text, "%")
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return nil, fmt.Errorf("%q is no address: write 10.0.0.0/8 or 10.0.0.0%%255.0.0.0", value)
	}
	p.addr = addr.AsSlice()
	p.mask = []byte(strings.Repeat("\xff", len(p.addr)))
	if masked {
		m, err := netip.ParseAddr(mask)
		if err != nil || m.BitLen() != addr.BitLen() {
			return nil, fmt.Errorf("%q: %q is no mask", value, mask)
		}
		p.mask = m.AsSlice()
	}
	return p, nil
}

// Contains tells whether a client's address is one of them. An address that is
// not known is none.
func (p *Peer) Contains(from netip.AddrPort) bool {
	if !from.IsValid() {
		return false
	}
	addr := from.Addr().Unmap()
	if p.pattern != nil {
		return p.pattern.MatchString("IP=" + netip.AddrPortFrom(addr, from.Port()).String())
	}
	raw := addr.AsSlice()
	if len(raw) != len(p.addr) || p.port != 0 && p.port != from.Port() {
		return false
	}
	for i := range raw {
		if (raw[i]^p.addr[i])&p.mask[i] != 0 {
			return false
		}
	}
	return true
}
