package imapserver_test

import (
	"slices"
	"strings"
	"testing"
)

func TestUIDBatches(t *testing.T) {
	t.Parallel()
	p := newSite(t, nil).login(t)
	p.send("x APPEND INBOX" + strings.Repeat(" {14+}\r\nSubject: x\r\n\r\n", 1203) + "\r\n")
	p.line()
	p.must("SELECT INBOX")
	p.must(`STORE 1201,700 +FLAGS (\Deleted)`)
	p.must("EXPUNGE") // 1,201 messages are left: 1-699, 701-1200, 1202, 1203
	for _, tc := range []struct{ args, want string }{
		{"500", ` 1203:703,702:202,201:1`},
		{"1201", ` 1203:1`},
		{"4294967295", ` 1203:1`},
		{"500 2:2", ` 702:202`},
		{"500 3:2", ` 702:202,201:1`},
		{"500 4:9", ``},
	} {
		got := p.must("UIDBATCHES " + tc.args)
		if len(got) != 1 || !strings.HasPrefix(got[0], `* UIDBATCHES (TAG "t`) || !strings.HasSuffix(got[0], `")`+tc.want) {
			t.Errorf("UIDBATCHES %s: %q, want %s", tc.args, got, tc.want)
		}
	}
	for _, args := range []string{"", " 0", " 500 1", " 500 0:1", " 500 1:*", " 500 1:2 3"} {
		if _, tagged := p.do("UIDBATCHES" + args); !strings.HasPrefix(tagged, "BAD") {
			t.Errorf("UIDBATCHES%s: %s", args, tagged)
		}
	}
	if _, tagged := p.do("UIDBATCHES 499"); !strings.HasPrefix(tagged, "NO [LIMIT]") {
		t.Errorf("small batches: %s", tagged)
	}
	p.must("SELECT Drafts")
	if got := p.must("UIDBATCHES 500"); !slices.ContainsFunc(got, func(l string) bool { return strings.HasSuffix(l, `")`) }) {
		t.Errorf("an empty mailbox: %q", got)
	}
}
