package gal

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"expost/internal/ldap"
	"expost/internal/schema"
)

// TreeOptions say how recipients become entries of a directory.
type TreeOptions struct {
	Base       ldap.DN  // the container they go to
	Containers bool     // make the entries of Base too
	Mailboxes  bool     // with what an account takes over of a mailbox: quota, forwarding, delegates
	Extended   bool     // use Expost's classes (expostPerson, expostGroup, mozillaOrgPerson); else only what any LDAP server has
	Report     Reporter // nil: nobody listens
}

// tree is one Entries under way.
type tree struct {
	opts   TreeOptions
	schema *schema.Schema
	used   map[string]*Recipient // keys of the DNs taken
	rdns   map[*Recipient]ldap.RDN
	index  index // empty where nobody refers to anybody
	infos  map[Field]fieldInfo
}

// Entries turns recipients into entries below a base: people, contacts and
// rooms as inetOrgPerson, groups as groupOfNames. What an entry cannot hold
// goes to its description, and is reported. The result is taken by a server
// with OpenLDAP's core, cosine and inetorgperson schemas.
func Entries(list []*Recipient, opts TreeOptions) []*ldap.Entry {
	return slices.Collect(AllEntries(list, opts))
}

// AllEntries is Entries for a list whose entries need not be in memory
// together.
func AllEntries(list []*Recipient, opts TreeOptions) iter.Seq[*ldap.Entry] {
	return func(yield func(*ldap.Entry) bool) { newTree(opts).walk(list, yield) }
}

// newTree returns an empty tree.
func newTree(opts TreeOptions) *tree {
	if opts.Report == nil {
		opts.Report = func(Issue) {}
	}
	t := &tree{opts: opts, schema: schema.Builtin(), used: map[string]*Recipient{}, rdns: map[*Recipient]ldap.RDN{}, infos: map[Field]fieldInfo{}}
	for _, f := range fields() {
		t.infos[f.field] = f
	}
	return t
}

// walk yields the entries of a list: the containers, everybody, the groups.
func (t *tree) walk(list []*Recipient, yield func(*ldap.Entry) bool) {
	if t.opts.Containers {
		for _, e := range t.containers() {
			if !yield(e) {
				return
			}
		}
	}
	list = t.withMembers(list)
	for _, r := range list {
		t.rdns[r] = t.name(r)
	}
	if slices.ContainsFunc(list, (*Recipient).refers) {
		t.index = newIndex(list)
	}
	groups := t.groups(list)
	for _, r := range list {
		if r.Kind != Group && !yield(t.person(r)) {
			return
		}
	}
	for _, e := range groups {
		if !yield(e) {
			return
		}
	}
}

// refers tells whether a recipient names others.
func (r *Recipient) refers() bool {
	return len(r.Members) > 0 || len(r.Links) > 0 || r.Get(ManagerName) != "" || r.Get(AssistantName) != ""
}

// dn returns the name that a recipient was given.
func (t *tree) dn(r *Recipient) ldap.DN { return t.opts.Base.Child(t.rdns[r]...) }

// containers returns the entries of a DN itself and of those above it: the
// run of dc's as one dcObject, then organizationalUnits.
func (t *tree) containers() []*ldap.Entry {
	base := t.opts.Base
	top := len(base) // the first RDN of the suffix
	for top > 0 && strings.EqualFold(base[top-1][0].Type, "dc") {
		top--
	}
	if top == len(base) && top > 0 {
		top--
	}
	var out []*ldap.Entry
	for i := min(top, len(base)-1); i >= 0; i-- {
		if e, ok := container(base[i:]); ok {
			t.used[base[i:].Key(t.schema)] = &Recipient{}
			out = append(out, e)
			continue
		}
		t.opts.Report(Issue{Severity: Error, What: fmt.Sprintf("an entry for %s cannot be made up: only dc, o, ou, c and l can", base[i:]), Did: "make it by hand"})
	}
	return out
}

// container returns the entry of a dc, o, ou, c or l.
func container(dn ldap.DN) (*ldap.Entry, bool) {
	ava := dn[0][0]
	e := &ldap.Entry{DN: dn}
	typ := strings.ToLower(ava.Type)
	switch typ {
	case "dc":
		set(e, "objectClass", "top", "dcObject", "organization")
		set(e, "o", dottedDomain(dn))
	case "o":
		set(e, "objectClass", "top", "organization")
	case "ou":
		set(e, "objectClass", "top", "organizationalUnit")
	case "c":
		set(e, "objectClass", "top", "country")
	case "l":
		set(e, "objectClass", "top", "locality")
	default:
		return nil, false
	}
	set(e, typ, ava.Value)
	return e, len(dn[0]) == 1
}

