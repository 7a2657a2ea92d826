package imapwire_test

import (
	"bufio"
	"strings"
	"testing"
	"unicode/utf8"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// fuzzLimits are small, so that the limits are reached.
var fuzzLimits = imapwire.Limits{Line: 2000, Literal: 500, Skip: 5000, Depth: 10, List: 50}

// commands decodes every command of a stream with decode, as a server would.
func commands(stream string, decode func(d *imapwire.Decoder)) {
	r := bufio.NewReaderSize(strings.NewReader(stream), 64)
	d := imapwire.NewDecoder(fuzzLimits, func() error { return nil })
	for d.Next(r) == nil {
		if decode(d); d.Finish() != nil {
			return
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		"a LOGIN u {3+}\r\np\"s\r\n", "a APPEND INBOX (\\Seen x) \" 1-Feb-1994 21:52:25 -0800\" {5}\r\nhello\r\n", "a STORE 1:*,$ (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Deleted a)\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"a%\" *) RETURN (STATUS (MESSAGES UIDNEXT) CHILDREN)\r\n", "a STATUS \"&APw-\" (UNSEEN)\r\n", "a ID (\"a\" NIL)\r\n", "a UIDBATCHES 500 1:2\r\n", "a GETMETADATA (DEPTH infinity) \"\" (/shared/a /private/b)\r\n", "a SETMETADATA x (/shared/a {1+}\r\nb /private/c NIL)\r\n", "a NOTIFY SET STATUS (selected (MessageNew (UID BODY[TEXT]) MessageExpunge)) (subtree (a {1+}\r\nb) NONE)\r\n", "x {9+}\r\n{3+}\r\nabc\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		commands(stream, func(d *imapwire.Decoder) {
			d.Tag()
			d.SP()
			switch d.Keyword() {
			case "LOGIN":
				d.SP()
				d.AString()
				d.SP()
				d.AString()
			case "LIST":
				d.ListCommand(false)
			case "STORE":
				d.Store()
			case "UIDBATCHES":
				d.UIDBatches()
			case "NOTIFY":
				d.Notify(false)
			case "GETMETADATA":
				d.GetMetadata(false)
			case "SETMETADATA":
				d.SetMetadata(false)
			case "STATUS":
				d.SP()
				d.Mailbox(true)
				d.SP()
				d.StatusItems()
			case "ID":
				d.SP()
				d.List(func() { d.NString() })
			case "APPEND":
				d.SP()
				d.Mailbox(false)
				d.SP()
				d.FlagList()
				d.SP()
				d.DateTime()
				d.SP()
				if r, err := d.OpenLiteral(d.LiteralHeader()); err == nil {
					_, _ = r.Read(make([]byte, 3))
					_ = d.CloseLiteral()
				}
			}
			d.End()
		})
	})
}

func FuzzSearch(f *testing.F) {
	for _, seed := range []string{
		" RETURN (MIN SAVE) CHARSET UTF-8 OR (SEEN 1:*) NOT FROM {1+}\r\nx LARGER 3\r\n", " SINCE 1-Feb-1994 HEADER X \"\" MODSEQ \"/flags/\\\\x\" all 7\r\n", " (((1))) UID 3,* KEYWORD a\r\n", " RETURN (PARTIAL -1:-100 COUNT) UNSEEN\r\n", " RETURN (UPDATE (UID) RELEVANCY) FUZZY (UIDAFTER 3 NOT FUZZY TEXT x)\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) { commands(stream, func(d *imapwire.Decoder) { d.Search() }) })
}

// FuzzStoredSearch has what FILTERS keeps.
func FuzzStoredSearch(f *testing.F) {
	for _, seed := range []string{"OR SEEN (FROM {1}\r\nx)", "FILTER a", "ALL\r\nb", "{9999999}\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := imapwire.ParseSearch(text, fuzzLimits); err == nil && strings.TrimSpace(text) == "" {
			t.Errorf("%q is a search", text)
		}
	})
}

func FuzzMultiSearch(f *testing.F) {
	for _, seed := range []string{" IN (mailboxes \"a\" subtree (b {1+}\r\nc) personal) RETURN (COUNT) CHARSET UTF-8 SUBJECT x\r\n", " ALL\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		commands(stream, func(d *imapwire.Decoder) { d.MultiSearch(false) })
	})
}

func FuzzFetch(f *testing.F) {
	for _, seed := range []string{" 1:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (a \"b\")]<0.9> BINARY.SIZE[1] PREVIEW (LAZY)) (CHANGEDSINCE 5 VANISHED)\r\n", " 1 FULL\r\n", " $ BODY[1.MIME]\r\n", " 1:* FLAGS (PARTIAL 500:400)\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		commands(stream, func(d *imapwire.Decoder) {
			cmd := d.Fetch()
			if d.Err() != nil {
				return
			}
			// What was understood is understood again as it is written in the answer.
			for _, it := range cmd.Items {
				if it.Kind != imapwire.FetchSection {
					continue
				}
				text := string(imapwire.AppendSection([]byte("BODY"), &it.Section, imapwire.Partial{}))
				commands(text+"\r\n", func(d *imapwire.Decoder) {
					if d.FetchItems(); d.Err() != nil {
						t.Errorf("%q: %v", text, d.Err())
					}
				})
			}
		})
	})
}

func FuzzMessageURL(f *testing.F) {
	for _, seed := range []string{"/INBOX;UIDVALIDITY=1/;UID=2/;SECTION=1.2.MIME/;PARTIAL=0.10", "/a%20b/;uid=3/;section=HEADER.FIELDS%20(a%20b)", "//;UID=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if u, ok := imapwire.ParseMessageURL(text); ok && (u.Mailbox == "" || u.UID == 0 || u.Partial.From < 0) {
			t.Errorf("%q is understood as %+v", text, u)
		}
	})
}

func FuzzUTF7(f *testing.F) {
	for _, seed := range []string{"Entw&APw-rfe", "&-", "&2D3eAA-", "日本", "&"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, ok := imapwire.DecodeUTF7(s); ok {
			if !utf8.ValidString(name) {
				t.Fatalf("%q decodes to %q, which is not UTF-8", s, name)
			}
			if again, ok := imapwire.DecodeUTF7(string(imapwire.AppendUTF7(nil, name))); !ok || again != name {
				t.Fatalf("%q becomes %q", name, again)
			}
		}
	})
}

func FuzzNumSet(f *testing.F) {
	for _, seed := range []string{"1:3,7", "*:5,$", "4294967295:*", "0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		commands(s+"\r\n", func(d *imapwire.Decoder) {
			set := d.NumSet()
			if d.Err() != nil {
				return
			}
			resolved := set.Resolve(100)
			last := mail.UID(0)
			for i, r := range resolved {
				if r.First == 0 || r.First > r.Last || i > 0 && r.First <= last+1 {
					t.Fatalf("%q resolves to %v", s, resolved)
				}
				last = r.Last
			}
		})
	})
}
