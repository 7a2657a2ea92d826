package mapi_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/mapi"
	"expost/mapi/msg"
	"expost/mapi/tnef"
)

// propertySets are those whose properties are compared: what the item is.
var propertySets = map[mapi.GUID]bool{mapi.SetAppointment: true, mapi.SetTask: true, mapi.SetNote: true, mapi.SetLog: true, mapi.SetAddress: true}

// leftOut are named properties that are made anew or say nothing of their own, by
// number.
var leftOut = map[uint32]string{
	0x8216: "the recurrence is compared by what iCalendar says of it", 0x8116: "as 8216", 0x8233: "the zone is compared in the same way", 0x825E: "as 8233",
	0x825F: "as 8233", 0x8260: "as 8233", 0x8234: "a text for people", 0x8232: "a text for people", 0x8231: "follows from the recurrence", 0x8235: "as 8231",
	0x8236: "as 8231", 0x8213: "follows from start and end", 0x8217: "the state is compared by what iCalendar says of it", 0x8218: "as 8217",
	0x8223: "follows from the recurrence", 0x8257: "the usual value", 0x8102: "compared in percent", 0x811C: "follows from the status", 0x8129: "whose task it is, is not in the file", 0x8080: "made anew, as Outlook makes it",
	0x8090: "as 8080", 0x80A0: "as 8080",
}

// convert returns an item as mail.
func convert(t *testing.T, m mapi.Message) (string, *mapi.Mail) {
	t.Helper()
	var out bytes.Buffer
	mail, err := (&mapi.Converter{TNEF: tnef.Read}).Convert(&out, m)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), mail
}

