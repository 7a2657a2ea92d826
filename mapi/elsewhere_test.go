package mapi

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestContentElsewhere converts messages that a file holds no more than the name
// of: the mail says what is missing, and so does the report.
func TestContentElsewhere(t *testing.T) {
	t.Parallel()
	link := &Item{}
	link.Set(NewTag(idAttachMethod, TypeInt32), int32(7))
	link.Set(NewTag(idAttachLongPathname, TypeString), "https://files.example.org/offer.docx")
	protected := &Item{}
	protected.Set(NewTag(idAttachMethod, TypeInt32), int32(1))
	protected.Set(NewTag(idAttachLongFilename, TypeString), "message.rpmsg")
	protected.Set(NewTag(idAttachData, TypeBinary), []byte("\x76\xe8\x04\x60"))
	for name, c := range map[string]struct {
		class        string
		attached     *Item
		want, report string
	}{
		"a file in a cloud":      {"IPM.Note", link, "text/uri-list", `only a link to "https://files.example.org/offer.docx"`},
		"an archive's shortcut":  {"IPM.Note.EnterpriseVault.Shortcut", nil, "Subject: the offer", "shortcut of an archive"},
		"rights management":      {"IPM.Note", protected, "message.rpmsg", "rights management"},
		"a class of nobody's":    {"IPM.Document.Word.Document.8", nil, "Subject: the offer", ""},
		"a report of a delivery": {"REPORT.IPM.Note.NDR", nil, "multipart/report", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &Item{}
			m.Set(NewTag(idMessageClass, TypeString), c.class)
			m.Set(NewTag(idSubject, TypeString), "the offer")
			if c.attached != nil {
				m.Attached = []*Item{c.attached}
			}
			var b bytes.Buffer
			r, err := (&Converter{}).Convert(&b, m)
			if err != nil || !strings.Contains(b.String(), c.want) {
				t.Errorf("no %q, error %v, in\n%s", c.want, err, b.String())
			}
			if problems := errors.Join(r.Problems...); c.report != "" && (problems == nil || !strings.Contains(problems.Error(), c.report)) {
				t.Errorf("it reports %v, want something with %q", problems, c.report)
			}
		})
	}
}
