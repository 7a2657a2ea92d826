package gal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readAll reads a list from memory and returns it with its report.
func readAll(t *testing.T, in string, opts Options) ([]*Recipient, Source, []string, error) {
	t.Helper()
	var list []*Recipient
	var report []string
	opts.Report = func(i Issue) { report = append(report, i.String()) }
	src, err := Read(strings.NewReader(in), opts, func(r *Recipient) error {
		list = append(list, r)
		return nil
	})
	return list, src, report, err
}

// fixture returns a file of ../shared/fixtures, and skips where it is absent.
func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "fixtures", "gal", name))
	if err != nil {
		t.Skipf("fixture %s is not here: %v", name, err)
	}
	return string(b)
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, program, page string
		format              Format
		people, groups      int
		first               string // "name <address> phone, company"
	}{
		{"csv/pear-Gmail.csv", "gmail", "utf-8", FormatCSV, 2, 0, "John Doe <john@example.com> 9999999, Example, Corp."},
		{"csv/pear-Outlook.CSV", "outlook", "utf-8", FormatCSV, 1, 0, "Firman Wandayandi <firman@php.net> , Foo"},
		{"csv/pear-Palm.csv", "palm", "utf-8", FormatCSV, 2, 0, "Gordon Shumway1 <Gordon!@usa.com> 408-555-1254, Alf Ltd"},
		{"csv/pear-Thunderbird.csv", "mozilla", "utf-8", FormatCSV, 1, 0, "Firman Wandayandi <firman@php.net> 99999999, Foo"},
		{"csv/pear-WAB-selectable.csv", "wab", "utf-8", FormatCSV, 1, 0, "foo <foo@bar.com> Foo Street 8, foo"},
		{"csv/pear-WAB.csv", "wab", "utf-8", FormatCSV, 1, 0, "Firman Wandayandi <firman@php.net> 99999999, Foo"},
		{"csv/pear-Yahoo.csv", "yahoo", "utf-8", FormatCSV, 1, 0, "Firman Wandayandi <firman@php.net> tarzillamax, Foo"},
		{"thunderbird/mail_components_addrbook_test_browser_data_import.csv", "generic", "utf-8", FormatCSV, 1, 0, "contact number one <contact1@invalid> , "},
		{"thunderbird/mail_components_addrbook_test_browser_data_import.ldif", "", "utf-8", FormatLDIF, 1, 1, "list <> , "},
		{"thunderbird/mail_components_addrbook_test_browser_data_import.vcf", "", "utf-8", FormatVCard, 1, 0, "contact number one <contact1@invalid> , "},
		{"thunderbird/mailnews_addrbook_test_unit_data_export.csv", "mozilla", "utf-8", FormatCSV, 2, 0, "contact number one <contact1@invalid> , "},
		{"thunderbird/mailnews_addrbook_test_unit_data_export.ldif", "", "utf-8", FormatLDIF, 2, 1, "new list <> , "},
		{"thunderbird/mailnews_addrbook_test_unit_data_export.txt", "mozilla", "utf-8", FormatCSV, 2, 0, "contact number one <contact1@invalid> , "},
		{"thunderbird/mailnews_addrbook_test_unit_data_export.vcf", "", "utf-8", FormatVCard, 2, 0, "contact number one <contact1@invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_basic_addressbook.csv", "mozilla", "utf-8", FormatCSV, 1, 0, "John Doe <johndoe@host.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_basic_csv_addressbook.csv", "mozilla", "utf-8", FormatCSV, 2, 0, "John Doe <john@doe.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_basic_ldif_addressbook.ldif", "", "utf-8", FormatLDIF, 1, 0, "Display Name <primaryemail@host.invalid> 123-456-7890, Organization Name"},
		{"thunderbird/mailnews_import_test_unit_resources_basic_vcard_addressbook.vcf", "", "utf-8", FormatVCard, 2, 0, "John Doe <john.doe@genericemail.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_bug_263304.ldif", "", "utf-8", FormatLDIF, 1, 0, "Display Name <primaryemail@host.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_csv_no_header.csv", "no header row", "utf-8", FormatCSV, 2, 0, "John Doe <john@doe.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_dos_vcard_addressbook.vcf", "", "utf-8", FormatVCard, 1, 0, "Name Surname <example@gmail.com> , "},
		{"thunderbird/mailnews_import_test_unit_resources_emptylines_vcard_addressbook.vcf", "", "utf-8", FormatVCard, 2, 0, "John Doe <john.doe@genericemail.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_shiftjis_addressbook.csv", "mozilla", "shift_jis", FormatCSV, 1, 0, "名無しの権兵衛 <> , "},
		{"thunderbird/mailnews_import_test_unit_resources_tab_comma_mixed.csv", "mozilla", "utf-8", FormatCSV, 4, 0, "1 <1@host.invalid> , "},
		{"thunderbird/mailnews_import_test_unit_resources_utf16_addressbook.csv", "mozilla", "utf-16le", FormatCSV, 1, 0, "John Doe <johndoe@host.invalid> , "},
		{"vcard/ezvcard-John_Doe_ANDROID.vcf", "", "utf-8", FormatVCard, 6, 0, "john.doe@company.com <john.doe@company.com> , "},
		{"vcard/ezvcard-John_Doe_BLACK_BERRY.vcf", "", "utf-8", FormatVCard, 1, 0, "John Doe <> , Acme Solutions"},
		{"vcard/ezvcard-John_Doe_EVOLUTION.vcf", "", "utf-8", FormatVCard, 1, 0, "Mr. John Richter, James Doe Sr. <john.doe@ibm.com> 905-555-1234, IBM"},
		{"vcard/ezvcard-John_Doe_IPHONE.vcf", "", "utf-8", FormatVCard, 1, 0, "Mr. John Richter James Doe Sr. <john.doe@ibm.com> 905-777-1234, IBM"},
		{"vcard/ezvcard-John_Doe_LOTUS_NOTES.vcf", "", "utf-8", FormatVCard, 1, 0, "Mr. Doe John I Johny <john.doe@ibm.com> , IBM"},
		{"vcard/ezvcard-John_Doe_MAC_ADDRESS_BOOK.vcf", "", "utf-8", FormatVCard, 1, 0, "Mr. John Richter,James Doe Sr. <john.doe@ibm.com> 905-777-1234, IBM"},
		{"vcard/ezvcard-John_Doe_MS_OUTLOOK.vcf", "", "utf-8", FormatVCard, 1, 0, "Mr. John Richter James Doe Sr. <john.doe@ibm.cm> (905) 555-1234, IBM"},
		{"vcard/ezvcard-gmail-list.vcf", "", "utf-8", FormatVCard, 3, 0, "Arnold Smith <asmithk@gmail.com> , "},
		{"vcard/ezvcard-outlook-2003.vcf", "", "utf-8", FormatVCard, 1, 0, "John Doe III <jdoe@hotmail.com> BusinessPhone, Company, The"},
		{"vcard/ezvcard-rfc2426-example.vcf", "", "utf-8", FormatVCard, 2, 0, "Frank Dawson <Frank_Dawson@Lotus.com> +1-919-676-9515, Lotus Development Corporation"},
		{"vcard/ezvcard-rfc6350-example.vcf", "", "utf-8", FormatVCard, 1, 0, "Simon Perreault <simon.perreault@viagenie.ca> +1-418-656-9254 ext 102, Viagenie"},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			t.Parallel()
			list, src, report, err := readAll(t, fixture(t, c.file), Options{})
			if err != nil {
				t.Fatal(err)
			}
			groups := 0
			for _, r := range list {
				if r.Kind == Group {
					groups++
				}
			}
			r := list[0]
			first := fmt.Sprintf("%s <%s> %s, %s", r.Name(), r.Get(Email), r.Get(WorkPhone), r.Get(Company))
			if len(list)-groups != c.people || groups != c.groups || first != c.first || src.Format != c.format || src.Program != c.program || src.Page != c.page {
				t.Errorf("%d people, %d groups, first %q, %+v\n%s", len(list)-groups, groups, first, src, strings.Join(report, "\n"))
			}
		})
	}
}

