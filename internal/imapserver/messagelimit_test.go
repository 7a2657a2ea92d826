package imapserver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"expost/internal/imapserver"
)

// TestMessageLimit lets commands work on four messages at once (MESSAGELIMIT, RFC 9738).
func TestMessageLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Limits.Messages = 4 })
	p := s.login(t)
	if got := p.must("CAPABILITY")[0]; !strings.Contains(got, " MESSAGELIMIT=4 ") {
		t.Errorf("hears %q", got)
	}
	for i := range 6 {
		s.deliver(t, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i))
	}
	p.must("SELECT INBOX")
	p.must("STORE 2 +FLAGS.SILENT (\\Flagged)")
	p.must("UID EXPUNGE 1") // nothing is \Deleted
	lines := func(l ...string) []string { return l }
	for _, c := range []struct {
		cmd      string
		untagged []string
		tagged   string
	}{
		{"FETCH 1:* (UID)", lines("* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)", "* 5 FETCH (UID 5)", "* 6 FETCH (UID 6)"), "OK [MESSAGELIMIT 4 3] fetched a part"},
		{"FETCH 1:2,5:6 (UID)", lines("* 1 FETCH (UID 1)", "* 2 FETCH (UID 2)", "* 5 FETCH (UID 5)", "* 6 FETCH (UID 6)"), "OK fetched"},
		{"UID FETCH 1,3:6 (UID)", lines("* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)", "* 5 FETCH (UID 5)", "* 6 FETCH (UID 6)"), "OK [MESSAGELIMIT 4 3] fetched a part"},
		{"UID FETCH 1,2,3,4,6 (UID)", lines("* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)", "* 6 FETCH (UID 6)"), "OK [MESSAGELIMIT 4 2] fetched a part"},
		{"UID FETCH 1:* (UID) (PARTIAL 1:4)", lines("* 1 FETCH (UID 1)", "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)"), "OK fetched"},
		{"UID FETCH 1:* (UID) (PARTIAL 1:5)", nil, "NO [MESSAGELIMIT 4] too many messages for one command"},
		{"SEARCH UNSEEN", lines("* SEARCH 3 4 5 6"), "OK [MESSAGELIMIT 4 3] searched a part"},
		{"SEARCH UIDBEFORE 5 UNSEEN", lines("* SEARCH 1 2 3 4"), "OK searched"},
		{"SEARCH UIDAFTER 5", lines("* SEARCH 6"), "OK searched"},
		{"SEARCH UIDAFTER 4294967295", lines("* SEARCH"), "OK searched"},
		{"SEARCH UIDBEFORE 1", lines("* SEARCH"), "OK searched"},
		{"SEARCH OR 1 2", lines("* SEARCH"), "OK [MESSAGELIMIT 4 3] searched a part"},
		{"SEARCH RETURN (SAVE COUNT) ALL", lines(`* ESEARCH (TAG "@") COUNT 4`), "OK [MESSAGELIMIT 4 3] searched a part"},
		{"FETCH $ (UID)", lines("* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)", "* 5 FETCH (UID 5)", "* 6 FETCH (UID 6)"), "OK fetched"},
		{"ESEARCH IN (inboxes) FLAGGED", lines("* NO [MESSAGELIMIT 4 3] this is a part"), "OK searched"},
		{"SORT (ARRIVAL) UTF-8 ALL", nil, "NO [MESSAGELIMIT 4] too many messages for one command"},
		{"SORT (ARRIVAL) UTF-8 3:6", lines("* SORT 3 4 5 6"), "OK sorted"},
		{"THREAD REFERENCES UTF-8 ALL", nil, "NO [MESSAGELIMIT 4] too many messages for one command"},
		{"COPY 1:5 Archive", nil, "NO [MESSAGELIMIT 4] too many messages for one command"},
		{"COPY 1:4 Archive", nil, "OK [COPYUID 1065009600 1:4 1:4] copied"},
		{"STORE 1:* +FLAGS.SILENT (\\Seen)", nil, "OK [MESSAGELIMIT 4 3] stored a part"},
		{"STORE 2:* (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)", lines("* NO [MESSAGELIMIT 4 3] this is a part"), "OK [MODIFIED 3:6] conditional STORE left some alone"},
		{"STORE 1:2 +FLAGS.SILENT (\\Deleted)", lines("* 1 FETCH (UID 1 MODSEQ (@))", "* 2 FETCH (UID 2 MODSEQ (@))"), "OK stored"},
		{"MOVE 1:5 Trash", lines("* OK [COPYUID 1065009600 2:5 1:4] moved", "* 2 EXPUNGE", "* 2 EXPUNGE", "* 2 EXPUNGE", "* 2 EXPUNGE"), "OK [MESSAGELIMIT 4 2] moved a part"},
		{"UID EXPUNGE 1:6", lines("* 1 EXPUNGE"), "OK [HIGHESTMODSEQ @] expunged"},
		{"APPEND INBOX {1+}\r\n1 {1+}\r\n2 {1+}\r\n3 {1+}\r\n4 {1+}\r\n5", nil, "NO [MESSAGELIMIT 4] too many messages for one command"},
	} {
		untagged, tagged := p.do(c.cmd)
		same := slices.EqualFunc(untagged, c.untagged, func(got, want string) bool { return matchLine(strings.ReplaceAll(want, "@", "<any>"), got) })
		if !same || !matchLine(strings.ReplaceAll(c.tagged, "@", "<any>"), tagged) {
			t.Errorf("%s:\n%q\n%s", c.cmd, untagged, tagged)
		}
	}
}
