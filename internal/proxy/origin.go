package proxy

import (
	"net/netip"
	"strconv"
	"strings"
)

// Origin is what another proxy tells of the client that it speaks for.
type Origin struct {
	Addr netip.Addr // invalid: not told
	Hops int        // proxies that the client has come through
}

// SetTTL takes the number of proxies that may still follow, as MaxHops counts.
func (o *Origin) SetTTL(text string) {
	if ttl, err := strconv.Atoi(text); err == nil {
		o.Hops = min(max(MaxHops-ttl, 0), MaxHops)
	}
}

// XClient reads the parameters of XCLIENT ("ADDR=192.0.2.1 TTL=2"); others of
// them are passed over. It is false for what makes no sense.
func (o *Origin) XClient(parameters string) bool {
	for field := range strings.FieldsSeq(parameters) {
		name, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return false
		case strings.EqualFold(name, "ADDR"):
			if len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
				value = value[5:]
			}
			addr, err := netip.ParseAddr(value)
			if err != nil && !strings.HasPrefix(value, "[") { // "[UNAVAILABLE]"
				return false
			}
			o.Addr = addr.Unmap().WithZone("")
		case strings.EqualFold(name, "TTL"):
			o.SetTTL(value)
		}
	}
	return true
}