// TestEveryLanguage writes a header row in every language that is known, in
// the order of its program and in its code page, and expects every column to
// be found again.
func TestEveryLanguage(t *testing.T) {
	t.Parallel()
	for _, p := range headers().profiles {
		var names []string
		var want []Field
		for _, c := range p.columns {
			names, want = append(names, c.text), append(want, c.field)
		}
		m := mapHeader(names)
		for i := range want {
			if m.fields[i] != want[i] {
				t.Errorf("%s %s: column %d %q is %q, want %q", p.program, p.language, i+1, names[i], m.fields[i], want[i])
			}
		}
	}
}

func TestHeaderVariants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ row, want string }{
		{"Name,E-mail Address", "fullName,email"},
		{"Nom;Adresse de messagerie", "fullName,email"},
		{"Nombre;Dirección de correo electrónico", "fullName,email"},
		{"Имя;Адрес электронной почты", "fullName,email"},
		{"Prénom;Nom;Adresse de messagerie", "firstName,lastName,email"},
		{"Prénom;Nom;Nom;Adresse de messagerie", "firstName,lastName,fullName,email"},
		{" First Name , Last Name ,E-MAIL ADDRESS", "firstName,lastName,email"},
		{"Titre;Prénom;Nom;Société;Titre", "namePrefix,firstName,lastName,company,jobTitle"},
		{"名,姓,電子メール アドレス,携帯電話 ,オフィスの場所 ", "firstName,lastName,email,mobilePhone,office"},
		{"Vorname;Nachname;Name;E-Mail-Adresse;Straße (privat);Büro", "firstName,lastName,fullName,email,homeStreet,office"},
		{"Home Country/Region,Home Country,Name", "homeCountry,homeCountry,fullName"},
		{"Full Name,Email,Phone,Shoe Size", "fullName,email,workPhone,"},
	} {
		sep := ","
		if strings.Contains(c.row, ";") {
			sep = ";"
		}
		m := mapHeader(strings.Split(c.row, sep))
		var got []string
		for _, f := range m.fields {
			got = append(got, string(f))
		}
		if strings.Join(got, ",") != c.want {
			t.Errorf("mapHeader(%s) = %s, want %s", c.row, strings.Join(got, ","), c.want)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"empty", " \n", "list: the file is empty"},
		{"header only", "Name,E-mail Address\n", "list: there is a header row and nobody below it"},
		{"unknown columns", "Foo;Bar\n1;2\n", `list:1: none of its 2 columns is known ("Foo", "Bar"): if the delimiter is not`},
		{"no names", "Pager,Company\n1,2\n", "list:1: no column of names and none of addresses among 2 columns"},
		{"binary", "\x01\x02\x03\x00\x00\x00\x00\x07,\x00\n", "list: this is not text (9 control characters among the first 11 bytes)"},
		{"xlsx", "PK\x03\x04....", "list: this is a ZIP archive or an Excel workbook (.xlsx)"},
		{"pst", "!BDN....", "list: an Outlook data file cannot be read from a pipe"},
		{"json", `{"a": 1}`, "list: this is JSON, XML or HTML"},
		{"vcard without anybody", "BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n", "list: nobody is in this file"},
	} {
		if _, _, _, err := readAll(t, c.in, Options{File: "list"}); err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, _, _, err := readAll(t, "Name;E-mail Address\nA;a@b.c\n", Options{File: "list", Delimiter: ','}); err == nil || !strings.Contains(err.Error(), "none of its 1 columns is known") {
		t.Errorf("wrong delimiter: %v", err)
	}
	if _, _, _, err := readAll(t, "x", Options{Page: "9999"}); err == nil || !strings.Contains(err.Error(), `code page "9999" is not known`) {
		t.Errorf("wrong code page: %v", err)
	}
}

