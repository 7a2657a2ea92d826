package sample

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// csvColumns are those of the Windows Address Book, in its order.
var csvColumns = strings.Split("First Name,Last Name,Middle Name,Name,Nickname,E-mail Address,Home Street,Home City,Home Postal Code,Home State,Home Country/Region,"+
	"Home Phone,Home Fax,Mobile Phone,Personal Web Page,Business Street,Business City,Business Postal Code,Business State,Business Country/Region,"+
	"Business Web Page,Business Phone,Business Fax,Pager,Company,Job Title,Department,Office Location,Notes", ",")

// WriteCSV writes the people as Outlook Express exports its address book:
// 29 columns, CRLF. Windows XP writes the machine's code page, so charset is
// charmap.Windows1252 for it, nil for the UTF-8 of later versions.
func (o *Org) WriteCSV(w io.Writer, charset encoding.Encoding) error {
	if charset != nil {
		tw := transform.NewWriter(w, encoding.ReplaceUnsupported(charset.NewEncoder()))
		if err := o.WriteCSV(tw, nil); err != nil {
			return err
		}
		return tw.Close()
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(csvColumns); err != nil {
		return fmt.Errorf("writing the address list: %w", err)
	}
	for _, p := range o.People {
		row := []string{p.First, p.Last, "", p.Name, "", string(p.Address), "", "", "", "", "",
			p.Home, "", p.Mobile, "", p.Street, p.City, p.PostalCode, p.State, p.Country,
			"http://www." + o.opt.Domain + "/", p.Phone, p.Fax, "", "Linux For You", p.Title, p.Department, p.Office, strings.ReplaceAll(p.Notes, "\r\n", "\n")}
		if err := out.Write(row); err != nil {
			return fmt.Errorf("writing the address list: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("writing the address list: %w", err)
	}
	return nil
}

// WriteLDIF writes the people as Netscape Messenger 4 exports its address
// book, with everything that a directory refuses: DNs without a suffix and
// with raw commas, an empty and unknown attribute, no sn, mail in an entry of
// person, a second "John Smith", and of Anup Sharma two different addresses.
func (o *Org) WriteLDIF(w io.Writer) error {
	for i, p := range o.People {
		address := string(p.Address)
		if p.Name == "Anup Sharma" {
			address = "anup@lpsboi.com"
		}
		entry := ldifLine("dn", "cn="+p.Name+",mail="+string(p.Address)) +
			ldifLine("cn", p.Name) +
			"xmozillanickname:\n" +
			ldifLine("mail", address) +
			"objectclass: top\nobjectclass: person\n"
		if i > 0 {
			entry = "\n" + entry
		}
		if _, err := io.WriteString(w, entry); err != nil {
			return fmt.Errorf("writing the address list: %w", err)
		}
	}
	return nil
}

// ldifLine returns a line of LDIF, in base64 where the value is not ASCII.
func ldifLine(name, value string) string {
	for i := range len(value) {
		if value[i] >= 0x80 {
			return name + ":: " + base64.StdEncoding.EncodeToString([]byte(value)) + "\n"
		}
	}
	return name + ": " + value + "\n"
}
