package oab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Files are the files of an address book of version 2 or 3 ([MS-OXOAB] 2.3 to
// 2.6). Details may be nil: the book then lacks telephone numbers and the like.
type Files struct {
	Browse  io.ReaderAt // browse.oab
	RDN     io.ReaderAt // rdndex.oab
	ANR     io.ReaderAt // anrdex.oab
	Details io.ReaderAt // details.oab
}

const (
	versionBrowse2 = 0x0A
	versionBrowse3 = 0x0E
	browseHeader   = 12
	browseRecord   = 32
	rdnFixed       = 24
	anrFixed       = 20
	maxKey         = 4 << 10 // bytes of a name or DN
)

// Book is an address book of version 2 or 3.
type Book struct {
	files  Files
	total  int
	ansi   bool
	decode func([]byte) string
}

// IsBrowse tells whether a file starts as browse.oab does.
func IsBrowse(start []byte) bool {
	if len(start) < browseHeader {
		return false
	}
	v := binary.LittleEndian.Uint32(start)
	return v == versionBrowse2 || v == versionBrowse3
}

// Open reads the header of an address book of version 2 or 3. Texts of version
// 2 are in the code page of the server that made it, which decode knows.
func Open(files Files, decode func([]byte) string) (*Book, error) {
	var h [browseHeader]byte
	if err := readAt(files.Browse, h[:], 0); err != nil {
		return nil, fmt.Errorf("reading the header of browse.oab: %w", err)
	}
	if !IsBrowse(h[:]) {
		return nil, fmt.Errorf("this is no browse.oab: its version is 0x%X, not 0x0A or 0x0E", binary.LittleEndian.Uint32(h[:]))
	}
	if files.RDN == nil || files.ANR == nil {
		return nil, errors.New("browse.oab has names and addresses in the files rdndex.oab and anrdex.oab: put them beside it")
	}
	b := &Book{files: files, total: int(binary.LittleEndian.Uint32(h[8:])), ansi: h[0] == versionBrowse2, decode: decode}
	if !b.ansi {
		b.decode = func(b []byte) string { return string(b) }
	}
	return b, nil
}

// Total returns how many entries the book says it has.
func (b *Book) Total() int { return b.total }

// Records yields the entries. One of which a part cannot be read is yielded
// with its Damage; an error ends the sequence.
func (b *Book) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for i := range b.total {
			rec := &Record{Number: i + 1, Offset: browseHeader + int64(i)*browseRecord}
			var raw [browseRecord]byte
			if err := readAt(b.files.Browse, raw[:], rec.Offset); err != nil {
				yield(nil, fmt.Errorf("reading entry %d of %d at offset %d of browse.oab: %w", rec.Number, b.total, rec.Offset, err))
				return
			}
			b.entry(rec, raw[:])
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// entry reads a B2_REC ([MS-OXOAB] 2.3.2) and what it points to.
func (b *Book) entry(rec *Record, raw []byte) {
	at := func(i int) int64 { return int64(binary.LittleEndian.Uint32(raw[i:])) }
	put := func(tag uint32, value any) { rec.Properties = append(rec.Properties, Property{tag, value}) }
	put(TagDisplayType, int32(raw[10]))
	put(TagObjectType, int32(raw[11]&0x7F))
	damage := func(what string, err error) {
		if err != nil && rec.Damage == "" {
			rec.Damage = fmt.Sprintf("%s: %v", what, err)
		}
	}
	parent, key, err := b.rdn(at(0))
	damage("X500 DN", err)
	if key != "" {
		put(TagEmailAddress, parent+key)
	}
	domain, local, err := b.rdn(at(12))
	damage("SMTP address", err)
	if local != "" {
		put(TagSMTPAddress, joinAddress(local, domain))
	}
	for _, f := range []struct {
		tag    uint32
		offset int64
		what   string
	}{
		{TagDisplayName, at(16), "display name"}, {TagAccount, at(20), "alias"}, {TagOffice, at(24), "office"}, {TagSurname, at(28), "surname"},
	} {
		text, err := b.anr(f.offset)
		damage(f.what, err)
		if text != "" {
			put(f.tag, text)
		}
	}
	if b.files.Details != nil {
		damage("details", b.details(rec, at(4), int(binary.LittleEndian.Uint16(raw[8:]))))
	}
}

// joinAddress puts the parts of an SMTP address together; the "@" may stand in
// either of them.
func joinAddress(local, domain string) string {
	if local[len(local)-1] == '@' || domain != "" && domain[0] == '@' {
		return local + domain
	}
	return local + "@" + domain
}

// rdn reads an RDN2_REC ([MS-OXOAB] 2.4.2) and the parent it points to. An
// offset of 0 is none.
func (b *Book) rdn(offset int64) (parent, key string, err error) {
	if offset == 0 {
		return "", "", nil
	}
	var fixed [rdnFixed]byte
	if err := readAt(b.files.RDN, fixed[:], offset); err != nil {
		return "", "", err
	}
	k, err := terminatedAt(b.files.RDN, offset+rdnFixed)
	if err != nil {
		return "", "", err
	}
	p, err := terminatedAt(b.files.RDN, int64(binary.LittleEndian.Uint32(fixed[20:])))
	return b.decode(p), b.decode(k), err
}

// anr reads the key of an ANR_REC ([MS-OXOAB] 2.5.1).
func (b *Book) anr(offset int64) (string, error) {
	if offset == 0 {
		return "", nil
	}
	k, err := terminatedAt(b.files.ANR, offset+anrFixed)
	return b.decode(k), err
}

// details reads the properties that the Details file has of an entry, all in a
// fixed order ([MS-OXOAB] 2.6). One that is empty is not there.
func (b *Book) details(rec *Record, offset int64, size int) error {
	if offset == 0 || size == 0 {
		return nil
	}
	raw := make([]byte, size)
	if err := readAt(b.files.Details, raw, offset); err != nil {
		return err
	}
	d := &decoder{b: raw, text: b.decode}
	var found []Property
	for _, tag := range b.detailTags() {
		v := d.value(uint16(tag))
		if d.err != nil {
			return d.err
		}
		if tag != 0x0000001E && !empty(v) { // a field that is reserved
			found = append(found, Property{tag, v})
		}
	}
	if d.pos != size {
		return fmt.Errorf("%d of %d bytes are left over", size-d.pos, size)
	}
	rec.Properties = append(rec.Properties, found...)
	return nil
}

// detailTags returns the order of properties in the Details file. Texts are
// of the type String8, so that they go through the book's code page.
func (b *Book) detailTags() []uint32 {
	text := func(tag uint32) uint32 { return tag&^0xFF | 0x1E } // String to String8, Strings to String8s
	common := []uint32{
		TagUserCertificate, text(TagBusinessPhone), text(TagGivenName), text(TagInitials), text(TagStreetAddress), text(TagLocality),
		text(TagStateOrProvince), text(TagPostalCode), text(TagCountry), text(TagTitle), text(TagCompany), text(TagAssistant), text(TagDepartment),
	}
	tail := []uint32{
		text(TagPrimaryFax), text(TagMobilePhone), text(TagAssistantPhone), text(TagPager), text(TagComment), text(TagProxyAddresses),
		TagSMIMECertificate, TagX509Certificates,
	}
	if b.ansi {
		return append(append(common, 0x0000001E, text(TagHomePhone), 0x3A1B001E, 0x3A2F001E), tail...)
	}
	all := append(append(common, text(TagTargetAddress), text(TagHomePhone), text(TagBusiness2Phones), text(TagHome2Phones)), tail...)
	return append(all, TagHomeMDB, TagManager, text(TagPrintableName))
}

// empty tells a value that says nothing.
func empty(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case []byte:
		return len(v) == 0
	case []string:
		return len(v) == 0
	case [][]byte:
		return len(v) == 0
	}
	return false
}

// readAt reads exactly len(p) bytes.
func readAt(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("offset %d is behind the end of the file", offset)
	}
	return err
}

// terminatedAt reads bytes up to a NUL.
func terminatedAt(r io.ReaderAt, offset int64) ([]byte, error) {
	var key []byte
	for len(key) < maxKey {
		var buf [128]byte
		n, err := r.ReadAt(buf[:], offset+int64(len(key)))
		for i, c := range buf[:n] {
			if c == 0 {
				return append(key, buf[:i]...), nil
			}
		}
		if n == 0 || err != nil && err != io.EOF {
			return nil, fmt.Errorf("the text at offset %d does not end", offset)
		}
		key = append(key, buf[:n]...)
	}
	return nil, fmt.Errorf("the text at offset %d is longer than %d bytes", offset, maxKey)
}
