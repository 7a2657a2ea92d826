package gal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"strings"

	"expost/internal/codepage"
	"expost/oab"
)

// isOAB tells an offline address book by its first bytes.
func isOAB(start []byte) bool { return oab.IsDetails4(start) || oab.IsBrowse(start) }

// readOAB reads an offline address book. The line of a recipient is the number
// of its entry.
func (rd *reader) readOAB(r *bufio.Reader) error {
	rd.src.Format, rd.src.Page = FormatOAB, codepage.UTF8.Name
	start, err := r.Peek(12)
	if err != nil {
		return fmt.Errorf("the file is cut off after %d bytes", len(start))
	}
	var records iter.Seq2[*oab.Record, error]
	total := 0
	if oab.IsBrowse(start) {
		book, done, err := rd.openBrowse(start[0] == 0x0A)
		if err != nil {
			return err
		}
		defer done()
		records, total = book.Records(), book.Total()
	} else {
		book, err := oab.NewReader(r)
		if err != nil {
			return err
		}
		records, total = book.Records(), book.Total()
	}
	n := 0
	for rec, err := range records {
		if err != nil {
			rd.issue(n, Error, "", err.Error(), fmt.Sprintf("%d of %d entries were read; download the address book again", n, total))
			return nil
		}
		n++
		if err := rd.oabEntry(rec); err != nil {
			return err
		}
	}
	return nil
}

// openBrowse opens the files that lie beside browse.oab.
func (rd *reader) openBrowse(ansi bool) (*oab.Book, func(), error) {
	if rd.opts.Folder == nil {
		return nil, nil, errors.New("this address book has four files: browse.oab, rdndex.oab, anrdex.oab and details.oab; name browse.oab where they lie together")
	}
	var open []io.Closer
	done := func() {
		for _, c := range open {
			c.Close() // only read
		}
	}
	find := func(name string) io.ReaderAt {
		f, err := openFold(rd.opts.Folder, name)
		if err != nil {
			return nil
		}
		open = append(open, f)
		at, _ := f.(io.ReaderAt)
		return at
	}
	files := oab.Files{Browse: find("browse.oab"), RDN: find("rdndex.oab"), ANR: find("anrdex.oab"), Details: find("details.oab")}
	if files.Browse == nil {
		files.Browse = find(rd.opts.File)
	}
	if files.Browse == nil {
		done()
		return nil, nil, errors.New("browse.oab is not in its folder any more")
	}
	if files.Details == nil {
		rd.issue(0, Warning, "", "details.oab is not beside browse.oab", "telephone numbers, addresses and further e-mail addresses are missing")
	}
	page := codepage.Windows1252
	if rd.opts.Page != "" {
		p, err := codepage.Lookup(rd.opts.Page)
		if err != nil {
			done()
			return nil, nil, err
		}
		page = p
	}
	if ansi {
		rd.src.Page = page.Name
	}
	book, err := oab.Open(files, func(b []byte) string { s, _ := page.String(b); return s })
	if err != nil {
		done()
		return nil, nil, err
	}
	return book, done, nil
}

// openFold opens a file whose name may be in other case.
func openFold(folder fs.FS, name string) (fs.File, error) {
	list, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if strings.EqualFold(e.Name(), name) && !e.IsDir() {
			return folder.Open(e.Name())
		}
	}
	return nil, fs.ErrNotExist
}

// oabAttributes are the attributes of Active Directory that the properties of
// an offline address book were made from.
var oabAttributes = [...]struct {
	tag  uint32
	name string
}{
	{oab.TagDisplayName, "displayname"}, {oab.TagAccount, "mailnickname"}, {oab.TagSurname, "sn"}, {oab.TagGivenName, "givenname"},
	{oab.TagInitials, "initials"}, {oab.TagSMTPAddress, "mail"}, {oab.TagEmailAddress, "legacyexchangedn"}, {oab.TagProxyAddresses, "proxyaddresses"},
	{oab.TagTargetAddress, "targetaddress"}, {oab.TagTitle, "title"}, {oab.TagCompany, "company"}, {oab.TagDepartment, "department"},
	{oab.TagOffice, "physicaldeliveryofficename"}, {oab.TagBusinessPhone, "telephonenumber"}, {oab.TagBusiness2Phones, "othertelephone"},
	{oab.TagHomePhone, "homephone"}, {oab.TagHome2Phones, "otherhomephone"}, {oab.TagMobilePhone, "mobile"}, {oab.TagPager, "pager"},
	{oab.TagPrimaryFax, "facsimiletelephonenumber"}, {oab.TagAssistantPhone, "telephoneassistant"}, {oab.TagAssistant, "assistantname"},
	{oab.TagStreetAddress, "streetaddress"}, {oab.TagLocality, "l"}, {oab.TagStateOrProvince, "st"}, {oab.TagPostalCode, "postalcode"},
	{oab.TagCountry, "co"}, {oab.TagComment, "info"}, {oab.TagHomeMDB, "msexchhomeservername"}, {oab.TagMembers, "member"},
}

// oabEntry makes a recipient of an entry.
func (rd *reader) oabEntry(rec *oab.Record) error {
	if rec.Damage != "" {
		rd.issue(rec.Number, Warning, "", fmt.Sprintf("the entry at offset %d is damaged: %s", rec.Offset, rec.Damage), "taken as far as it could be read")
	}
	var list []attribute
	add := func(name string, data []byte) {
		if len(data) > 0 {
			list = append(list, attribute{name: name, data: data, line: rec.Number})
		}
	}
	for _, a := range oabAttributes {
		for _, text := range rec.Texts(a.tag) {
			add(a.name, []byte(text))
		}
	}
	if m := rec.Text(oab.TagManager); m != "" {
		add("manager", []byte("cn="+m[strings.LastIndexByte(m, '=')+1:]))
	}
	for _, photo := range rec.Bytes(oab.TagThumbnailPhoto) {
		add("thumbnailphoto", photo)
	}
	for _, cert := range rec.Bytes(oab.TagX509Certificates) {
		add("usercertificate", bytes.Clone(cert))
	}
	name, value := oabKind(rec)
	add(name, []byte(value))
	for _, tag := range truncatedTags(rec) {
		rd.issue(rec.Number, Warning, "", fmt.Sprintf("Exchange left property 0x%08X of %q out of the address book, or cut it", uint32(tag), rec.Text(oab.TagDisplayName)), "take it from Active Directory")
	}
	r := rd.recipient("", rec.Number, list)
	if r == nil {
		return nil
	}
	return rd.emit(r)
}

// truncatedTags returns the properties that an entry had more of than the
// address book was allowed to.
func truncatedTags(rec *oab.Record) []int32 {
	for _, p := range rec.Properties {
		if tags, ok := p.Value.([]int32); ok && p.Tag == oab.TagTruncated {
			return tags
		}
	}
	return nil
}

// oabKind returns the attribute that says what an entry is.
func oabKind(rec *oab.Record) (name, value string) {
	kind, known := rec.Int(oab.TagDisplayTypeEx)
	if !known {
		kind, _ = rec.Int(oab.TagDisplayType)
	}
	details := func(n int) (string, string) { return "msexchrecipienttypedetails", strconv.Itoa(n) }
	switch kind & 0xFF {
	case oab.DisplayDistList, oab.DisplayAgent, 9: // 9: a security group
		return "objectclass", "group"
	case oab.DisplayForum:
		return details(4096)
	case oab.DisplayRemoteUser:
		return "objectclass", "contact"
	case oab.DisplayRoom:
		return details(16)
	case oab.DisplayEquipment:
		return details(32)
	}
	return "objectclass", "user"
}
