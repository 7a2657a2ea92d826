package ldif

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"expost/internal/codepage"
)

// dump reads everything and returns it in a form that tests can compare, with
// the errors and the repairs.
func dump(in string, lenient bool) string {
	var b strings.Builder
	r := NewReader(strings.NewReader(in), Options{Lenient: lenient, Report: func(i Issue) {
		fmt.Fprintf(&b, "! %d %s -> %s\n", i.Line, i.What, i.Did)
	}})
	for range 1000 {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Fprintf(&b, "E %v\n", err)
			if _, ok := errors.AsType[*Error](err); !ok {
				break
			}
			continue
		}
		fmt.Fprintf(&b, "%d dn=%s %s\n", rec.Line, rec.DN, rec.Change)
		for _, c := range rec.Controls {
			fmt.Fprintf(&b, " control %s %v %q\n", c.OID, c.Critical, c.Value)
		}
		for _, v := range rec.Values {
			fmt.Fprintf(&b, " %d %s=%s\n", v.Line, v.Desc, v.Data)
		}
		for _, m := range rec.Mods {
			fmt.Fprintf(&b, " op%d %s", m.Op, m.Desc)
			for _, v := range m.Values {
				fmt.Fprintf(&b, " %s", v.Data)
			}
			b.WriteByte('\n')
		}
		if rec.NewRDN != "" {
			fmt.Fprintf(&b, " newrdn %s %v %s %v\n", rec.NewRDN, rec.DeleteOldRDN, rec.NewSuperior, rec.HasSuperior)
		}
	}
	return b.String()
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in, want string
		lenient        bool
	}{
		{name: "content", in: "version: 1\n\n# people\ndn: cn=a,dc=b\ncn: a\nsn:: w7xi\ndescription:\n\n\ndn: cn=long\n er,dc=b\ncn: long\n  er\n",
			want: "4 dn=cn=a,dc=b \n 5 cn=a\n 6 sn=\u00fcb\n 7 description=\n10 dn=cn=longer,dc=b \n 12 cn=long er\n"},
		{name: "CRLF, CR, folded comment", in: "dn: cn=a\r\n# x\r\n cn: no\r\ncn: a\r\n\r\ndn: cn=b\rcn: b\r",
			want: "1 dn=cn=a \n 4 cn=a\n6 dn=cn=b \n 7 cn=b\n"},
		{name: "CR CR LF", in: "dn: cn=a\r\r\ncn: a\r\r\n\r\r\ndn: cn=b\r\r\ncn: b\r\r\n",
			want: "1 dn=cn=a \n 2 cn=a\n4 dn=cn=b \n 5 cn=b\n"},
		{name: "BOM", in: "\xEF\xBB\xBFdn: cn=a\ncn: a\n", want: "1 dn=cn=a \n 2 cn=a\n"},
		{name: "UTF-16", in: "\xFF\xFEd\x00n\x00:\x00 \x00a\x00=\x00b\x00\n\x00a\x00:\x00\xfc\x00\n\x00", want: "1 dn=a=b \n 2 a=\u00fc\n"},
		{name: "modify", in: "dn: cn=a\ncontrol: 1.2.3 true: abc\ncontrol: 1.2.4\nchangetype: modify\nadd: mail\nmail: a@b\nmail: c@d\n-\ndelete: fax\n-\nreplace: mail\n",
			want: "1 dn=cn=a modify\n control 1.2.3 true \"abc\"\n control 1.2.4 false \"\"\n op0 mail a@b c@d\n op1 fax\n op2 mail\n"},
		{name: "modrdn", in: "dn: cn=a,dc=b\nchangetype: modrdn\nnewrdn: cn=c\ndeleteoldrdn: 1\nnewsuperior: ou=x,dc=b\n\ndn: cn=x\nchangetype: delete\n\ndn: cn=y\nchangetype: add\ncn: y\n",
			want: "1 dn=cn=a,dc=b modrdn\n newrdn cn=c true ou=x,dc=b true\n7 dn=cn=x delete\n10 dn=cn=y add\n 12 cn=y\n"},
		{name: "URL is never read", in: "dn: cn=a\njpegPhoto:< file:///etc/passwd\n\ndn: cn=b\ncn: b\n",
			want: "E line 2: jpegPhoto names a file or URL (< file:///etc/passwd); it is not read, put the value itself there\n4 dn=cn=b \n 5 cn=b\n"},
		{name: "URL, lenient", lenient: true, in: "dn: cn=a\njpegPhoto:< file:///etc/passwd\ncn: a\n\n",
			want: "! 2 jpegPhoto names a file or URL (< file:///etc/passwd); it is not read, put the value itself there -> the line was left out\n1 dn=cn=a \n 3 cn=a\n"},
		{name: "error, then the next record", in: "dn: cn=a\nbroken\ncn: a\n\ndn: cn=b\ncn: b\n",
			want: "E line 2: no \"attribute: value\" in \"broken\"\n5 dn=cn=b \n 6 cn=b\n"},
		{name: "an error at the end of a record keeps the next", in: "dn: cn=a\nchangetype: modrdn\n\ndn: cn=b\ncn: b\n",
			want: "E line 1: a modrdn record without \"newrdn:\"\n4 dn=cn=b \n 5 cn=b\n"},
		{name: "value behind its part", in: "dn: cn=a\nchangetype: modify\nadd: x\n-\nx: 1\n",
			want: "E line 5: \"x:\" stands where \"add:\", \"delete:\", \"replace:\" or \"increment:\" must\n"},
		{name: "version 2", in: "version: 2\n\ndn: cn=a\ncn: a\n", want: "E line 1: LDIF version \"2\" is not known; only version 1 is\n3 dn=cn=a \n 4 cn=a\n"},
		{name: "strict 8-bit", in: "dn: cn=a\ncn: M\xfcller\n", want: "E line 2: the value of cn is not UTF-8: it needs base64 (\"cn::\")\n"},
		{name: "lenient 8-bit", lenient: true, in: "dn: cn=a\ncn: M\xfcller\n", want: "! 2 the value is not UTF-8 -> read as windows-1252\n1 dn=cn=a \n 2 cn=M\u00fcller\n"},
		{name: "missing blank line", lenient: true, in: "dn: cn=a\ncn: a\ndn: cn=b\ncn: b\n",
			want: "! 3 no blank line before this record -> a new record begins\n1 dn=cn=a \n 2 cn=a\n3 dn=cn=b \n 4 cn=b\n"},
		{name: "tab fold", lenient: true, in: "dn: cn=a\ncn: a\n\tb\n", want: "! 3 a line is continued with a tab -> joined\n1 dn=cn=a \n 2 cn=ab\n"},
		{name: "torn by a page", lenient: true, in: "dn: cn=a\n```\n\n```\ncn: a\n```\n",
			want: "! 2 a line without a colon: \"```\" -> the line was left out\n! 4 a line without a colon: \"```\" -> the line was left out\n" +
				"! 5 the record of line 1 is torn apart by a blank line -> joined\n! 6 a line without a colon: \"```\" -> the line was left out\n1 dn=cn=a \n 5 cn=a\n"},
		{name: "cut inside a line", lenient: true, in: "dn: cn=a\ncn: a\n\ndn: cn=b\ncn: b\nma",
			want: "1 dn=cn=a \n 2 cn=a\n! 6 the file ends inside this line -> the line was left out\n" +
				"! 6 the file does not end with a line end -> the last record may be cut; look at it\n4 dn=cn=b \n 5 cn=b\n"},
		{name: "no dn", in: "cn: a\nsn: b\n\ndn: cn=b\ncn: b\n", want: "E line 1: a record must begin with \"dn:\", this one begins with \"cn:\"\n4 dn=cn=b \n 5 cn=b\n"},
	} {
		if got := dump(c.in, c.lenient); got != c.want {
			t.Errorf("%s:\ngot\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	in := "dn: cn=a\ncn: " + strings.Repeat("x", 5000) + "\n\ndn: cn=b\ncn: b\n"
	r := NewReader(strings.NewReader(in), Options{MaxLine: 1000})
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "longer than the limit") {
		t.Errorf("long line: %v", err)
	}
	if rec, err := r.Next(); err != nil || rec.DN != "cn=b" {
		t.Errorf("record behind the long line: %v, %v", rec, err)
	}
	r = NewReader(strings.NewReader("dn: cn=a\n"+strings.Repeat("cn: a\n", 100)), Options{MaxRecord: 1000})
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "longer than the limit") {
		t.Errorf("long record: %v", err)
	}
}