// dottedDomain returns the domain that the dc's of a DN spell.
func dottedDomain(dn ldap.DN) string {
	var parts []string
	for _, rdn := range dn {
		if strings.EqualFold(rdn[0].Type, "dc") {
			parts = append(parts, rdn[0].Value)
		}
	}
	return strings.Join(parts, ".")
}

// set adds values to an attribute of e.
func set(e *ldap.Entry, desc string, values ...string) {
	for i := range e.Attributes {
		if strings.EqualFold(e.Attributes[i].Desc, desc) {
			for _, v := range values {
				e.Attributes[i].Values = append(e.Attributes[i].Values, []byte(v))
			}
			return
		}
	}
	a := ldap.Attribute{Desc: desc}
	for _, v := range values {
		a.Values = append(a.Values, []byte(v))
	}
	e.Attributes = append(e.Attributes, a)
}

// name gives a recipient its RDN: its common name, and its address beside it
// where another has that name already.
func (t *tree) name(r *Recipient) ldap.RDN {
	cn := cleanText(r.Name())
	try := []ldap.RDN{{{Type: "cn", Value: cn}}}
	if a := r.Get(Email); a != "" {
		try = append(try, ldap.RDN{{Type: "cn", Value: cn}, {Type: "mail", Value: a}})
	}
	if u := r.Get(UID); u != "" {
		try = append(try, ldap.RDN{{Type: "cn", Value: cn}, {Type: "uid", Value: u}})
	}
	for n := 0; ; n++ {
		rdn := ldap.RDN{{Type: "cn", Value: fmt.Sprintf("%s (%d)", cn, n-len(try)+2)}}
		if n < len(try) {
			rdn = try[n]
		}
		if n > 0 && r.Kind == Group && len(rdn) > 1 && rdn[1].Type == "mail" && !t.opts.Extended {
			continue // a groupOfNames has no mail
		}
		dn := t.opts.Base.Child(rdn...)
		key := dn.Key(t.schema)
		other, taken := t.used[key]
		if taken {
			if n == 0 {
				t.opts.Report(r.Origin.issue(0, Info, "cn", fmt.Sprintf("%q is the name of %s too", cn, other.Origin), "this one is told apart by its address"))
			}
			continue
		}
		t.used[key] = r
		if _, mail := splitNetscapeDN(r.DN); mail != "" {
			t.opts.Report(r.Origin.issue(0, Info, "dn", fmt.Sprintf("%q is a name in no directory", r.DN), "becomes "+dn.String()))
		}
		return rdn
	}
}

// cleanText makes one line of a text.
func cleanText(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\u00a0' }), " ")
}

// builder makes one entry.
type builder struct {
	*tree
	r       *Recipient
	e       *ldap.Entry
	classes []string
	texts   []string // of the description
}

// newBuilder begins the entry of a recipient.
func (t *tree) newBuilder(r *Recipient, classes ...string) *builder {
	b := &builder{tree: t, r: r, e: &ldap.Entry{DN: t.dn(r)}, classes: classes}
	set(b.e, "objectClass", classes...)
	return b
}

// class adds an object class once.
func (b *builder) class(name string) {
	for _, c := range b.classes {
		if c == name {
			return
		}
	}
	b.classes = append(b.classes, name)
	set(b.e, "objectClass", name)
}

// put adds a value to an attribute. It is false where the attribute cannot
// hold it: its syntax forbids it, or it has one value already.
func (b *builder) put(attr string, value []byte) bool {
	name, _, _ := strings.Cut(attr, ";")
	t := b.schema.Attribute(name)
	if t == nil || !t.Syntax.Valid(value) {
		return false
	}
	if a := b.e.Attribute(attr); a != nil {
		if b.schema.HasValue(t, a.Values, value) {
			return true
		}
		if t.SingleValue {
			return false
		}
	}
	set(b.e, attr, string(value))
	return true
}

// describe keeps a value in the description, under its label.
func (b *builder) describe(label, value string) {
	if label != "" {
		value = label + ": " + value
	}
	b.texts = append(b.texts, value)
}

// issue reports about the recipient.
func (b *builder) issue(line int, s Severity, column, what, did string) {
	b.opts.Report(b.r.Origin.issue(line, s, column, what, did))
}

