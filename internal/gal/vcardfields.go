package gal

import (
	"sync"

	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// card makes a recipient of the properties of a card.
func (v *vcards) card(line int, props []property) error {
	r := &Recipient{Origin: Origin{File: v.opts.File, Line: line}}
	labels := map[string]string{}
	for _, p := range props {
		if p.name == "X-ABLABEL" && p.group != "" {
			labels[p.group] = strings.ToLower(strings.Trim(p.plain(), "_$!<>"))
		}
	}
	// The preferred address and number come first, whatever the order.
	slices.SortStableFunc(props, func(a, b property) int { return cmp.Compare(preference(a), preference(b)) })
	for i := range props {
		p := &props[i]
		if l := labels[p.group]; l != "" && p.group != "" {
			p.types = append(p.types, l)
		}
		v.place(r, p)
	}
	v.orgCard(r, props)
	return v.emit(r)
}

// preference orders properties: preferred addresses and numbers, then the rest.
func preference(p property) int {
	if (p.name == "EMAIL" || p.name == "TEL") && !p.is("pref") {
		return 1
	}
	return 0
}

// orgCard gives a card of a company the company's name.
func (v *vcards) orgCard(r *Recipient, props []property) {
	if r.Get(FullName) == "" && r.Get(LastName) == "" && r.Get(FirstName) == "" {
		r.Add(FullName, r.Get(Company), r.Origin.Line)
	}
	for _, p := range props {
		if (p.name == "KIND" || p.name == "X-ADDRESSBOOKSERVER-KIND") && strings.EqualFold(p.plain(), "group") {
			r.Kind = Group
		}
	}
}

// place puts a property into its field.
func (v *vcards) place(r *Recipient, p *property) {
	text := p.plain()
	if f, ok := simpleProperties()[p.name]; ok {
		if f != label {
			r.Add(f, text, p.line)
		}
		return
	}
	switch p.name {
	case "N":
		for i, s := range p.split() {
			if i < 5 {
				r.Add([]Field{LastName, FirstName, MiddleName, NamePrefix, NameSuffix}[i], s, p.line)
			}
		}
	case "ORG":
		for i, s := range p.split() {
			r.Add([]Field{Company, Department}[min(i, 1)], s, p.line)
		}
	case "EMAIL":
		v.addAddresses(r, text, p.line)
	case "TEL":
		r.Add(phoneField(p), telURI(text), p.line)
	case "ADR":
		v.address(r, p)
	case "URL":
		f := WorkURL
		if p.is("home") {
			f = HomeURL
		}
		r.Add(f, text, p.line)
	case "BDAY", "ANNIVERSARY", "X-MS-ANNIVERSARY", "X-EVOLUTION-ANNIVERSARY", "X-ANNIVERSARY":
		f := Anniversary
		if p.name == "BDAY" {
			f = Birthday
		}
		r.Add(f, isoDate(text), p.line)
	case "PHOTO":
		v.photo(r, p)
	case "KEY":
		if len(p.value) > 2 && p.value[0] == 0x30 {
			r.Certificates = append(r.Certificates, p.value)
		}
	case "MEMBER", "X-ADDRESSBOOKSERVER-MEMBER":
		r.Members = append(r.Members, vcardMember(text, p.line))
	case "UID":
		r.DN = text
	default:
		v.issue(p.line, Info, p.name, "this property is not known", "left out")
	}
}

// simpleProperties maps the properties that are copied.
var simpleProperties = sync.OnceValue(func() map[string]Field {
	return map[string]Field{
		"FN": FullName, "NICKNAME": Nickname, "TITLE": JobTitle, "ROLE": "profession", "NOTE": Notes, "CATEGORIES": Categories,
		"LANG": Language, "GENDER": "gender", "X-MS-MANAGER": ManagerName, "X-EVOLUTION-MANAGER": ManagerName, "X-MANAGER": ManagerName,
		"X-MS-ASSISTANT": AssistantName, "X-EVOLUTION-ASSISTANT": AssistantName, "X-ASSISTANT": AssistantName,
		"X-MS-SPOUSE": "spouse", "X-EVOLUTION-SPOUSE": "spouse", "X-SPOUSE": "spouse",
		"X-CUSTOM1": "custom1", "X-CUSTOM2": "custom2", "X-CUSTOM3": "custom3", "X-CUSTOM4": "custom4",
		"X-PHONETIC-FIRST-NAME": "phoneticFirstName", "X-PHONETIC-LAST-NAME": "phoneticLastName",
		"X-AIM": "screenName", "X-MS-IMADDRESS": "screenName", "X-JABBER": "screenName", "IMPP": "screenName",
		// What says how the card was made, or says again what another property says.
		"VERSION": label, "PRODID": label, "REV": label, "LABEL": label, "SORT-STRING": label, "PROFILE": label, "CLASS": label, "MAILER": label,
		"SOURCE": label, "NAME": label, "TZ": label, "GEO": label, "KIND": label, "X-ADDRESSBOOKSERVER-KIND": label, "X-ABLABEL": label,
		"X-ABADR": label, "X-ABUID": label, "X-ABSHOWAS": label, "X-GENERATOR": label, "X-MS-OL-DESIGN": label, "X-MS-OL-DEFAULT-POSTAL-ADDRESS": label,
		"X-EVOLUTION-FILE-AS": label, "X-COUCHDB-APPLICATION-ANNOTATIONS": label, "FBURL": label, "CALURI": label, "X-MOZILLA-HTML": label, "": label,
	}
})

// phoneField tells what a number is by its types.
func phoneField(p *property) Field {
	switch {
	case p.is("fax") && p.is("home"):
		return HomeFax
	case p.is("fax"):
		return WorkFax
	case p.is("pager"):
		return Pager
	case p.is("cell"), p.is("iphone"):
		return MobilePhone
	case p.is("car"):
		return CarPhone
	case p.is("isdn"):
		return ISDN
	case p.is("assistantphone"), p.is("x-assistant"):
		return AssistantPhone
	case p.is("home"):
		return HomePhone
	case p.is("main"):
		return CompanyPhone
	case p.is("other"):
		return OtherPhone
	}
	return WorkPhone
}

// telURI returns the number of a tel: URI (RFC 3966), and other text as it is.
func telURI(s string) string {
	rest, ok := strings.CutPrefix(strings.ToLower(s), "tel:")
	if !ok {
		return s
	}
	num, params, _ := strings.Cut(rest, ";")
	if ext, ok := strings.CutPrefix(params, "ext="); ok {
		num += " ext " + ext
	}
	return num
}

// address places an ADR: post office box, suite, street, city, state, code,
// country.
func (v *vcards) address(r *Recipient, p *property) {
	fields := [7]Field{WorkPOBox, WorkStreet, WorkStreet, WorkCity, WorkState, WorkPostalCode, WorkCountry}
	if p.is("home") {
		fields = [7]Field{HomePOBox, HomeStreet, HomeStreet, HomeCity, HomeState, HomePostalCode, HomeCountry}
	}
	parts := p.split()
	for len(parts) < len(fields) {
		parts = append(parts, "")
	}
	for _, i := range []int{0, 2, 1, 3, 4, 5, 6} { // the street before the suite
		r.Add(fields[i], parts[i], p.line)
	}
}

// photo takes a picture from base64 or a data: URI. One given as a URL is
// never fetched.
func (v *vcards) photo(r *Recipient, p *property) {
	b := p.value
	if rest, ok := bytes.CutPrefix(b, []byte("data:")); ok {
		if _, enc, ok := bytes.Cut(rest, []byte("base64,")); ok {
			dec, err := base64.StdEncoding.DecodeString(string(enc))
			if err != nil {
				v.issue(p.line, Warning, p.name, "the picture is not base64", "left out")
				return
			}
			b = dec
		}
	}
	switch {
	case len(b) == 0:
	case bytes.HasPrefix(b, []byte("\xFF\xD8\xFF")):
		r.Photo = b
	case bytes.HasPrefix(b, []byte("http")), bytes.HasPrefix(b, []byte("file")):
		v.issue(p.line, Warning, p.name, fmt.Sprintf("the picture is elsewhere (%s)", clip(string(b))), "left out: nothing is fetched")
	default:
		v.issue(p.line, Warning, p.name, "the picture is not a JPEG", "left out")
	}
}

// vcardMember reads "urn:uuid:…" or "mailto:a@b".
func vcardMember(text string, line int) Member {
	if addr, ok := strings.CutPrefix(text, "mailto:"); ok {
		return Member{Address: addr, Line: line}
	}
	return Member{DN: strings.TrimPrefix(text, "urn:uuid:"), Line: line}
}

// isoDate turns 19800322 into 1980-03-22 and leaves other forms alone.
func isoDate(s string) string {
	if len(s) == 8 && strings.Trim(s, "0123456789") == "" {
		return s[:4] + "-" + s[4:6] + "-" + s[6:]
	}
	return s
}
