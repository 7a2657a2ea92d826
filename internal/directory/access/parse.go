package access

import (
	"fmt"
	"strconv"
	"strings"

	"expost/internal/ldap"
)

// ParseBy reads what stands behind "by": who, all of whom it must be, what is
// granted (none without it), and "stop", "continue" or "break".
func ParseBy(text string) (By, error) {
	words, err := Words(text)
	if err != nil {
		return By{}, err
	}
	if len(words) == 0 {
		return By{}, fmt.Errorf("who is missing")
	}
	b := By{}
	if b.Who, err = parseWho(words[0]); err != nil {
		return By{}, err
	}
	words = words[1:]
	for len(words) > 0 && isWho(words[0]) {
		also, err := parseWho(words[0])
		if err != nil {
			return By{}, err
		}
		b.And = append(b.And, also)
		words = words[1:]
	}
	if len(words) > 0 && !b.Control.read(words[0]) {
		if err := b.readGrant(words[0]); err != nil {
			return By{}, err
		}
		words = words[1:]
		if len(words) > 0 && !b.Control.read(words[0]) {
			return By{}, fmt.Errorf("%q is none of stop, continue, break", words[0])
		}
	} else if len(words) > 0 { // "by * break" keeps what was granted
		b.Change = Plus
	}
	if len(words) > 1 {
		return By{}, fmt.Errorf("%q is too much", strings.Join(words[1:], " "))
	}
	return b, nil
}

// isWho tells a who from a level.
func isWho(word string) bool {
	switch strings.ToLower(word) {
	case "*", "users", "anonymous", "self":
		return true
	}
	return strings.IndexByte(word, '=') > 0
}

func (c *Control) read(word string) bool {
	switch strings.ToLower(word) {
	case "stop":
		*c = Stop
	case "continue":
		*c = Continue
	case "break":
		*c = Break
	default:
		return false
	}
	return true
}

// Words cuts text at spaces that stand in no double quotes, which go.
func Words(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quoted && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			word.WriteByte(text[i])
		case c == '"':
			quoted, begun = !quoted, true
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quote does not end in %q", text)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

func parseWho(word string) (Who, error) {
	switch strings.ToLower(word) {
	case "*", "dn=*", "dn=.*", "dn.regex=.*":
		return Who{Kind: Everybody}, nil
	case "anonymous", "dn.regex=^$":
		return Who{Kind: Anonymous}, nil
	case "users", "dn.regex=.+":
		return Who{Kind: Users}, nil
	case "self", "self.exact":
		return Who{Kind: Self}, nil
	}
	key, value, found := strings.Cut(word, "=")
	if !found {
		return Who{}, fmt.Errorf("%q names nobody: write *, anonymous, users, self, dn=DN, group=DN, dnattr=ATTRIBUTE, peername.ip=ADDRESS, ssf=BITS or set=SET", word)
	}
	kind, style, _ := strings.Cut(strings.ToLower(key), ".")
	switch {
	case kind == "dn":
		return parseNamed(word, style, value)
	case kind == "dnattr":
		return Who{Kind: InAttribute, Attr: value}, nil
	case kind == "group" || strings.HasPrefix(kind, "group/"):
		return parseGroup(word, key, value)
	case kind == "peername":
		peer, err := parsePeer(style, value)
		return Who{Kind: From, Peer: peer}, err
	case kind == "ssf" || kind == "tls_ssf" || kind == "transport_ssf":
		bits, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return Who{}, fmt.Errorf("%q: %q is no number of bits", word, value)
		}
		return Who{Kind: Strong, Strength: int(bits)}, nil
	case kind == "set":
		set, err := parseSet(value)
		return Who{Kind: InSet, Set: set}, err
	}
	return Who{}, unknownWho(kind, key)
}

// unknownWho says why a kind of who is not one here, and what to write.
func unknownWho(kind, key string) error {
	switch kind {
	case "domain":
		return fmt.Errorf("%q: names of hosts are not looked up here, whoever has an address could make up its name: write peername.ip=ADDRESS%%MASK", key)
	case "sockname", "sockurl":
		return fmt.Errorf("%q: rules do not tell listeners apart here: write peername.ip=ADDRESS%%MASK or ssf=BITS", key)
	case "sasl_ssf":
		return fmt.Errorf("%q: SASL encrypts nothing here, TLS does: write ssf=BITS", key)
	case "realdn", "realdnattr", "realself":
		return fmt.Errorf("%q: rules are about whom a request is for, also with proxied authorization: write it without \"real\"", key)
	}
	return fmt.Errorf("%q is a kind of who that is not known here", key)
}

// parseNamed reads dn[.style[,expand]]=DN.
func parseNamed(word, style, value string) (Who, error) {
	style, expand := strings.CutSuffix(style, ",expand")
	switch {
	case strings.Contains(value, "${v"):
		return Who{}, fmt.Errorf("%q: what a value's pattern matched cannot be put in here", word)
	case style == "regex":
		if _, err := Compile(Expand(value, true, nil)); err != nil {
			return Who{}, fmt.Errorf("%q: %w", word, err)
		}
		return Who{Kind: Matching, Text: value}, nil
	case style == "expand":
		style, expand = "exact", true
	}
	scope, ok := ParseScope(style, Base)
	if !ok {
		return Who{}, fmt.Errorf("%q: the style %q is none of exact, one, subtree, children, regex", word, style)
	}
	w := Who{Kind: Named, Scope: scope}
	if expand && refers(value) {
		w.Text = value
		return w, nil
	}
	var err error
	w.DN, err = ldap.ParseDN(value)
	return w, err
}

// parseGroup reads group[/class[/attribute]][.exact|.expand]=DN.
func parseGroup(word, key, value string) (Who, error) {
	what, style, _ := strings.Cut(key, ".")
	style = strings.ToLower(style)
	if style != "" && style != "exact" && style != "base" && style != "expand" {
		return Who{}, fmt.Errorf("%q: a group is named exactly, or with expand", word)
	}
	w := Who{Kind: Member, Attr: "member"}
	if parts := strings.Split(what, "/"); len(parts) > 2 {
		w.Attr = parts[2]
	} else if len(parts) == 2 && strings.EqualFold(parts[1], "groupOfUniqueNames") {
		w.Attr = "uniqueMember"
	}
	if style == "expand" && refers(value) {
		w.Text = value
		return w, nil
	}
	var err error
	w.DN, err = ldap.ParseDN(value)
	return w, err
}

// readGrant reads a level, or privileges by their letters: "=rs", "+w", "-w".
func (b *By) readGrant(word string) error {
	for _, l := range levels() {
		if strings.EqualFold(word, l.name) {
			b.Grant = l.has
			return nil
		}
	}
	switch word[0] {
	case '=':
	case '+':
		b.Change = Plus
	case '-':
		b.Change = Minus
	default:
		return fmt.Errorf("%q is no level: write none, disclose, auth, compare, search, read, write or manage", word)
	}
	for _, c := range strings.ToLower(word[1:]) {
		switch c {
		case '0':
		case 'd':
			b.Grant |= Disclose
		case 'x':
			b.Grant |= Auth
		case 'c':
			b.Grant |= Compare
		case 's':
			b.Grant |= Search
		case 'r':
			b.Grant |= Read
		case 'w':
			b.Grant |= Write
		case 'a':
			b.Grant |= AddTo
		case 'z':
			b.Grant |= DeleteOf
		case 'm':
			b.Grant |= Manage
		default:
			return fmt.Errorf("%q: %q is none of m, w, a, z, r, s, c, x, d, 0", word, c)
		}
	}
	return nil
}
