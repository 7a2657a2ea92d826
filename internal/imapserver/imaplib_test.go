package imapserver_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"expost/internal/peertest"
)

// imaplibScript does what scripts of administrators do with Python's imaplib.
const imaplibScript = `
import imaplib, sys, time
M = imaplib.IMAP4(sys.argv[1], int(sys.argv[2]))
assert "IMAP4REV1" in M.capabilities, M.capabilities
M.login("ajay", "secret")
def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]
ok(M.create('"Python box"'))
ok(M.subscribe('"Python box"'))
for n in range(3):
    ok(M.append('"Python box"', r"(\Seen)" if n else "", imaplib.Time2Internaldate(time.time()), b"Subject: %d\r\n\r\nbody\r\n" % n))
assert ok(M.select('"Python box"')) == [b"3"]
assert ok(M.search(None, "UNSEEN")) == [b"1"], "search"
assert ok(M.search("UTF-8", "SUBJECT", '"2"')) == [b"3"], "search in UTF-8"
data = ok(M.fetch("1:*", "(UID FLAGS RFC822)"))
assert [d[1] for d in data if isinstance(d, tuple)] == [b"Subject: %d\r\n\r\nbody\r\n" % n for n in range(3)], data
assert ok(M.uid("STORE", "1", "+FLAGS", r"(\Deleted)"))
ok(M.expunge())
assert ok(M.sort("(REVERSE ARRIVAL)", "UTF-8", "ALL"))
assert ok(M.thread("REFERENCES", "UTF-8", "ALL"))
ok(M.copy("1", "Archive"))
assert ok(M.status('"Python box"', "(MESSAGES UIDNEXT)")) == [b'"Python box" (MESSAGES 2 UIDNEXT 4)'], "status"
assert len(ok(M.list())) == 7 and ok(M.lsub()), "list"
ok(M.getquotaroot("INBOX"))
ok(M.namespace())
assert ok(M.getacl("INBOX")) == [b"INBOX ajay@example.org lrswipkxtecda"], "getacl"
ok(M.noop())
ok(M.close())
ok(M.enable("UTF8=ACCEPT"))
ok(M.append("INBOX", "", None, "Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n".encode()))
ok(M.delete('"Python box"'))
assert M.logout()[0] == "BYE"
print("done")
`

// TestImaplib lets Python's own library use most of its commands.
func TestImaplib(t *testing.T) {
	t.Parallel()
	python := "/usr/bin/python3" // Debian's, which offlineimap brings
	if _, err := os.Stat(python); err != nil {
		python = peertest.Lookup(t, "python3")
	}
	s := newSite(t, nil)
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", imaplibScript, host, port).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("%v\n%s", err, out)
	}
}
