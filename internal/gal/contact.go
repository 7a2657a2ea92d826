package gal

import (
	"fmt"
	"strings"
)

// contact makes a recipient of a row of an address book.
func (t *table) contact(r *row) error {
	c := &Recipient{Origin: Origin{Line: r.line}, Values: make([]Value, 0, r.filled())}
	var mails [3]mailColumns
	var born [3]string
	for i, text := range r.cells {
		if text == "" {
			continue
		}
		if i >= len(t.m.fields) {
			t.issue(r.lines[i], Warning, t.column(i), fmt.Sprintf("the row has more columns than the header: %q", clip(text)), "added to the notes; is a delimiter in a value not quoted?")
			c.Add(Notes, text, r.lines[i])
			continue
		}
		f := t.m.fields[i]
		switch {
		case f == "":
			c.Add(unknownField(t.column(i)), text, r.lines[i])
		case mailPart(&mails, f, text, r.lines[i]):
		case f == birthYear:
			born[0] = text
		case f == birthMonth:
			born[1] = text
		case f == birthDay:
			born[2] = text
		case isDefault(f, text):
		default:
			c.Add(f, text, r.lines[i])
		}
	}
	if born[1] != "" && born[2] != "" {
		c.Add(Birthday, strings.Trim(fmt.Sprintf("%s-%02s-%02s", born[0], born[1], born[2]), "-"), r.line)
	}
	for _, m := range mails {
		t.addMail(c, m)
	}
	if len(c.Values) == 0 {
		return nil
	}
	if len(r.cells) == 1 && len(t.m.fields) > 3 {
		t.issue(r.line, Warning, "", fmt.Sprintf("the row has 1 column of %d", len(t.m.fields)), "kept; is this row cut, or torn from the one above?")
	}
	return t.emit(c)
}

// unknownField is the field of a column that is not known: it keeps its name.
func unknownField(column string) Field { return Field("?" + column) }

// mailColumns are the columns that Outlook has for one address.
type mailColumns struct {
	address, typ, name string
	line               int
}

// mailPart keeps a cell that belongs to an address.
func mailPart(mails *[3]mailColumns, f Field, text string, line int) bool {
	names := [3][3]Field{{"email", "emailType", "emailName"}, {"email2", "email2Type", "email2Name"}, {"email3", "email3Type", "email3Name"}}
	for i, n := range names {
		switch f {
		case n[0]:
			if mails[i].address != "" {
				text = mails[i].address + ";" + text
			}
			mails[i].address, mails[i].line = text, line
		case n[1]:
			mails[i].typ = text
		case n[2]:
			mails[i].name = text
		default:
			continue
		}
		return true
	}
	return false
}

// addMail adds the address of a group of columns.
func (t *table) addMail(c *Recipient, m mailColumns) {
	if m.address == "" {
		return
	}
	if strings.EqualFold(m.typ, "EX") || isLegacyDN(m.address) {
		c.Add(LegacyDN, m.address, m.line)
		return
	}
	if c.Get(FullName) == "" && c.Get(FirstName) == "" && c.Get(LastName) == "" {
		if name, _, _ := strings.Cut(m.name, " ("); !strings.Contains(name, "@") {
			c.Add(FullName, name, m.line)
		}
	}
	t.addAddresses(c, m.address, m.line)
}

// isDefault tells the values that Outlook writes into every row without
// meaning anything by them.
func isDefault(f Field, text string) bool {
	switch f {
	case label, "private", "priority", "sensitivity", "freeBusy":
		return true
	case "gender":
		return strings.EqualFold(text, "Unspecified") || text == "0"
	case Birthday, Anniversary:
		return strings.Trim(text, "0/.-: ") == ""
	}
	return false
}
