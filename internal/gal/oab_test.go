package gal

import (
	"strings"
	"testing"
	"testing/fstest"

	"expost/oab"
	"expost/oab/oabtest"
)

// exchangeOAB is a small organisation as Exchange publishes it.
func exchangeOAB() []byte {
	dn := func(cn string) string { return "/o=Linux For You/ou=Delhi/cn=Recipients/cn=" + cn }
	return oabtest.Details4([]oabtest.Property{{Tag: 0x6800001F, Value: `\Global Address List`}}, [][]oabtest.Property{
		{
			{Tag: oab.TagEmailAddress, Value: dn("ajay")}, {Tag: oab.TagSMTPAddress, Value: "ajay@linuxforu.com"}, {Tag: oab.TagDisplayName, Value: "Ajay"},
			{Tag: oab.TagAccount, Value: "ajay"}, {Tag: oab.TagDisplayTypeEx, Value: int32(0x40000000)}, {Tag: oab.TagBusinessPhone, Value: "+91 11 2345678"},
			{Tag: oab.TagProxyAddresses, Value: []string{"SMTP:ajay@linuxforu.com", "smtp:a.jay@linuxforu.com", "X500:/o=Old/cn=ajay"}},
			{Tag: oab.TagManager, Value: dn("biswajit")},
		},
		{
			{Tag: oab.TagEmailAddress, Value: dn("biswajit")}, {Tag: oab.TagSMTPAddress, Value: "biswajit@linuxforu.com"}, {Tag: oab.TagDisplayName, Value: "Biswajit Banerjee"},
			{Tag: oab.TagGivenName, Value: "Biswajit"}, {Tag: oab.TagSurname, Value: "Banerjee"}, {Tag: oab.TagDisplayTypeEx, Value: int32(0)},
			{Tag: oab.TagTruncated, Value: []int32{-0x7362FEFE}},
		},
		{
			{Tag: oab.TagEmailAddress, Value: dn("editors")}, {Tag: oab.TagSMTPAddress, Value: "editors@linuxforu.com"}, {Tag: oab.TagDisplayName, Value: "Editors"},
			{Tag: oab.TagDisplayTypeEx, Value: int32(1)}, {Tag: oab.TagMembers, Value: []string{dn("ajay"), dn("biswajit")}},
		},
		{
			{Tag: oab.TagEmailAddress, Value: dn("room")}, {Tag: oab.TagSMTPAddress, Value: "room@linuxforu.com"}, {Tag: oab.TagDisplayName, Value: "Meeting room"},
			{Tag: oab.TagDisplayTypeEx, Value: int32(7)},
		},
	})
}

func TestOAB(t *testing.T) {
	t.Parallel()
	for name, file := range map[string][]byte{"plain": exchangeOAB(), "compressed": oabtest.Compress(exchangeOAB(), 4096)} {
		list, src, report, err := readAll(t, string(file), Options{File: "udetails.oab"})
		if err != nil || src.Format != FormatOAB || len(list) != 4 {
			t.Fatalf("%s: %d entries of %s, %v\n%s", name, len(list), src, err, strings.Join(report, "\n"))
		}
		ajay, editors, room := list[0], list[2], list[3]
		if ajay.Get(Email) != "ajay@linuxforu.com" || ajay.Get(WorkPhone) != "+91 11 2345678" || ajay.Get(ManagerName) != "biswajit" || ajay.Get(LegacyDN) == "" || ajay.Get(Proxy) != "X500:/o=Old/cn=ajay" {
			t.Errorf("%s: Ajay is %+v", name, ajay.Values)
		}
		if editors.Kind != Group || len(editors.Members) != 2 || room.Kind != Room {
			t.Errorf("%s: kinds %v (%d members) and %v", name, editors.Kind, len(editors.Members), room.Kind)
		}
		if len(report) != 1 || !strings.Contains(report[0], "udetails.oab:2: warning: Exchange left property 0x8C9D0102") {
			t.Errorf("%s: report\n%s", name, strings.Join(report, "\n"))
		}
		got, _ := convert(t, string(file), TreeOptions{Extended: true})
		if !strings.Contains(got, "member: cn=Ajay,") || !strings.Contains(got, "member: cn=Biswajit Banerjee,") {
			t.Errorf("%s: the group lost its members:\n%s", name, got)
		}
	}
}

func TestOABCut(t *testing.T) {
	t.Parallel()
	file := exchangeOAB()
	list, _, report, err := readAll(t, string(file[:len(file)-10]), Options{File: "udetails.oab"})
	if err != nil || len(list) != 3 || !strings.Contains(strings.Join(report, "\n"), "udetails.oab:3: error: reading entry 4 of 4") {
		t.Errorf("%d entries of a cut file, %v\n%s", len(list), err, strings.Join(report, "\n"))
	}
}

func TestOABOfFourFiles(t *testing.T) {
	t.Parallel()
	book := oabtest.Browse(0x0A, []oabtest.Person{
		{DN: "/o=Linux For You/ou=Delhi/cn=Recipients/cn=juergen", SMTP: "juergen@linuxforu.com", Name: "J\xfcrgen", Alias: "juergen", Phone: "+49 30 1", Proxy: "SMTP:juergen@linuxforu.com"},
	})
	folder := fstest.MapFS{"BROWSE.OAB": {Data: book.Browse}, "rdndex.oab": {Data: book.RDN}, "anrdex.oab": {Data: book.ANR}}
	open := func() ([]*Recipient, []string, error) {
		list, _, report, err := readAll(t, string(book.Browse), Options{File: "BROWSE.OAB", Folder: folder})
		return list, report, err
	}
	list, report, err := open()
	if err != nil || len(list) != 1 || list[0].Get(FullName) != "Jürgen" || list[0].Get(Email) != "juergen@linuxforu.com" || len(report) != 1 || !strings.Contains(report[0], "details.oab is not beside") {
		t.Errorf("without details.oab: %v, %v, %v", list, report, err)
	}
	folder["Details.oab"] = &fstest.MapFile{Data: book.Details}
	if list, report, err = open(); err != nil || len(report) != 0 || list[0].Get(WorkPhone) != "+49 30 1" {
		t.Errorf("with details.oab: %v, %v, %v", list, report, err)
	}
	delete(folder, "rdndex.oab")
	if _, _, err := open(); err == nil || !strings.Contains(err.Error(), "put them beside it") {
		t.Errorf("without rdndex.oab: %v", err)
	}
	if _, _, _, err := readAll(t, string(book.Browse), Options{File: "browse.oab"}); err == nil || !strings.Contains(err.Error(), "four files") {
		t.Errorf("from a pipe: %v", err)
	}
}