func TestDefectsOfCSV(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, report string }{
		{"quote never closed", "Name,E-mail Address\n\"A,a@b.c\nB,b@b.c\n", `"A <a@b.c>; B <b@b.c>`, "list:2: warning: a quote that opens here is never closed; the line was read as it stands"},
		{"quote amid a cell", "Name,E-mail Address\n\"John \"Jack\" Doe\",a@b.c\n", `John "Jack" Doe <a@b.c>`, ""},
		{"note of lines", "Name,E-mail Address,Notes\r\nA,a@b.c,\"x\r\ny\"\r\nB,b@b.c,\r\n", "A <a@b.c>; B <b@b.c>", ""},
		{"CR ends rows", "Name,E-mail Address\rA,a@b.c\rB,b@b.c\r", "A <a@b.c>; B <b@b.c>", ""},
		{"empty rows", "Name,E-mail Address\n\n,\nA,a@b.c\n", "A <a@b.c>", ""},
		{"sep=", "sep=;\nName;E-mail Address\nA;a@b.c\n", "A <a@b.c>", ""},
		{"cut row", "Name,E-mail Address,Company,Department\nA,a@b.c,C,D\nB", "A <a@b.c>; B <>", "list:3: warning: the row has 1 column of 4; kept; is this row cut, or torn from the one above?"},
		{"too many columns", "Name,E-mail Address\nA,a@b.c,rest\n", "A <a@b.c>", `list:2: warning: column 3: the row has more columns than the header: "rest"; added to the notes; is a delimiter in a value not quoted?`},
		{"unknown column", "Name,E-mail Address,Shoe\nA,a@b.c,42\n", "A <a@b.c>", "list:1: warning: Shoe: this column is not known; its values go to the description"},
		{"no address", "Name,E-mail Address\nA,nonsense\n", "A <>", `list:2: warning: e-mail: "nonsense" is not a mail address; kept in the description`},
		{"forms of addresses", "Name,E-mail Address\nA,\"A <a@b.c>; SMTP:d@e.f\"\nB,mailto:g@bücher.de\n", "A <a@b.c d@e.f>; B <g@xn--bcher-kva.de>", `list:2: e-mail: the address is written "A <a@b.c>"; taken as a@b.c`},
		{"Exchange address", "Name,E-mail Address,E-mail Type\nA,/o=Org/ou=Site/cn=Recipients/cn=a,EX\n", "A <>", ""},
		{"late 8-bit", "Name,E-mail Address\nA,a@b.c\nM\xfcller,m@b.c\n", "A <a@b.c>; Müller <m@b.c>", ""},
	} {
		list, _, report, err := readAll(t, c.in, Options{File: "list"})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, r := range list {
			got = append(got, fmt.Sprintf("%s <%s>", r.Name(), strings.Join(r.All(Email), " ")))
		}
		if strings.Join(got, "; ") != c.want || c.report != "" && (len(report) == 0 || report[0] != c.report) || c.report == "" && len(report) > 0 {
			t.Errorf("%s:\n got %s\nwant %s\nreport %s", c.name, strings.Join(got, "; "), c.want, strings.Join(report, "\n"))
		}
	}
}