// wayBack returns an item as it comes back of its mail.
func wayBack(t *testing.T, text string, mail *mapi.Mail) *mapi.Item {
	t.Helper()
	back, err := mapi.FromMail(strings.NewReader(text), int64(len(text)), mapi.MailMarks{Flags: mail.Flags, Keywords: mail.Keywords, Received: mail.Received})
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// TestWayBack converts items that are no mail to mail and back: they are of their
// class again, have the properties they had, and become the same file once more.
func TestWayBack(t *testing.T) {
	t.Parallel()
	paths, _ := filepath.Glob("../../shared/fixtures/msg/*.msg")
	if len(paths) == 0 {
		t.Skip("no sample files in ../shared/fixtures/msg")
	}
	classes := map[string]int{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := msg.Open(bytes.NewReader(b), int64(len(b)))
		if m == nil {
			continue
		}
		text, mail := convert(t, m)
		class := strings.ToUpper(mail.Class)
		i := slices.IndexFunc([]string{"IPM.APPOINTMENT", "IPM.SCHEDULE.MEETING", "IPM.TASK", "IPM.ACTIVITY", "IPM.STICKYNOTE", "IPM.CONTACT", "IPM.DISTLIST"},
			func(p string) bool { return class == p || strings.HasPrefix(class, p+".") })
		if i < 0 {
			continue
		}
		classes[class]++
		back := wayBack(t, text, mail)
		again, mail2 := convert(t, back)
		if mail2.Class != mail.Class {
			t.Errorf("%s: class %q became %q", filepath.Base(path), mail.Class, mail2.Class)
		}
		kind := "text/calendar"
		if i >= 5 {
			kind = "text/vcard"
		}
		if got, want := unstamped(partOf(t, again, kind), partOf(t, text, kind)); got != want || want == "" {
			t.Errorf("%s: the file of %s differs:\n%s", filepath.Base(path), class, diffLines(got, want))
		}
		compareNamed(t, filepath.Base(path), m, back)
	}
	if len(classes) < 5 {
		t.Errorf("only %v were compared", classes)
	}
}

// unstamped takes the times of creation and change out of both texts, which an
// item that has none gets.
func unstamped(got, want string) (string, string) {
	if !strings.Contains(want, "LAST-MODIFIED:") && !strings.Contains(want, "REV:") {
		got, want = stamps.ReplaceAllString(got, ""), stamps.ReplaceAllString(want, "")
	}
	return got, want
}

var stamps = regexp.MustCompile(`(?m)^(DTSTAMP|CREATED|LAST-MODIFIED|REV):.*\r\n`)

// set gives an item a named property under the next free id.
func set(m *mapi.Item, ids *uint16, in mapi.GUID, id uint32, typ mapi.Type, v any) {
	*ids++
	m.SetName(0x8000+*ids, mapi.Name{Set: in, ID: id})
	m.Set(mapi.NewTag(0x8000+*ids, typ), v)
}

// TestWayBackMade does with a list, a journal entry and an answer to a meeting,
// which no sample holds, what TestWayBack does with the samples.
func TestWayBackMade(t *testing.T) {
	t.Parallel()
	at := mapi.TimeOf(time.Date(2009, 5, 1, 8, 30, 0, 0, time.UTC))
	item := func(class string) (*mapi.Item, *uint16) {
		m := &mapi.Item{}
		m.Set(0x001A001F, class)
		m.Set(0x0037001F, "Subject of "+class)
		m.Set(0x30070040, at)
		m.Set(0x30080040, at+600e7)
		m.Set(0x00420000|0x1F, "Ajay")
		m.Set(0x0064001F, "SMTP")
		m.Set(0x0065001F, "ajay@example.org")
		return m, new(uint16)
	}
	list, n := item("IPM.DistList")
	set(list, n, mapi.SetAddress, 0x8053, mapi.TypeString, "Friends")
	member := append(make([]byte, 4), 0x81, 0x2B, 0x1F, 0xA4, 0xBE, 0xA3, 0x10, 0x19, 0x9D, 0x6E, 0x00, 0xDD, 0x01, 0x0F, 0x54, 0x02, 0, 0, 1, 0x10)
	set(list, n, mapi.SetAddress, 0x8055, mapi.TypeBinary|mapi.MultiValued, [][]byte{append(member, "Sonia\x00SMTP\x00sonia@example.org\x00"...)})
	journal, n := item("IPM.Activity")
	journal.Set(0x1000001F, "We spoke; of this, and that.")
	set(journal, n, mapi.SetLog, 0x8700, mapi.TypeString, "Phone call")
	set(journal, n, mapi.SetLog, 0x8706, mapi.TypeTime, at)
	set(journal, n, mapi.SetLog, 0x8708, mapi.TypeTime, at+900e7)
	set(journal, n, mapi.SetLog, 0x8707, mapi.TypeInt32, int32(15))
	set(journal, n, mapi.SetCommon, 0x8539, mapi.TypeString|mapi.MultiValued, []string{"A, B; C", "D"})
	answer, n := item("IPM.Schedule.Meeting.Resp.Tent")
	answer.Set(0x1000001F, "I may come.")
	set(answer, n, mapi.SetAppointment, 0x820D, mapi.TypeTime, at)
	set(answer, n, mapi.SetAppointment, 0x820E, mapi.TypeTime, at+3600e7)
	to := &mapi.Item{}
	for tag, v := range map[mapi.Tag]any{0x0C150003: int32(1), 0x3001001F: "Boss", 0x3002001F: "SMTP", 0x3003001F: "boss@example.org"} {
		to.Set(tag, v)
	}
	answer.To = append(answer.To, to)
	for want, x := range map[string]*mapi.Item{"MEMBER;X-CN=\"Sonia\":mailto:sonia@example.org": list, "X-MS-COMPANIES:A\\, B\\; C,D": journal,
		"ATTENDEE;PARTSTAT=TENTATIVE;CN=\"Ajay\":mailto:ajay@example.org": answer} {
		text, mail := convert(t, x)
		again, mail2 := convert(t, wayBack(t, text, mail))
		kind := "text/calendar"
		if x == list {
			kind = "text/vcard"
		}
		got, was := partOf(t, again, kind), partOf(t, text, kind)
		if got != was || !strings.Contains(was, want) || mail.Class != mail2.Class {
			t.Errorf("%s: %q is missing, or the file differs:\n%s\n%s", mail2.Class, want, diffLines(got, was), was)
		}
	}
}

// partOf returns the first part of a kind of a mail, with its lines unfolded.
func partOf(t *testing.T, text, kind string) string {
	t.Helper()
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	field := func(name string) string {
		for line := range strings.SplitSeq(strings.NewReplacer("\r\n\t", " ", "\r\n ", " ").Replace(head), "\r\n") {
			if v, ok := strings.CutPrefix(line, name+": "); ok {
				return v
			}
		}
		return ""
	}
	return strings.ReplaceAll(findPart(t, field("Content-Type"), field("Content-Transfer-Encoding"), strings.NewReader(body), kind), "\r\n ", "")
}

// diffLines returns the lines that only one of two texts has.
func diffLines(got, want string) string {
	var out strings.Builder
	g, w := strings.Split(got, "\r\n"), strings.Split(want, "\r\n")
	for _, l := range g {
		if !slices.Contains(w, l) {
			out.WriteString("got  " + l + "\n")
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			out.WriteString("want " + l + "\n")
		}
	}
	return out.String()
}

// compareNamed compares the named properties that both items have, of the sets
// that matter.
func compareNamed(t *testing.T, file string, a, b mapi.Message) {
	t.Helper()
	for tag := range a.Tags() {
		name, ok := a.Name(tag)
		if !ok || !propertySets[name.Set] || leftOut[name.ID] != "" || name.String != "" {
			continue
		}
		want, _, err := a.Value(tag)
		if s, is := want.(mapi.String8); is {
			want = s.Decode(mapi.Codepage(a, 0))
		}
		typ := tag.Type()
		if typ == mapi.TypeString8 {
			typ = mapi.TypeString
		}
		other, ok := b.Lookup(name, typ)
		if !ok || err != nil {
			continue // that nothing is lost which the file holds, the file shows
		}
		got, have, _ := b.Value(other)
		if !have {
			continue
		}
		switch w := want.(type) {
		case string:
			if g, _ := got.(string); strings.TrimSpace(strings.ReplaceAll(g, "\r\n", "\n")) != strings.TrimSpace(strings.ReplaceAll(w, "\r\n", "\n")) && w != "" {
				t.Errorf("%s: property %s/%#x is %q, was %q", file, name.Set, name.ID, g, w)
			}
		case int32, bool, mapi.Time:
			if got != want && !dayOf(want, got) {
				t.Errorf("%s: property %s/%#x is %v, was %v", file, name.Set, name.ID, got, want)
			}
		}
	}
}

// dayOf tells whether two times are on the same day, which is all that tasks
// have.
func dayOf(a, b any) bool {
	x, ok := a.(mapi.Time)
	y, ok2 := b.(mapi.Time)
	return ok && ok2 && max(x, y)-min(x, y) < 24*3600*1e7
}
