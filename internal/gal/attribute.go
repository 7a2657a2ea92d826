package gal

import (
	"sync"

	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// attribute is one value of an attribute of a directory entry, from LDIF or
// from a column of a directory's CSV.
type attribute struct {
	name string // in lower case, without options
	data []byte
	line int
}

// attributeFields maps the attributes of LDAP, Mozilla, Netscape, Active
// Directory and Exchange 5.5, in lower case, to fields. Those that need more
// than a copy are in reader.special.
var attributeFields = sync.OnceValue(func() map[string]Field {
	return map[string]Field{
		"cn": FullName, "commonname": FullName, "displayname": FullName, "display-name": FullName,
		"sn": LastName, "surname": LastName, "givenname": FirstName, "gn": FirstName, "middlename": MiddleName, "initials": Initials,
		"personaltitle": NamePrefix, "generationqualifier": NameSuffix,
		"mozillanickname": Nickname, "xmozillanickname": Nickname, "nickname": Nickname,
		"uid": UID, "userid": UID, "mailnickname": UID, "samaccountname": "account",
		"o": Company, "organizationname": Company, "company": Company,
		"ou": Department, "organizationalunitname": Department, "orgunit": Department, "department": Department, "departmentnumber": Department,
		"title": JobTitle, "physicaldeliveryofficename": Office, "roomnumber": Office,
		"employeenumber": EmployeeNumber, "employeeid": EmployeeNumber, "employeetype": Employee, "preferredlanguage": Language,
		"telephonenumber": WorkPhone, "othertelephone": WorkPhone, "xmozillaanyphone": WorkPhone,
		"homephone": HomePhone, "hometelephonenumber": HomePhone, "otherhomephone": HomePhone,
		"mobile": MobilePhone, "mobiletelephonenumber": MobilePhone, "cellphone": MobilePhone, "othermobile": MobilePhone, "carphone": CarPhone,
		"pager": Pager, "pagerphone": Pager, "pagertelephonenumber": Pager, "otherpager": Pager, "officepager": Pager,
		"facsimiletelephonenumber": WorkFax, "fax": WorkFax, "officefax": WorkFax,
		"otherfacsimiletelephonenumber": OtherFax, "telephoneassistant": AssistantPhone, "ipphone": OtherPhone,
		"street": WorkStreet, "streetaddress": WorkStreet, "mozillaworkstreet2": WorkStreet, "postofficebox": WorkPOBox,
		"postaladdress": WorkAddress, "homepostaladdress": HomeAddress,
		"l": WorkCity, "locality": WorkCity, "localityname": WorkCity, "st": WorkState, "region": WorkState, "stateorprovincename": WorkState,
		"postalcode": WorkPostalCode, "zip": WorkPostalCode,
		"c": WorkCountry, "co": WorkCountry, "countryname": WorkCountry, "friendlycountryname": WorkCountry,
		"mozillahomestreet": HomeStreet, "mozillahomestreet2": HomeStreet, "mozillahomelocalityname": HomeCity, "mozillahomestate": HomeState,
		"mozillahomepostalcode": HomePostalCode, "mozillahomecountryname": HomeCountry, "homecountryname": HomeCountry,
		"mozillaworkurl": WorkURL, "workurl": WorkURL, "labeleduri": WorkURL, "url": WorkURL, "wwwhomepage": WorkURL,
		"mozillahomeurl": HomeURL, "homeurl": HomeURL, "homepage": HomeURL,
		"description": Notes, "notes": Notes, "info": Notes, "comment": Notes,
		"nsaimid": "screenName", "_aimscreenname": "screenName",
		"birthyear": birthYear, "birthmonth": birthMonth, "birthday": birthDay,
		"custom1": "custom1", "custom2": "custom2", "custom3": "custom3", "custom4": "custom4",
		"mozillacustom1": "custom1", "mozillacustom2": "custom2", "mozillacustom3": "custom3", "mozillacustom4": "custom4",
		"extensionattribute1": "custom1", "extensionattribute2": "custom2", "extensionattribute3": "custom3", "extensionattribute4": "custom4",
		"msexchhomeservername": HomeServer, "mailhost": HomeServer, "assistantname": AssistantName,
	}
})

// ignoredAttributes are those that say nothing about a person: bookkeeping of
// directories and switches of programs.
var ignoredAttributes = sync.OnceValue(func() map[string]bool {
	return setOf("objectclass obj-class objectcategory modifytimestamp createtimestamp creatorsname modifiersname entryuuid entrycsn entrydn subschemasubentry",
		"structuralobjectclass hassubordinates xmozillausehtmlmail mozillausehtmlmail xmozillauseconferenceserver mozillaconferenceserver whenchanged whencreated",
		"usnchanged usncreated instancetype objectguid name distinguishedname dn cn-name samaccounttype codepage countrycode useraccountcontrol",
		"badpwdcount badpasswordtime lastlogon lastlogoff lastlogontimestamp logoncount pwdlastset primarygroupid accountexpires admincount dscorepropagationdata",
		"memberof showinaddressbook msexchalobjectversion msexchpoliciesincluded msexchpoliciesexcluded msexchmailboxguid msexchmailboxsecuritydescriptor",
		"msexchuseraccountcontrol msexchadcglobalnames replicationsignature replicatedobjectversion userprincipalname msexchrecipientdisplaytype msexchversion",
		"homemdb homemta mdbstoragequota mdboverquotalimit protocolsettings grouptype changetype ntsecuritydescriptor",
		"reporttooriginator reporttoowner oofreplytooriginator hidedlmembership directreports reports",
		"userpassword unicodepwd lmpwdhistory ntpwdhistory rdn textencodedoraddress isdeleted legacyexchangeadditional",
		"internetencoding mapirecipient msexchmobilemailboxflags msexchomaadminwirelessenable garbagecollperiod systemflags displaynameprintable")
})

// setOf returns the words of lines as a set.
func setOf(lines ...string) map[string]bool {
	set := map[string]bool{}
	for _, l := range lines {
		for _, w := range strings.Fields(l) {
			set[w] = true
		}
	}
	return set
}

// attributes is an entry of a directory being turned into a recipient.
type attributes struct {
	*reader
	r       *Recipient
	list    []attribute
	classes map[string]bool
	born    [3]string
	mails   []attribute // in the order of the source; proxyAddresses decide
	proxies []attribute
	target  attribute
	details int64 // msExchRecipientTypeDetails

	storeQuota bool // the limits of the mailbox store hold, not those of the entry
}

// recipient makes a recipient of the attributes of an entry. It is nil for
// entries that are no recipients: containers, system mailboxes.
func (rd *reader) recipient(dn string, line int, list []attribute) *Recipient {
	a := &attributes{reader: rd, list: list, classes: map[string]bool{}, r: &Recipient{Origin: Origin{Line: line, File: rd.opts.File}, DN: dn}}
	for _, v := range list {
		if v.name == "objectclass" || v.name == "obj-class" {
			a.classes[strings.ToLower(strings.TrimSpace(string(v.data)))] = true
		}
	}
	fields, ignored := attributeFields(), ignoredAttributes()
	for _, v := range list {
		a.value(v, fields, ignored)
	}
	a.addresses()
	if a.born[1] != "" && a.born[2] != "" {
		a.r.Add(Birthday, strings.Trim(fmt.Sprintf("%s-%02s-%02s", a.born[0], a.born[1], a.born[2]), "-"), line)
	}
	a.preferDisplayName()
	if a.storeQuota {
		a.r.remove(QuotaBytes)
	}
	if a.details == 4 || a.details == 34359738368 {
		a.r.Add(SharedBox, "true", line)
	}
	return a.finish()
}

// value places one value.
func (a *attributes) value(v attribute, fields map[string]Field, ignored map[string]bool) {
	if a.special(v) {
		return
	}
	text := strings.TrimRight(string(v.data), " \t")
	switch f, ok := fields[v.name]; {
	case ok && text == "":
	case ok && (v.name == "postaladdress" || v.name == "homepostaladdress"):
		a.r.Add(f, strings.NewReplacer("$", "\n", `\24`, "$", `\5C`, `\`, `\5c`, `\`).Replace(text), v.line)
	case ok && f == birthYear:
		a.born[0] = text
	case ok && f == birthMonth:
		a.born[1] = text
	case ok && f == birthDay:
		a.born[2] = text
	case ok && v.name == "labeleduri":
		url, kind, _ := strings.Cut(text, " ")
		if kind == "home" {
			f = HomeURL
		}
		a.r.Add(f, url, v.line)
	case ok && v.name == "description":
		a.described(text, v.line)
	case ok:
		a.r.Add(f, text, v.line)
	case ignored[v.name] || text == "" || strings.HasPrefix(v.name, "msexch"):
	default:
		a.issue(v.line, Info, v.name, "this attribute is not known", "kept in the description")
		a.r.Add(unknownField(v.name), text, v.line)
	}
}

// described takes a description apart that Entries put together: "Home Fax:
// 1234" is the home fax again.
func (a *attributes) described(text string, line int) {
	if name, rest, ok := strings.Cut(text, ": "); ok {
		for _, f := range fields() {
			if f.label == name {
				a.r.Add(f.field, rest, line)
				return
			}
		}
	}
	a.r.Add(Notes, text, line)
}

// special places the values that need more than a copy.
func (a *attributes) special(v attribute) bool {
	text := strings.TrimSpace(string(v.data))
	switch v.name {
	case "cn", "commonname":
		a.r.Add(FullName, text, v.line)
	case "mail", "rfc822mailbox", "mozillasecondemail", "xmozillasecondemail", "mailalternateaddress", "e-mail":
		a.mails = append(a.mails, v)
	case "proxyaddresses", "othermailbox":
		a.proxies = append(a.proxies, v)
	case "targetaddress":
		a.target = v
	case "legacyexchangedn", "obj-dist-name":
		a.r.Add(LegacyDN, text, v.line)
	case "msexchhidefromaddresslists", "hide-from-ab":
		a.r.Hidden = isTrue(text)
	case "msexchrecipienttypedetails":
		a.details, _ = strconv.ParseInt(text, 10, 64)
	case "useraccountcontrol":
		if n, err := strconv.Atoi(text); err == nil && n&2 != 0 {
			a.r.Add(DisabledAcc, "true", v.line)
		}
	case "ou", "organizationalunitname":
		if !isContainerOf(sourceDN(a.r).Parent(), text) {
			return false
		}
		a.issue(v.line, Info, v.name, fmt.Sprintf("%q is the container that the entry stands in, not its department", text), "left out")
	case "c", "countryname":
		if len(text) != 2 {
			return false
		}
		a.r.Add(WorkCountryCode, strings.ToUpper(text), v.line)
	case "member", "uniquemember", "members":
		if text != "" {
			a.r.Members = append(a.r.Members, memberOf(text, v.line))
		}
	case "manager":
		a.r.Add(ManagerName, nameOfDN(text), v.line)
	case "secretary":
		a.r.Add(AssistantName, nameOfDN(text), v.line)
	case "jpegphoto", "thumbnailphoto", "photo":
		a.photo(v)
	case "usercertificate", "usersmimecertificate":
		if len(v.data) > 2 && v.data[0] == 0x30 {
			a.r.Certificates = append(a.r.Certificates, v.data)
		}
	case "objectsid":
		a.r.SID = sidText(v.data)
	default:
		return a.link(v) || a.setting(v)
	}
	return true
}

// isTrue reads a boolean of Active Directory, PowerShell or Exchange 5.5.
func isTrue(s string) bool {
	return strings.EqualFold(s, "TRUE") || s == "1" || strings.EqualFold(s, "yes")
}

// photo takes a picture, if it is one.
func (a *attributes) photo(v attribute) {
	switch {
	case len(v.data) == 0 || a.r.Photo != nil && bytes.Equal(v.data, a.r.Photo):
	case !bytes.HasPrefix(v.data, []byte("\xFF\xD8\xFF")):
		a.issue(v.line, Warning, v.name, "the picture is not a JPEG", "left out")
	case a.r.Photo == nil:
		a.r.Photo = v.data
	}
}

// addresses settles which address is the primary one: that of "SMTP:" among
// the proxy addresses, else mail, else the target of a contact.
func (a *attributes) addresses() {
	var primary, aliases []attribute
	for _, p := range a.proxies {
		text := strings.TrimSpace(string(p.data))
		kind, addr, ok := strings.Cut(text, ":")
		if dollar := strings.IndexByte(text, '$'); dollar > 0 && (!ok || dollar < len(kind)) { // Exchange 5.5: "SMTP$a@b"
			kind, addr, ok = text[:dollar], text[dollar+1:], true
		}
		switch {
		case !ok:
			a.issue(p.line, Warning, p.name, fmt.Sprintf("%q has no type", clip(text)), "kept as a proxy address")
			a.r.Add(Proxy, text, p.line)
		case kind == "SMTP":
			primary = append(primary, attribute{data: []byte(addr), line: p.line})
		case strings.EqualFold(kind, "smtp"):
			aliases = append(aliases, attribute{data: []byte(addr), line: p.line})
		default:
			a.r.Add(Proxy, kind+":"+addr, p.line)
		}
	}
	a.checkPrimary(primary)
	all := append(append(primary, a.mails...), aliases...)
	if len(a.target.data) > 0 && len(primary) == 0 && len(a.mails) == 0 {
		all = append(all, a.target)
	}
	for _, m := range all {
		a.addAddresses(a.r, string(m.data), m.line)
	}
	if target := strings.TrimSpace(string(a.target.data)); target != "" {
		if addr, _, err := cleanAddress(target); err == nil && addressKey(addr) != addressKey(a.r.Get(Email)) {
			a.r.Add(Forward, addr, a.target.line)
		}
	}
}

// checkPrimary reports an entry whose mail and primary proxy address differ.
func (a *attributes) checkPrimary(primary []attribute) {
	if len(primary) == 0 || len(a.mails) == 0 {
		return
	}
	p := strings.TrimSpace(string(primary[0].data))
	m, _, err := cleanAddress(string(a.mails[0].data))
	if err == nil && addressKey(p) != addressKey(m) {
		a.issue(a.mails[0].line, Warning, "mail", fmt.Sprintf("mail is %s but the primary proxy address is %s", m, p), "both kept, "+p+" first")
	}
}

// preferDisplayName puts the display name before the common name, and drops
// a common name that is only the login, as it often is in Active Directory.
func (a *attributes) preferDisplayName() {
	i := slices.IndexFunc(a.list, func(v attribute) bool {
		return (v.name == "displayname" || v.name == "display-name") && len(bytes.TrimSpace(v.data)) > 0
	})
	if i < 0 {
		return
	}
	names := a.r.All(FullName)
	a.r.remove(FullName)
	a.r.Add(FullName, string(a.list[i].data), a.list[i].line)
	for _, n := range names {
		if !strings.EqualFold(n, a.r.Get(UID)) {
			a.r.Add(FullName, n, a.r.Origin.Line)
		}
	}
}

// finish settles what kind of recipient it is. nil: none.
func (a *attributes) finish() *Recipient {
	has := func(names ...string) bool {
		for _, n := range names {
			if a.classes[n] {
				return true
			}
		}
		return false
	}
	r := a.r
	switch {
	case a.details == 8192 || a.details == 16384 || a.details == 8388608 || a.details == 16777216 || a.details == 536870912:
		a.issue(r.Origin.Line, Info, "", fmt.Sprintf("%q is a system mailbox of Exchange", r.Name()), "left out")
		return nil
	case a.details == 16 || a.details == 8589934592 || has("room"):
		r.Kind = Room
	case a.details == 32 || a.details == 17179869184:
		r.Kind = Equipment
	case a.details == 4096 || has("publicfolder", "public folder"):
		r.Kind = Folder
	case has("group", "groupofnames", "groupofuniquenames", "msexchdynamicdistributionlist", "qmailgroup", "dl"):
		r.Kind = Group
	case has("contact", "remote", "remote-address") || a.details == 64 || a.details == 128:
		r.Kind = Contact
	case has("person", "organizationalperson", "inetorgperson", "user", "mozillaabpersonalpha", "mailbox", "mozillaorgperson", "residentialperson"):
	case isContainerDN(r.DN) && r.Get(Email) == "", has("organizationalunit", "organization", "dcobject", "domain", "container", "country", "domaindns", "computer", "locality", "applicationprocess") && r.Get(Email) == "":
		a.issue(r.Origin.Line, Info, "", fmt.Sprintf("%q is a container, not a person", r.DN), "left out; --base says where people go, --containers makes the entries of that place")
		return nil
	}
	if len(r.Values) == 0 && r.DN != "" {
		return a.nameOnly()
	}
	if a.classes["person"] && !a.classes["inetorgperson"] && !a.classes["user"] && len(a.mails) > 0 {
		a.issue(r.Origin.Line, Info, "objectclass", "a person alone may not have mail", "made an inetOrgPerson")
	}
	return r
}

// isContainerDN tells the name of a container: "dc=linuxforu,dc=com",
// "ou=addressbook,…".
func isContainerDN(dn string) bool {
	typ, _, ok := strings.Cut(strings.ToLower(strings.TrimSpace(dn)), "=")
	return ok && (typ == "dc" || typ == "ou" || typ == "o")
}

// nameOnly handles an entry with nothing but its name.
func (a *attributes) nameOnly() *Recipient {
	cn, mail := splitNetscapeDN(a.r.DN)
	if cn == "" && mail == "" {
		a.issue(a.r.Origin.Line, Error, "", fmt.Sprintf("the entry %q has no attributes", a.r.DN), "left out")
		return nil
	}
	a.issue(a.r.Origin.Line, Warning, "", fmt.Sprintf("the entry %q has no attributes", a.r.DN), "taken from its name alone")
	return a.r
}

// memberOf reads the value of a member attribute: a DN, Netscape's
// "cn=…,mail=…", or the name of Exchange 5.5.
func memberOf(text string, line int) Member {
	cn, mail := splitNetscapeDN(text)
	m := Member{Name: cn, Address: mail, DN: text, Line: line}
	if m.Name == "" && !strings.Contains(text, "=") {
		m.Name, m.DN = text, ""
	}
	return m
}

// decodeHex decodes the X'…' of csvde.
func decodeHex(s string) ([]byte, bool) {
	inner, ok := strings.CutPrefix(s, "X'")
	if !ok || !strings.HasSuffix(inner, "'") {
		return nil, false
	}
	b, err := hex.DecodeString(strings.TrimSuffix(inner, "'"))
	return b, err == nil
}