// person makes the entry of somebody.
func (t *tree) person(r *Recipient) *ldap.Entry {
	b := t.newBuilder(r, "top", "person", "organizationalPerson", "inetOrgPerson")
	b.names()
	for _, a := range r.All(Email) {
		b.put("mail", []byte(a)) // addresses were checked when they were read
	}
	b.copyFields()
	b.departments()
	b.addresses()
	b.related(ManagerName, "manager", "Manager")
	b.related(AssistantName, "secretary", "Assistant")
	b.kind()
	b.mailboxSettings()
	if r.Photo != nil && !b.put("jpegPhoto", r.Photo) {
		b.issue(0, Warning, "jpegPhoto", "the picture is not a JPEG", "left out")
	}
	for _, c := range r.Certificates {
		if !b.put("userCertificate;binary", c) {
			b.issue(0, Warning, "userCertificate", "not a certificate", "left out")
		}
	}
	return b.finish()
}

// names puts cn, sn and givenName.
func (b *builder) names() {
	r := b.r
	b.put("cn", []byte(cleanText(r.Name())))
	for i, n := range r.All(FullName) {
		if i > 0 {
			b.put("cn", []byte(cleanText(n)))
		}
	}
	sn := cleanText(r.Get(LastName))
	if sn == "" {
		sn = cleanText(r.Name())
		if r.Kind == Person || r.Kind == Contact {
			sn = lastName(sn)
		}
		b.issue(0, Info, "sn", fmt.Sprintf("%q has no last name, and a person must have one", r.Name()), fmt.Sprintf("taken as %q", sn))
	}
	b.put("sn", []byte(sn))
	for i, n := range r.All(LastName) {
		if i > 0 {
			b.put("sn", []byte(cleanText(n)))
		}
	}
	for _, n := range r.All(FirstName) {
		b.put("givenName", []byte(cleanText(n)))
	}
}

// lastName guesses the last name in a full one: what stands before a comma,
// else the last word.
func lastName(full string) string {
	if last, _, ok := strings.Cut(full, ","); ok && strings.TrimSpace(last) != "" {
		return strings.TrimSpace(last)
	}
	words := strings.Fields(full)
	if len(words) == 0 {
		return "-"
	}
	return words[len(words)-1]
}

// copyFields puts the fields that have an attribute of their own, and
// describes those that have none.
func (b *builder) copyFields() {
	for _, v := range b.r.Values {
		switch v.Field {
		case FullName, FirstName, LastName, Email, Department, ManagerName, AssistantName, WorkAddress, WorkStreet, HomeAddress, HomeStreet, HomeCity,
			HomeState, HomePostalCode, HomeCountry, HomePOBox, HomeURL, Language, DisabledAcc, label, QuotaBytes, MaxMessage, KeepsCopy, MembersOnly, SharedBox: // placed by others
		default:
			b.copyField(v)
		}
	}
	for _, u := range b.r.All(HomeURL) {
		b.put("labeledURI", []byte(strings.ReplaceAll(cleanText(u), " ", "%20")+" home"))
	}
	for _, l := range b.r.All(Language) {
		if strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" || len(l) > 12 || !b.put("preferredLanguage", []byte(l)) {
			b.describe("Language", l)
		}
	}
}

// copyField puts one value.
func (b *builder) copyField(v Value) {
	info, known := b.infos[v.Field]
	if !known {
		b.describe(strings.TrimPrefix(string(v.Field), "?"), v.Text)
		return
	}
	text := v.Text
	switch {
	case v.Field == Notes:
		b.describe("", text)
		return
	case v.Field == "account" && !b.opts.Extended && strings.EqualFold(text, b.r.Get(UID)):
		return
	case v.Field == WorkURL:
		text = strings.ReplaceAll(cleanText(text), " ", "%20")
	case v.Field == NamePrefix || v.Field == MiddleName || v.Field == NameSuffix:
		if !b.opts.Extended && strings.Contains(" "+b.r.Name()+" ", " "+text+" ") {
			return // it is in the name already
		}
	}
	if info.phone {
		b.phone(info, v)
		return
	}
	text = cleanText(text)
	placed := info.attr != "" && b.put(info.attr, []byte(text))
	if b.opts.Extended && info.ours != "" {
		placed = b.putOurs(info.ours, text) || placed
	}
	if !placed {
		b.describe(info.label, v.Text)
	}
}

// putOurs puts a value of an auxiliary class of ours.
func (b *builder) putOurs(attr, text string) bool {
	if !b.put(attr, []byte(text)) {
		return false
	}
	switch {
	case strings.HasPrefix(attr, "mozilla"):
		b.class("mozillaOrgPerson")
	case b.r.Kind == Group:
		b.class("expostGroup")
	default:
		b.class("expostPerson")
	}
	return true
}

