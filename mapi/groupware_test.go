package mapi_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/mapi"
	"expost/mapi/msg"
	"expost/mapi/tnef"
)

// fileOf converts a sample .msg and returns the part of the given type, with its
// lines unfolded.
func fileOf(t *testing.T, name, kind string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../shared/fixtures/msg", name))
	if os.IsNotExist(err) {
		t.Skipf("no sample file %s in ../shared/fixtures/msg", name)
	}
	m, err := msg.Open(bytes.NewReader(b), int64(len(b)))
	if m == nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := (&mapi.Converter{TNEF: tnef.Read}).Convert(&out, m); err != nil {
		t.Fatal(err)
	}
	parsed, err := mail.ReadMessage(&out)
	if err != nil {
		t.Fatal(err)
	}
	text := findPart(t, parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"), parsed.Body, kind)
	return strings.ReplaceAll(text, "\r\n ", "")
}

// findPart returns the first part of a type, decoded.
func findPart(t *testing.T, header, transfer string, r io.Reader, kind string) string {
	t.Helper()
	is, params, err := mime.ParseMediaType(header)
	if err != nil {
		t.Fatalf("%q: %v", header, err)
	}
	if is == kind {
		if transfer == "quoted-printable" {
			r = quotedprintable.NewReader(r)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if !strings.HasPrefix(is, "multipart/") {
		return ""
	}
	for parts := multipart.NewReader(r, params["boundary"]); ; {
		p, err := parts.NextRawPart()
		if err != nil {
			return ""
		}
		if s := findPart(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, kind); s != "" {
			return s
		}
	}
}

// TestGroupware compares what became of items that are no mail with what Outlook
// shows of them.
func TestGroupware(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, kind string
		want, not  []string
	}{
		{"HiraokaHyperTools__Lanch_time_every_friday_in_2023_chgs2.msg", "text/calendar", []string{
			`DTSTART;TZID="Tokyo Standard Time":20230106T120000`, "RRULE:FREQ=WEEKLY;BYDAY=FR;WKST=SU;UNTIL=20231231T030000Z",
			`EXDATE;TZID="Tokyo Standard Time":20230106T120000`, `RECURRENCE-ID;TZID="Tokyo Standard Time":20230113T120000`,
			`DTSTART;TZID="Tokyo Standard Time":20230112T120000`, `SUMMARY:Lanch time\, every friday\, in 2023 [rescheduled!]`,
			"LOCATION:Awesome coffee shop", "X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE", "TZOFFSETTO:+0900", "ACKNOWLEDGED:20230112T024459Z", `alarm set to 30 mins before`,
		}, []string{"ORGANIZER"}},
		{"HiraokaHyperTools__A_black_friday_w_tz_.msg", "text/calendar",
			[]string{"DTSTART;VALUE=DATE:20221202", "DTEND;VALUE=DATE:20221203", "TRANSP:TRANSPARENT", "TRIGGER:-PT720M"}, nil},
		{"HiraokaHyperTools__Appointment_sample_EST.msg", "text/calendar", []string{
			`DTSTART;TZID="Eastern Standard Time":20221204T080000`, "RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11", "RRULE:FREQ=YEARLY;BYDAY=2SU;BYMONTH=3",
			"TZOFFSETFROM:-0500", "TZOFFSETTO:-0400",
		}, nil},
		{"aspose-email__Meeting_with_Recurring_Occurrences.msg", "text/calendar",
			[]string{"METHOD:REQUEST", "RRULE:FREQ=", "SUMMARY:Meeting with Recurring Occurrences", "ATTENDEE;ROLE=REQ-PARTICIPANT", "mailto:asposeemail.test3@aspose.com"}, nil},
		{"apache__testMSG_Task.msg", "text/calendar", []string{"BEGIN:VTODO", "DTSTART;VALUE=DATE:20170219", "DUE;VALUE=DATE:20170310", "STATUS:IN-PROCESS", "PRIORITY:5"}, nil},
		{"aspose-email__MapiNote~2.msg", "text/calendar", []string{"BEGIN:VJOURNAL", "COLOR:lightblue", "X-MS-OLK-WIDTH:500", "DESCRIPTION:This is a blue color note"}, nil},
		{"HiraokaHyperTools__contactAnsi.msg", "text/vcard", []string{
			"ORG:My work company;My division;", "EMAIL;X-CN=\"test@example.com\":test@example.com", `TEL;TYPE="work,fax":06-0001-0003`, "BDAY:20000101",
			"ADR;TYPE=work:;;Somewhere;Osaka;Osaka;544-0001;", "X-PHONETIC-LAST-NAME:eguzanpuru",
		}, []string{"\uFFFD"}},
		{"aspose-email__Wichert_Kroos.msg", "text/vcard", []string{"FN:Wichert Kroos", "EMAIL;X-CN=\"WichertKroos@teleworm.us\":WichertKroos@teleworm.us"}, nil},
	} {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			got := fileOf(t, tt.file, tt.kind)
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(got, not) {
					t.Errorf("%q is in\n%s", not, got)
				}
			}
		})
	}
}
