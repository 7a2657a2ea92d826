package gal

import (
	"sync"

	"fmt"
	"regexp"
	"slices"
	"strings"
)

// exchangeNames maps the columns of Get-Recipient, Get-Mailbox and their kind,
// and those of Exchange 5.5's directory export, to attributes of Active
// Directory. Headers are compared in lower case.
var exchangeNames = sync.OnceValue(func() map[string]string {
	return map[string]string{
		// PowerShell
		"displayname": "displayname", "alias": "mailnickname", "primarysmtpaddress": "mail", "windowsemailaddress": "mail",
		"emailaddresses": "proxyaddresses", "firstname": "givenname", "lastname": "sn", "initials": "initials", "title": "title",
		"department": "department", "company": "company", "office": "physicaldeliveryofficename", "phone": "telephonenumber",
		"mobilephone": "mobile", "fax": "facsimiletelephonenumber", "homephone": "homephone", "city": "l", "stateorprovince": "st",
		"postalcode": "postalcode", "countryorregion": "co", "streetaddress": "street", "manager": "manager", "notes": "info",
		"externalemailaddress": "targetaddress", "hiddenfromaddresslistsenabled": "msexchhidefromaddresslists",
		"legacyexchangedn": "legacyexchangedn", "recipienttypedetails": "recipienttypedetails", "recipienttype": "recipienttype",
		"samaccountname": "samaccountname", "servername": "msexchhomeservername", "name": "cn", "distinguishedname": "dn",
		"assistantname": "assistantname", "webpage": "url", "pager": "pager", "members": "members", "identity": "-", "guid": "-",
		// Exchange 5.5
		"obj-class": "obj-class", "first name": "givenname", "last name": "sn", "display name": "displayname", "alias name": "mailnickname",
		"directory name": "cn", "primary windows nt account": "samaccountname", "home-server": "msexchhomeservername",
		"e-mail address": "e-mail", "e-mail addresses": "proxyaddresses", "members-of": "-", "obj-container": "-", "hide from ab": "hide-from-ab",
		"telephone-number": "telephonenumber", "telephone-office1": "telephonenumber", "telephone-office2": "othertelephone",
		"telephone-home": "homephone", "telephone-mobile": "mobile", "telephone-fax": "facsimiletelephonenumber", "telephone-pager": "pager",
		"telephone-assistant": "telephoneassistant", "physical-delivery-office-name": "physicaldeliveryofficename", "organization-name": "company",
		"department-name": "department", "job-title": "title", "postal-code": "postalcode", "address": "street", "locality-name": "l",
		"state-or-province-name": "st", "text-country": "co", "assistant-name": "assistantname", "obj-dist-name": "legacyexchangedn",
		"adc-global-names": "-", "mode": "-", "comment": "info", "extension-attribute-1": "extensionattribute1",
		"extension-attribute-2": "extensionattribute2", "extension-attribute-3": "extensionattribute3", "extension-attribute-4": "extensionattribute4",
	}
})

// dialect is a directory's CSV.
type dialect int

const (
	dialectNone       dialect = iota
	dialectCSVDE              // first column DN, names of attributes
	dialectPowerShell         // Get-Recipient | Export-Csv
	dialect55                 // Exchange 5.5 directory export
)

// dialectOf tells a directory's CSV by its header.
func dialectOf(cells []string) dialect {
	has := func(name string) bool {
		return slices.ContainsFunc(cells, func(c string) bool { return normalHeader(c) == name })
	}
	switch {
	case has("obj-class"):
		return dialect55
	case has("dn") && (has("objectclass") || has("mail") || has("cn") || has("displayname") || has("proxyaddresses") || has("samaccountname")):
		return dialectCSVDE
	case has("primarysmtpaddress") || has("recipienttype") || has("recipienttypedetails") || has("emailaddresses") || has("windowsemailaddress"):
		return dialectPowerShell
	}
	return dialectNone
}

// attributeHeader returns the number of cells of a directory's header, and 0
// for other headers.
func attributeHeader(cells []string) int {
	if dialectOf(cells) == dialectNone {
		return 0
	}
	return len(cells)
}

// attributeTable prepares to read a directory's CSV.
func (t *table) attributeTable(head *row) error {
	d := dialectOf(head.cells)
	t.src.Program = [...]string{"", "csvde", "Exchange PowerShell", "Exchange 5.5"}[d]
	names := make([]string, len(head.cells))
	translate, known, ignored := exchangeNames(), attributeFields(), ignoredAttributes()
	for i, c := range head.cells {
		n := normalHeader(c)
		names[i], _, _ = strings.Cut(n, ";") // csvde writes "member;range=0-1499"
		if to, ok := translate[n]; ok && d != dialectCSVDE {
			names[i] = to
		} else if d == dialectPowerShell && known[n] == "" && !ignored[n] {
			names[i] = "-" // the hundred settings of a mailbox
		}
	}
	t.entry = func(r *row) error { return t.directoryRow(d, names, r) }
	return nil
}