// phone puts a telephone number, cleaned where that is safe.
func (b *builder) phone(info fieldInfo, v Value) {
	attr := info.attr
	if attr == "" {
		if attr = info.ours; !b.opts.Extended || attr == "" {
			b.describe(info.label, v.Text)
			return
		}
	}
	number, ok := cleanPhone(v.Text)
	if ok && number != "" {
		if attr == info.ours {
			ok = b.putOurs(attr, number)
		} else {
			ok = b.put(attr, []byte(number))
		}
	}
	switch {
	case number == "":
		b.issue(v.Line, Info, info.label, fmt.Sprintf("%q is no number", v.Text), "left out")
	case !ok:
		b.describe(info.label, v.Text)
		b.issue(v.Line, Warning, info.label, fmt.Sprintf("%q is not a number as a directory takes it", clip(v.Text)), "put into the description")
	case number != v.Text:
		b.issue(v.Line, Info, info.label, fmt.Sprintf("%q is not a number as a directory takes it", clip(v.Text)), fmt.Sprintf("written as %q", number))
	}
}

// departments puts the department where each program looks for it: Outlook
// in ou, others in departmentNumber.
func (b *builder) departments() {
	for _, d := range b.r.All(Department) {
		d = cleanText(d)
		b.put("ou", []byte(d))
		b.put("departmentNumber", []byte(d))
		if b.opts.Extended {
			b.putOurs("department", d)
		}
	}
}

// isContainerOf tells whether a department is only the name of a container
// of an entry.
func isContainerOf(dn ldap.DN, department string) bool {
	return slices.ContainsFunc(dn, func(rdn ldap.RDN) bool {
		return strings.EqualFold(rdn[0].Type, "ou") && strings.EqualFold(rdn[0].Value, department)
	})
}

// sourceDN returns the recipient's DN in its source, if it is a proper one.
func sourceDN(r *Recipient) ldap.DN {
	dn, err := ldap.ParseDN(r.DN)
	if err != nil {
		return nil
	}
	return dn
}

// addresses puts the postal addresses.
func (b *builder) addresses() {
	r := b.r
	if s := strings.Join(r.All(WorkStreet), ", "); s != "" {
		b.put("street", []byte(cleanText(s)))
	}
	for _, a := range r.All(WorkAddress) {
		b.put("postalAddress", []byte(postal(strings.Split(a, "\n"))))
	}
	lines := r.All(HomeStreet)
	if p := r.Get(HomePOBox); p != "" {
		lines = append([]string{p}, lines...)
	}
	lines = append(lines, squeeze(strings.Join([]string{r.Get(HomeCity), r.Get(HomeState), r.Get(HomePostalCode)}, " ")), r.Get(HomeCountry))
	if a := postal(lines); a != "" {
		b.put("homePostalAddress", []byte(a))
	}
	for _, a := range r.All(HomeAddress) {
		b.put("homePostalAddress", []byte(postal(strings.Split(a, "\n"))))
	}
}

// postal writes lines as a postal address (RFC 4517 §3.3.28).
func postal(lines []string) string {
	var out []string
	for _, l := range lines {
		if l = cleanText(l); l != "" {
			out = append(out, strings.NewReplacer(`\`, `\5C`, "$", `\24`).Replace(l))
		}
	}
	return strings.Join(out, "$")
}

// related puts the DN of a colleague, where the list has exactly one of that
// name, and the name into the description otherwise.
func (b *builder) related(f Field, attr, label string) {
	for _, name := range b.r.All(f) {
		if other := b.index.find(Member{Name: name, DN: name}); other != nil && other.Kind != Group {
			b.put(attr, []byte(b.dn(other).String()))
			continue
		}
		b.describe(label, name)
	}
}

// kind records what is no person.
func (b *builder) kind() {
	r := b.r
	details := map[Kind]string{Room: "16", Equipment: "32", Contact: "64", Folder: "4096"}
	if r.Kind == Room || r.Kind == Equipment || r.Kind == Folder {
		b.put("employeeType", []byte(r.Kind.String()))
	}
	if b.opts.Extended && details[r.Kind] != "" {
		b.putOurs("msExchRecipientTypeDetails", details[r.Kind])
	}
	if r.Get(DisabledAcc) != "" && !b.opts.Mailboxes {
		b.issue(0, Info, "", fmt.Sprintf("the login of %q is disabled in Active Directory", r.Name()), "an entry of an address list says nothing of it")
	}
	switch {
	case r.Hidden && b.opts.Extended:
		b.putOurs("msExchHideFromAddressLists", "TRUE")
	case r.Hidden:
		b.issue(0, Warning, "", fmt.Sprintf("%q was hidden from the address list", r.Name()), "in this directory everybody sees it")
	}
}

// finish puts the description.
func (b *builder) finish() *ldap.Entry {
	for _, t := range b.texts {
		b.put("description", []byte(strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(t, "\r\n", "\n"), "\r", "\n"))))
	}
	return b.e
}