func TestWriterReadsBack(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 20)
	in := []*Record{
		{DN: "cn=Jürgen,dc=b", Values: []Value{{Desc: "cn", Data: []byte("Jürgen")}, {Desc: "x", Data: []byte(" a")},
			{Desc: "x", Data: []byte("a ")}, {Desc: "x", Data: []byte(":<")}, {Desc: "x", Data: []byte("a\nb\x00")}, {Desc: "y", Data: nil},
			{Desc: "description", Data: []byte(long)}, {Desc: "jpegPhoto;binary", Data: bytes.Repeat([]byte{0xff}, 200)}}},
		{DN: "cn=b", Change: Modify, Controls: []Control{{OID: "1.2", Critical: true, Value: []byte("\x00")}},
			Mods: []Mod{{Op: 2, Desc: "mail", Values: []Value{{Desc: "mail", Data: []byte("a@b")}}}, {Op: 1, Desc: "fax"}}},
		{DN: "cn=c", Change: ModRDN, NewRDN: "cn=d", DeleteOldRDN: true, HasSuperior: true},
		{DN: "cn=d", Change: Delete},
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Comment("made by a test\nof two lines")
	for _, rec := range in {
		w.Record(rec)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(b.String()) {
		if len(l) > foldAt+1 || strings.HasSuffix(l, " \n") {
			t.Errorf("line %q", l)
		}
	}
	var again bytes.Buffer
	w = NewWriter(&again)
	w.Comment("made by a test\nof two lines")
	r := NewReader(bytes.NewReader(b.Bytes()), Options{})
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("reading back: %v\n%s", err, b.String())
		}
		w.Record(rec)
	}
	if err := w.Flush(); err != nil || again.String() != b.String() {
		t.Errorf("%v\n%s\nread back as\n%s", err, b.String(), again.String())
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"dn: cn=a\ncn: a\n", "version: 1\ndn:: w7w=\nchangetype: modify\nadd: x\nx: 1\n-\n", "\xFF\xFEd\x00n\x00:\x00",
		"dn: a\ncontrol: 1.2 true:: AA==\nchangetype: moddn\nnewrdn: b\n", "dn: cn=a\n\n```\ncn: a\r\r\n\t x", "dn: x\na:< file:///etc/passwd"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, lenient bool) {
		r := NewReader(bytes.NewReader(in), Options{Lenient: lenient, MaxLine: 1 << 16, MaxRecord: 1 << 16, Page: codepage.Windows1252})
		for n := 0; ; n++ {
			rec, err := r.Next()
			if err == io.EOF {
				return
			}
			if _, bad := errors.AsType[*Error](err); err != nil && !bad {
				return
			}
			if n > len(in)+1 {
				t.Fatalf("more than %d records from %d bytes", n, len(in))
			}
			if rec == nil {
				continue
			}
			if rec.Line > bytes.Count(in, []byte("\n"))+bytes.Count(in, []byte("\r"))+1 {
				t.Errorf("record at line %d", rec.Line)
			}
			w := NewWriter(io.Discard)
			w.Record(rec)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	var buf bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&buf, "dn: cn=User %d,ou=addressbook,dc=linuxforu,dc=com\nobjectClass: top\nobjectClass: person\nobjectClass: inetOrgPerson\ncn: User %d\nsn: %d\nmail: user%d@linuxforu.com\ntelephoneNumber: +91 11 24650722\n\n", i, i, i, i)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		r := NewReader(bytes.NewReader(buf.Bytes()), Options{})
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			}
		}
	}
}