// directoryRow makes a recipient of a row of a directory's CSV.
func (t *table) directoryRow(d dialect, names []string, r *row) error {
	var list []attribute
	dn := ""
	for i, text := range r.cells {
		if text == "" || i >= len(names) || names[i] == "-" {
			continue
		}
		if names[i] == "dn" || names[i] == "distinguishedname" {
			dn = text
			continue
		}
		if names[i] == "recipienttype" || names[i] == "recipienttypedetails" {
			list = append(list, recipientType(text, r.lines[i])...)
			continue
		}
		if typeName(text) {
			t.issue(r.lines[i], Error, t.column(i), fmt.Sprintf("the cell holds the name of a type, not its values: %q", clip(text)),
				`left out; export again with @{n="EmailAddresses";e={$_.EmailAddresses -join ";"}}`)
			continue
		}
		if d == dialectPowerShell && strings.Count(text, "?") > 1 && !strings.Contains(text, "://") {
			t.issue(r.lines[i], Warning, t.column(i), fmt.Sprintf("%q looks as if letters were lost in the export", clip(text)), "kept; export again with Export-Csv -Encoding UTF8")
		}
		for _, v := range splitMulti(d, names[i], text) {
			list = append(list, attribute{name: names[i], data: v, line: r.lines[i]})
		}
	}
	rec := t.recipient(dn, r.line, list)
	if rec == nil {
		return nil
	}
	return t.emit(rec)
}

// typeName tells a cell into which PowerShell wrote a type for want of a text.
func typeName(s string) bool {
	return strings.HasPrefix(s, "Microsoft.Exchange.Data.") || strings.HasPrefix(s, "System.Collections.") ||
		strings.HasPrefix(s, "System.String[]") || strings.HasPrefix(s, "Deserialized.")
}

// recipientType turns the types of PowerShell into those of the directory.
func recipientType(s string, line int) []attribute {
	details := map[string]string{"roommailbox": "16", "equipmentmailbox": "32", "sharedmailbox": "4", "mailcontact": "64", "mailuser": "128",
		"discoverymailbox": "536870912", "arbitrationmailbox": "8388608", "publicfolder": "4096", "remoteroommailbox": "8589934592",
		"remoteequipmentmailbox": "17179869184", "systemattendantmailbox": "8192", "systemmailbox": "16384"}
	l := strings.ToLower(strings.TrimSpace(s))
	switch {
	case details[l] != "":
		return []attribute{{name: "msexchrecipienttypedetails", data: []byte(details[l]), line: line}}
	case strings.Contains(l, "group") || strings.Contains(l, "distributionlist"):
		return []attribute{{name: "objectclass", data: []byte("group"), line: line}}
	}
	return []attribute{{name: "objectclass", data: []byte("user"), line: line}}
}

// proxyStart finds where an address begins in a list that is joined with
// blanks, commas or semicolons: X.400 addresses hold semicolons themselves.
var proxyStart = regexp.MustCompile(`[;, ]+([A-Za-z][A-Za-z0-9]{1,15}:)`)

// splitMulti splits a cell with several values.
func splitMulti(d dialect, name, text string) [][]byte {
	var parts []string
	switch {
	case name == "proxyaddresses" && d == dialect55:
		parts = strings.Split(text, "%")
	case name == "proxyaddresses":
		parts = splitProxies(text)
	case d == dialect55 && (name == "members" || strings.Contains(text, "%")):
		parts = strings.Split(text, "%")
	case d == dialectCSVDE:
		if b, ok := decodeHex(text); ok {
			return [][]byte{b}
		}
		parts = splitCSVDE(name, text)
	case name == "members" || name == "member":
		parts = strings.Split(text, ";")
	default:
		parts = []string{text}
	}
	var out [][]byte
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, []byte(p))
		}
	}
	return out
}

// splitProxies splits proxy addresses before each type. Of several delimiters
// the last one separates; the others end an X.400 address.
func splitProxies(s string) []string {
	var out []string
	start := 0
	for _, m := range proxyStart.FindAllStringSubmatchIndex(s, -1) {
		typ := m[2]
		out = append(out, strings.TrimRight(s[start:typ-1], " ,"))
		start = typ
	}
	return append(out, s[start:])
}

// splitCSVDE splits at the semicolons of csvde, which writes one between
// values and escapes none: only attributes that do have several are split.
func splitCSVDE(name, text string) []string {
	several := setOf("objectclass member memberof othertelephone otherhomephone othermobile otherpager showinaddressbook othermailbox url",
		"directreports reports publicdelegates uid")
	if !several[name] {
		return []string{text}
	}
	return strings.Split(text, ";")
}
