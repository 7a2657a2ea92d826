package access

import (
	"net/netip"
	"strings"
	"testing"
)

// TestByOfSeveral reads a "by" that several things must be true for.
func TestByOfSeveral(t *testing.T) {
	t.Parallel()
	b, err := ParseBy("peername.ip=10.0.0.0/8{389} users ssf=128 =rs break")
	if err != nil || b.Who.Kind != From || len(b.And) != 2 || b.And[0].Kind != Users || b.And[1].Strength != 128 || b.Grant != Read|Search || b.Control != Break {
		t.Errorf("%+v, %v", b, err)
	}
	for addr, want := range map[string]bool{"10.9.8.7:389": true, "10.9.8.7:390": false, "11.0.0.1:389": false, "[::ffff:10.0.0.1]:389": true, "[::1]:389": false} {
		if got := b.Who.Peer.Contains(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	groups := []string{"all", "a.b", "c"}
	for text, want := range map[string]string{"uid=$1,x$": "uid=a.b,x$", "${d2}$$": "c$", "${2}": "c", "$9": "", "${x}": "${x}", "${1": "${1"} {
		if got := Expand(text, false, groups); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got := Expand("^$1$", true, groups); got != `^a\.b$` {
		t.Errorf("quoted: %q", got)
	}
}

func TestParseBy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]By{
		"* none":                              {},
		"users read":                          {Who: Who{Kind: Users}, Grant: Disclose | Auth | Compare | Search | Read},
		"self =xw":                            {Who: Who{Kind: Self}, Grant: Auth | Write},
		"anonymous auth":                      {Who: Who{Kind: Anonymous}, Grant: Disclose | Auth},
		"* +w continue":                       {Change: Plus, Grant: Write, Control: Continue},
		"* -r stop":                           {Change: Minus, Grant: Read},
		"users":                               {Who: Who{Kind: Users}},
		"* break":                             {Change: Plus, Control: Break},
		"dnattr=manager search":               {Who: Who{Kind: InAttribute, Attr: "manager"}, Grant: Disclose | Auth | Compare | Search},
		`dn.subtree="dc=a b,dc=c" manage`:     {Who: Who{Kind: Named, Scope: Subtree}, Grant: 1<<8 - 1},
		"group/groupOfUniqueNames=cn=a write": {Who: Who{Kind: Member, Attr: "uniqueMember"}, Grant: 1<<7 - 1},
	} {
		got, err := ParseBy(text)
		if want.Who.Kind == Named && got.Who.DN.String() != "dc=a b,dc=c" || want.Who.Kind == Member && got.Who.DN.String() != "cn=a" {
			t.Errorf("%s: DN %q", text, got.Who.DN)
		}
		got.Who.DN = nil
		if err != nil || got.Who.Kind != want.Who.Kind || got.Who.Attr != want.Who.Attr || got.Who.Scope != want.Who.Scope ||
			got.Grant != want.Grant || got.Change != want.Change || got.Control != want.Control {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "who is missing", "everyone read": `"everyone" names nobody`, "users reed": `"reed" is no level`, "* =q": "is none of m, w",
		"* read now": `"now" is none of stop`, "* read stop now": `"now" is too much`, "dn.regex=(a read": "missing closing",
		"dn.level{1}=dc=a read": "is none of exact", "domain.sub=example.org read": "names of hosts", "realself=x read": "real",
		"aci write": "names nobody", "peername.path=/run/x read": "no local socket", "peername.ip=1.2.3 read": "no address", "ssf=x read": "no number",
		`set="this/" read`: "attribute", `set="user & (this/manager" read`: ")", "dynacl/aci write": "names nobody", `dn="a read`: "does not end", "dn=a read": "invalid DN",
	} {
		if _, err := ParseBy(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
