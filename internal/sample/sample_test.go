package sample

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"expost/internal/gal"
	"expost/internal/mail"
	"expost/internal/message"
)

// digest returns a hash of everything in an organisation.
func digest(t *testing.T, o *Org) string {
	h := sha256.New()
	if err := o.WriteCSV(h, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.WriteLDIF(h); err != nil {
		t.Fatal(err)
	}
	for i := range o.People {
		m := o.Mailbox(i)
		for f, folder := range m.Folders {
			fmt.Fprintln(h, folder)
			for msg := range m.Messages(f) {
				fmt.Fprintln(h, msg.UID, msg.Flags, msg.Keywords, msg.Date)
				h.Write(msg.Body)
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:16]
}

func TestSame(t *testing.T) {
	t.Parallel()
	a, b := digest(t, New(Options{Messages: 40})), digest(t, New(Options{Messages: 40}))
	if a != b {
		t.Errorf("two organisations of the same options differ: %s and %s", a, b)
	}
	if c := digest(t, New(Options{Messages: 40, Seed: 1})); a == c {
		t.Error("another seed gives the same organisation")
	}
}

func TestMailboxes(t *testing.T) {
	t.Parallel()
	o := New(Options{Messages: 300})
	var answered, threads, keywords, attachments, nested, raw int
	for i := range o.People {
		m := o.Mailbox(i)
		total, folders := 0, map[string]bool{}
		for f, folder := range m.Folders {
			if folders[folder.Name] {
				t.Errorf("%s has folder %q twice", m.Owner.Name, folder.Name)
			}
			folders[folder.Name] = true
			n, last := 0, mail.UID(0)
			for msg := range m.Messages(f) {
				n++
				if msg.UID <= last || msg.UID >= folder.UIDNext {
					t.Errorf("UID %d behind %d, UIDNEXT %d", msg.UID, last, folder.UIDNext)
				}
				last = msg.UID
				if bytes.Count(msg.Body, []byte("\n")) != bytes.Count(msg.Body, []byte("\r\n")) || bytes.Count(msg.Body, []byte("\r")) != bytes.Count(msg.Body, []byte("\n")) {
					t.Errorf("%s/%d has other line ends than CRLF", folder.Name, msg.UID)
				}
				p := message.NewParser(message.Limits{}, nil)
				p.Write(msg.Body)
				parsed := p.Finish()
				if _, err := message.ParseDate(parsed.Envelope.Date); err != nil {
					t.Error(err)
				}
				if parsed.Preview == "" {
					t.Errorf("%s/%d has no text: %.2000s", folder.Name, msg.UID, msg.Body)
				}
				threads += len(parsed.Refs.References)
				for _, part := range parsed.Parts {
					switch {
					case part.Disposition == "attachment" && part.Filename() != "":
						attachments++
					case part.Envelope != nil:
						nested++
					}
				}
				if !utf8.Valid(msg.Body) {
					raw++
				}
				if msg.Flags&mail.Answered != 0 {
					answered++
				}
				if msg.Keywords != (mail.Keywords{}) {
					keywords++
				}
			}
			if n != folder.Messages {
				t.Errorf("%q has %d messages, says %d", folder.Name, n, folder.Messages)
			}
			total += n
		}
		if total != 300 || len(m.Folders) != 13 {
			t.Errorf("%s has %d messages in %d folders", m.Owner.Name, total, len(m.Folders))
		}
	}
	for name, n := range map[string]int{"answered": answered, "references": threads, "keywords": keywords, "attachments": attachments, "nested messages": nested, "raw 8-bit messages": raw} {
		t.Logf("%d %s", n, name)
		if n < 20 {
			t.Errorf("only %d %s", n, name)
		}
	}
}

func TestAddressBooks(t *testing.T) {
	t.Parallel()
	o := New(Options{Messages: 1})
	var utf8CSV, ansiCSV, ldif bytes.Buffer
	if err := o.WriteCSV(&utf8CSV, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.WriteCSV(&ansiCSV, charmap.Windows1252); err != nil {
		t.Fatal(err)
	}
	if err := o.WriteLDIF(&ldif); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(utf8CSV.String(), "\r\n")
	if n := strings.Count(head, ",") + 1; n != 29 {
		t.Errorf("%d columns", n)
	}
	if !strings.Contains(utf8CSV.String(), "Jürgen") || !strings.Contains(ansiCSV.String(), "J\xfcrgen") {
		t.Error("Jürgen is missing")
	}
	if len(ansiCSV.Bytes()) < len(head)*3 || bytes.ContainsRune(ansiCSV.Bytes(), '\x1a') {
		t.Errorf("the ANSI file is %q", ansiCSV.Bytes())
	}
	for name, file := range map[string][]byte{"UTF-8 CSV": utf8CSV.Bytes(), "ANSI CSV": ansiCSV.Bytes(), "LDIF": ldif.Bytes()} {
		i := 0
		_, err := gal.Read(bytes.NewReader(file), gal.Options{}, func(r *gal.Recipient) error {
			if p := o.People[i]; r.Name() != p.Name {
				t.Errorf("%s: %q is read, want %q", name, r.Name(), p.Name)
			}
			i++
			return nil
		})
		if err != nil || i != len(o.People) {
			t.Errorf("%s: %d of %d people are read, %v", name, i, len(o.People), err)
		}
	}
	if want := "dn: cn=ajay,mail=ajay@linuxforu.com\ncn: ajay\nxmozillanickname:\nmail: ajay@linuxforu.com\nobjectclass: top\nobjectclass: person\n\n" +
		"dn: cn=Anup Sharma,mail=anup@linuxforu.com\ncn: Anup Sharma\nxmozillanickname:\nmail: anup@lpsboi.com\n"; !strings.HasPrefix(ldif.String(), want) {
		t.Errorf("the LDIF begins\n%.400s", ldif.String())
	}
}
