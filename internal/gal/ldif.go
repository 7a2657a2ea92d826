package gal

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"expost/internal/codepage"
	"expost/internal/ldap"
	"expost/internal/ldif"
)

// readLDIF reads Netscape's LDIF, ldifde's, slapcat's.
func (rd *reader) readLDIF(r io.Reader) error {
	page := rd.page
	if page.Name == codepage.UTF8.Name { // what is not UTF-8 after all is the usual one
		page = codepage.Windows1252
	}
	lr := ldif.NewReader(r, ldif.Options{File: rd.opts.File, Lenient: true, Page: page, Report: func(i ldif.Issue) {
		rd.issue(i.Line, Warning, i.Attr, i.What, i.Did)
	}})
	for {
		rec, err := lr.Next()
		if err == io.EOF {
			return nil
		}
		if bad, ok := errors.AsType[*ldif.Error](err); ok {
			rd.issue(bad.Line, Error, "", bad.Text, "the record was left out")
			continue
		}
		if err != nil {
			return err
		}
		if rec.Change != ldif.Content && rec.Change != ldif.Add {
			rd.issue(rec.Line, Error, "", fmt.Sprintf("a %s record changes an entry; an address list has entries", rec.Change), "left out")
			continue
		}
		if err := rd.record(rec); err != nil {
			return err
		}
	}
}

// record makes a recipient of an LDIF record.
func (rd *reader) record(rec *ldif.Record) error {
	list := make([]attribute, 0, len(rec.Values))
	spaced := 0
	for _, v := range rec.Values {
		name, _, _ := strings.Cut(strings.ToLower(v.Desc), ";")
		if !v.Base64 && len(v.Data) > 0 && v.Data[len(v.Data)-1] == ' ' {
			spaced = v.Line
		}
		if len(v.Data) == 0 && attributeFields()[name] == "" && !ignoredAttributes()[name] {
			rd.issue(v.Line, Info, v.Desc, "this attribute is empty and not known", "left out")
		} else if len(v.Data) == 0 {
			rd.issue(v.Line, Info, v.Desc, "this attribute is empty", "left out")
		}
		list = append(list, attribute{name: name, data: v.Data, line: v.Line})
	}
	if spaced > 0 {
		rd.issue(spaced, Info, "", "a value ends with a space", "trimmed")
	}
	r := rd.recipient(rec.DN, rec.Line, list)
	if r == nil {
		return nil
	}
	r.Truncated = rec.Truncated
	rd.netscapeName(r)
	return rd.emit(r)
}

// netscapeName takes from a DN of Netscape what the attributes lack, and
// reports where the two differ.
func (rd *reader) netscapeName(r *Recipient) {
	cn, mail := splitNetscapeDN(r.DN)
	if cn != "" && r.Get(FullName) == "" && r.Get(LastName) == "" {
		r.Add(FullName, cn, r.Origin.Line)
	}
	if mail == "" {
		return
	}
	addr, _, err := cleanAddress(mail)
	if err != nil {
		rd.issue(r.Origin.Line, Warning, "dn", err.Error(), "left out")
		return
	}
	have := r.All(Email)
	r.addEmail(addr, r.Origin.Line)
	if len(have) > 0 && len(r.All(Email)) > len(have) {
		rd.issue(r.Origin.Line, Warning, "mail", fmt.Sprintf("the entry's name has %s but its mail is %s", addr, have[0]), "both kept, "+have[0]+" first")
	}
}

// splitNetscapeDN splits "cn=Smith, John,mail=js@x", which is no valid DN
// where the name has a comma, at the last ",mail=". It returns the common
// name of a proper DN too.
func splitNetscapeDN(dn string) (cn, mail string) {
	low := strings.ToLower(dn)
	rest := dn
	if i := strings.LastIndex(low, ",mail="); i >= 0 {
		rest, mail = dn[:i], dn[i+len(",mail="):]
	} else if strings.HasPrefix(low, "mail=") {
		return "", dn[len("mail="):]
	}
	if !strings.HasPrefix(strings.ToLower(rest), "cn=") {
		return "", mail
	}
	if mail != "" || !strings.Contains(rest, ",") {
		return strings.TrimSpace(unescapeDN(rest[len("cn="):])), mail
	}
	return nameOfDN(rest), ""
}

// unescapeDN undoes the escapes of a DN's value, if it has any.
func unescapeDN(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	if dn, err := ldap.ParseDN("cn=" + s); err == nil && len(dn) == 1 && len(dn[0]) == 1 {
		return dn[0][0].Value
	}
	return s
}

// nameOfDN returns the value of the first RDN of a DN, and a text that is no
// DN as it is.
func nameOfDN(s string) string {
	dn, err := ldap.ParseDN(s)
	if err != nil || len(dn) == 0 || len(dn[0]) == 0 {
		return s
	}
	return dn[0][0].Value
}