// TestCodePages reads a header and a row in the ANSI code pages of Windows.
func TestCodePages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ page, in, name string }{
		{"windows-1252", "Vorname;Nachname;Stra\xdfe (privat);B\xfcro;E-Mail-Adresse\nJ\xfcrgen;M\xfcller;Stra\xdfe 1;3;j@b.c\n", "Jürgen Müller"},
		{"windows-1250", "Imi\xea;Nazwisko;Adres e-mail\n\xa3ukasz;W\xf3jcik;l@b.c\n", "Łukasz Wójcik"},
		{"windows-1251", "\xc8\xec\xff;\xd4\xe0\xec\xe8\xeb\xe8\xff;\xc0\xe4\xf0\xe5\xf1 \xfd\xeb\xe5\xea\xf2\xf0\xee\xed\xed\xee\xe9 \xef\xee\xf7\xf2\xfb\n\xc8\xe2\xe0\xed;\xcf\xe5\xf2\xf0\xee\xe2;i@b.c\n", "Иван Петров"},
		{"windows-1252", "Name,E-mail Address\nFran\xe7ois Lef\xe8vre,f@b.c\nPe\xf1a,p@b.c\n", "François Lefèvre"},
	} {
		list, src, report, err := readAll(t, c.in, Options{})
		if err != nil || len(list) == 0 || list[0].Name() != c.name || src.Page != c.page {
			t.Errorf("%q: %v, %+v, %v %v", c.in, err, src, list, report)
		}
	}
}

// generated is a CSV of n bytes that is made while it is read.
type generated struct {
	left, row int
	buf       []byte
}

// Read makes the next rows.
func (g *generated) Read(p []byte) (int, error) {
	if len(g.buf) == 0 && g.left > 0 {
		if g.row == 0 {
			g.buf = append(g.buf, "Name,E-mail Address,Company,Notes\r\n"...)
		}
		for range 100 {
			g.row++
			g.buf = fmt.Appendf(g.buf, "User %d,user%d@example.org,\"Firm, %d\",\"two\r\nlines\"\r\n", g.row, g.row, g.row%100)
		}
		g.left -= len(g.buf)
	}
	if len(g.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.buf)
	g.buf = g.buf[:copy(g.buf, g.buf[n:])]
	return n, nil
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"Name,E-mail Address\nA,a@b.c\n", "dn: cn=a,mail=a@b\ncn: a\n", "BEGIN:VCARD\nN:A;B\nTEL;CELL:1\nEND:VCARD\n",
		"\"DN\",objectClass,cn,proxyAddresses\n\"CN=a,DC=b\",top;person,a,SMTP:a@b;X400:c=us;a= ;\n", "Obj-Class,Display Name,E-mail Addresses\nMailbox,A,SMTP:a@b%MS:X/Y\n",
		"#TYPE Foo\n\"PrimarySmtpAddress\",\"EmailAddresses\"\n\"a@b\",\"SMTP:a@b smtp:c@d\"\n", "sep=;\nNom;Titre\n\"a;b\n", "BEGIN:VCARD\nPHOTO;ENCODING=BASE64:AAA\n BBB\n\nN;ENCODING=QUOTED-PRINTABLE:=41=\nB\nEND:VCARD",
		"\xff\xfeN\x00a\x00m\x00e\x00,\x00", "\xc8\xec\xff;\xd4\n\xe7;a@b\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var list []*Recipient
		report := func(Issue) {}
		_, err := Read(bytes.NewReader(in), Options{Report: report}, func(r *Recipient) error {
			list = append(list, r)
			return nil
		})
		if err != nil {
			return
		}
		list = Merge(list, report)
		for _, e := range Entries(list, TreeOptions{Extended: len(in)%2 == 0}) {
			checkEntry(t, e)
		}
	})
}
