package files

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// tree writes files; a name that ends with a slash is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "mail")
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		dir := path
		if !strings.HasSuffix(name, "/") {
			dir = filepath.Dir(path)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == path {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_000_000_000+int64(len(name)), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// open returns the folders of a path by name, and their items.
func open(t *testing.T, path string) (map[string]migrate.Folder, map[string][]migrate.Item) {
	t.Helper()
	a, err := New("", slog.New(slog.DiscardHandler)).Open(t.Context(), migrate.User{Source: path})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	list, err := a.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	folders, items := map[string]migrate.Folder{}, map[string][]migrate.Item{}
	for _, f := range list {
		folders[f.Name] = f
		_, err := a.Scan(t.Context(), f, migrate.State{}, func(batch []migrate.Item) error {
			items[f.Name] = append(items[f.Name], batch...)
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	return folders, items
}

func TestCourier(t *testing.T) {
	t.Parallel()
	folders, items := open(t, tree(t, map[string]string{
		"cur/1000000000.M1P1.host:2,RS": "Subject: a\n\n", "new/1000000001.M2P1.host": "Subject: b\n\n", "tmp/half": "x",
		"courierimapuiddb":                        "1 1051790400 20\n17 1000000000.M1P1.host\n",
		"courierimapkeywords/:list":               "$Forwarded\nProject\n\n1000000000.M1P1.host:0 1\n",
		"courierimapsubscribed":                   "INBOX\nINBOX.Sent.2003\n",
		".Sent.2003/cur/1000000002.M3P1.host:2,S": "Subject: c\n\n",
		".Sent.2003/new/":                         "",
		".Gel&APY-scht/cur/":                      "", ".Gel&APY-scht/new/": "", ".notmail/": "",
	}))
	if len(folders) != 3 || !folders["INBOX"].Subscribed || !folders["Sent/2003"].Subscribed || folders["Gelöscht"].Subscribed {
		t.Errorf("folders are %v", folders)
	}
	in := items["INBOX"]
	if len(in) != 2 || in[0].UID != 17 || in[1].UID != 20 || folders["INBOX"].State.UIDValidity != 1051790400 {
		t.Fatalf("INBOX is %+v %+v", folders["INBOX"], in)
	}
	if in[0].Flags != mail.Seen|mail.Answered || in[0].Keywords.String() != "$Forwarded Project" || in[1].Flags != 0 {
		t.Errorf("flags are %s (%s), %s", in[0].Flags, in[0].Keywords, in[1].Flags)
	}
	if s := items["Sent/2003"]; len(s) != 1 || s[0].UID != 0 {
		t.Errorf("without a list of UIDs: %+v", s)
	}
}

func TestDovecotLists(t *testing.T) {
	t.Parallel()
	folders, items := open(t, tree(t, map[string]string{
		"cur/1.a,S=12:2,FPab": "Subject: a\n\n", "cur/2.b:2,": "Subject: b\n\n", "new/": "",
		"dovecot-uidlist":  "3 V7 N9 Gabc\n3 W12 S12 :1.a,S=12\n8 :2.b\n",
		"dovecot-keywords": "0 first\n1 not)atom\n",
		"subscriptions":    "V\t2\n\nINBOX\nA\tB.c\n",
		"Sub/A/cur/":       "", "Sub/A/new/": "",
	}))
	in := items["INBOX"]
	if len(in) != 2 || in[0].UID != 3 || in[1].UID != 8 || in[0].Flags != mail.Flagged || in[0].Keywords.String() != "$Forwarded first" {
		t.Errorf("INBOX is %+v", in)
	}
	if f, ok := folders["Sub/A"]; !ok || f.Subscribed {
		t.Errorf("folders are %v", folders)
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	const from = "From a@example.org Thu May  1 12:00:00 2003\n"
	folders, items := open(t, tree(t, map[string]string{
		"Inbox": from + "Subject: a\n\n", "Inbox.msf": "// <!-- <mdb:mork:z", "Inbox.sbd/Sub.sbd/Deep": from + "Subject: b\n\n", "Sent.mbox": from + "Subject: c\n\n",
		"Old/2.eml": "Date: Thu, 01 May 2003 12:00:00 +0530\nSubject: d\n\n", "Old/1.eml": "Received: by x; Fri, 2 May 2003 08:00:00 +0000\nX-Unsent: 1\n\n",
		"mh/10": "Subject: e\n\n", "mh/9": "Subject: f\n\n", "mh/notes.txt": "none", "Maildir/cur/1.x:2,S": "Subject: g\n\n", "Maildir/new/": "",
	}))
	for name, n := range map[string]int{"INBOX": 1, "Inbox/Sub/Deep": 1, "Sent": 1, "Old": 2, "mh": 2, "Maildir": 1} {
		if len(items[name]) != n {
			t.Errorf("%s has %d messages, want %d (folders are %v)", name, len(items[name]), n, folders)
		}
	}
	if len(folders) != 6 || folders["Sent"].Use != mail.UseSent {
		t.Errorf("folders are %v", folders)
	}
	old := items["Old"]
	if len(old) == 2 && (old[0].Key != "1.eml" || old[0].Flags&mail.Draft == 0 || old[0].Date.Unix != 1051862400 || old[1].Date.Offset != 330) {
		t.Errorf("Old is %+v", old)
	}
	if mh := items["mh"]; len(mh) == 2 && mh[0].Key != "9" {
		t.Errorf("mh is %+v", mh)
	}
}

func TestPathsThatAreNoMail(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"outlook.pst": "!BDN\x00\x00", "empty/": "", "notes.txt": "hello"})
	for path, want := range map[string]string{
		"outlook.pst": "PST", "empty": "no mail", "notes.txt": "no mail", "missing": "there is no",
	} {
		_, err := New(root, slog.New(slog.DiscardHandler)).Open(context.Background(), migrate.User{Source: path})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something with %q", path, err, want)
		}
	}
}

func TestRenamedWhileReading(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"cur/1.a:2,": "Subject: a\n\n", "new/": ""})
	m := &maildir{dir: root}
	_, items, err := m.scan()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "cur/1.a:2,"), filepath.Join(root, "cur/1.a:2,S")); err != nil {
		t.Fatal(err)
	}
	r, err := m.open(items[0])
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}
