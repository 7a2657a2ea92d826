package gal

import (
	"strings"

	"expost/internal/ldap"
)

// isExchange55 tells an entry of Exchange 5.5's own directory, whose common name
// is "rdn" and whose "cn" is what Active Directory calls displayName.
func isExchange55(e *ldap.Entry) bool {
	for _, a := range e.Attributes {
		switch strings.ToLower(a.Desc) {
		case "rdn", "textencodedoraddress", "hide-from-address-book", "obj-dist-name", "mapi-recipient":
			return true
		}
	}
	return false
}

// from55 returns the attributes of an entry of Exchange 5.5 under the names that
// Active Directory has for them.
func from55(e *ldap.Entry) []attribute {
	var list []attribute
	put := func(name string, value string) { list = append(list, attribute{name: name, data: []byte(value)}) }
	dn := ""
	for _, a := range e.Attributes {
		name, _, _ := strings.Cut(strings.ToLower(a.Desc), ";")
		for _, v := range a.Values {
			text := string(v)
			switch name {
			case "rdn":
				put("cn", text)
			case "cn":
				put("displayname", text)
			case "uid":
				put("mailnickname", text)
			case "mail", "rfc822mailbox":
				put("mail", text)
			case "textencodedoraddress":
				put("proxyaddresses", "X400:"+text)
			case "othermailbox": // "TYPE$address"
				kind, addr, found := strings.Cut(text, "$")
				if strings.EqualFold(kind, "smtp") {
					kind = "smtp"
				}
				if found && addr != "" {
					put("proxyaddresses", kind+":"+addr)
				}
			case "obj-dist-name":
				dn = text
			case "hide-from-address-book":
				put("msexchhidefromaddresslists", truth55(text))
			case "objectclass":
				put("objectclass", class55(text))
			case "mapi-recipient", "home-mta", "home-mdb", "distinguishedname", "object-guid":
			default:
				name55 := strings.ReplaceAll(name, "-", "")
				if name55 == "assocntaccount" {
					continue // a SID, which names nobody here
				}
				list = append(list, attribute{name: name55, data: v})
			}
		}
	}
	if dn == "" {
		dn = legacyDN(e.DN)
	}
	put("legacyexchangedn", dn)
	return list
}

// truth55 reads a boolean of 5.5's, which older service packs write as a number.
func truth55(text string) string {
	if text == "1" || strings.EqualFold(text, "TRUE") {
		return "TRUE"
	}
	return "FALSE"
}

// class55 returns Active Directory's class for one of 5.5's.
func class55(text string) string {
	switch strings.ToLower(text) {
	case "remote-address", "custom-recipient":
		return "contact"
	case "groupofnames":
		return "group"
	case "organizationalperson":
		return "user"
	case "public-folder":
		return "publicFolder"
	}
	return text
}

// legacyDN returns the name that Exchange's other half has for an entry of 5.5:
// "cn=ajay,cn=Recipients,ou=Delhi,o=LFY" is "/o=LFY/ou=Delhi/cn=Recipients/cn=ajay".
func legacyDN(dn ldap.DN) string {
	var b strings.Builder
	for i := len(dn) - 1; i >= 0; i-- {
		b.WriteString("/" + strings.ToLower(dn[i][0].Type) + "=" + dn[i][0].Value)
	}
	return b.String()
}
