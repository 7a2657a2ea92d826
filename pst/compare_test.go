package pst_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"expost/mapi"
	"expost/mapi/codepage"
	"expost/pst"
)

// holding is what somebody found in a file: each with its number.
type holding struct {
	folders, subjects, bodies, attachments map[string]int

	classes map[string]string // of ours: the class of an item with a subject or text
}

func newHolding() *holding {
	return &holding{map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]string{}}
}

// squeeze leaves out what does not show.
func squeeze(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0xA0 || r == 0xFEFF || r == 0x200B }), " ")
}

func hash(b []byte) string { return fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))[:40] }

// ourHolding reads a file with this package.
func ourHolding(t *testing.T, name string) *holding {
	t.Helper()
	f, err := open(fixture(t, name), pst.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := newHolding()
	for d, err := range f.Folders() {
		if err != nil {
			t.Fatal(err)
		}
		if d.Name() != "" {
			w.folders[d.Name()]++
		}
		for m, err := range d.Messages() {
			if err != nil {
				t.Fatal(err)
			}
			w.message(t, m)
		}
	}
	return w
}

func (w *holding) message(t *testing.T, m mapi.Message) {
	t.Helper()
	cp := mapi.Codepage(m, 0)
	subject, _, _ := mapi.Text(m, 0x0037, cp)
	if r := []rune(subject); len(r) > 1 && r[0] == 1 {
		subject = string(r[2:])
	}
	class, _, _ := mapi.Text(m, 0x001A, cp)
	if subject = squeeze(subject); subject != "" {
		w.subjects[subject]++
		w.classes[subject] = class
	}
	if body, _, _ := mapi.Text(m, 0x1000, cp); squeeze(body) != "" {
		w.bodies[squeeze(body)]++
		w.classes[squeeze(body)] = class
	}
	for a, err := range m.Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		inner, ok, err := a.Message()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			w.message(t, inner)
			continue
		}
		if b, _, _ := a.Value(mapi.NewTag(0x3701, mapi.TypeBinary)); b != nil {
			w.attachments[hash(b.([]byte))]++
		} else if s, err := a.Open(mapi.NewTag(0x3701, mapi.TypeObject)); err == nil {
			b, err := io.ReadAll(s)
			if err != nil {
				t.Error(err)
			}
			w.attachments[hash(b)]++
		}
	}
}

// readpstFound reads the mails that readpst writes; other items are files of
// other formats, which are counted elsewhere.
func readpstFound(t *testing.T, path string) *holding {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "readpst", "-q", "-D", "-e", "-j", "0", "-o", dir, path).CombinedOutput(); err != nil {
		t.Fatalf("readpst: %v\n%s", err, out)
	}
	w := newHolding()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(p) != ".eml" {
			return err
		}
		b, err := os.ReadFile(p)
		if err == nil {
			w.mail(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *holding) mail(b []byte) {
	m, err := netmail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		return
	}
	dec := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		b, err := io.ReadAll(r)
		return strings.NewReader(codepage.Decode(codepage.ByCharset(charset), b)), err
	}}
	subject, err := dec.DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		subject = m.Header.Get("Subject")
	}
	if subject = squeeze(subject); subject != "" {
		w.subjects[subject]++
	}
	w.part(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Header.Get("Content-Disposition"), m.Body)
}

func (w *holding) part(header, transfer, disposition string, r io.Reader) {
	kind, params, err := mime.ParseMediaType(header)
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") {
		for parts := multipart.NewReader(r, params["boundary"]); ; {
			p, err := parts.NextRawPart()
			if err != nil {
				return
			}
			w.part(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p.Header.Get("Content-Disposition"), p)
		}
	}
	switch strings.ToLower(transfer) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	}
	b, _ := io.ReadAll(r)
	switch {
	case kind == "message/rfc822":
		w.mail(b)
	case strings.Contains(disposition, "rtf-body.rtf"): // the text, which readpst does not read
	case strings.HasPrefix(disposition, "attachment") || params["name"] != "":
		w.attachments[hash(b)]++
	case kind == "text/plain":
		if s := squeeze(codepage.Decode(codepage.ByCharset(params["charset"]), b)); s != "" {
			w.bodies[s]++
		}
	}
}

// pffFound reads what pffexport writes.
func pffFound(t *testing.T, path string) *holding {
	t.Helper()
	target := filepath.Join(t.TempDir(), "out")
	if out, err := exec.CommandContext(t.Context(), "pffexport", "-q", "-m", "items", "-t", target, path).CombinedOutput(); err != nil {
		t.Fatalf("pffexport: %v\n%s", err, out)
	}
	w := newHolding()
	err := filepath.WalkDir(target+".export", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		above := filepath.Base(filepath.Dir(p))
		if e.IsDir() {
			if p != target+".export" && e.Name() != "Attachments" && !itemDir.MatchString(e.Name()) {
				w.folders[e.Name()]++
			}
			return nil
		}
		b, err := os.ReadFile(p)
		switch {
		case err != nil:
		case above == "Attachments":
			w.attachments[hash(b)]++
		case e.Name() == "Message.txt":
			if s := squeeze(string(b)); s != "" {
				w.bodies[s]++
			}
		case e.Name() == "Recipients.txt" || e.Name() == "InternetHeaders.txt":
		default:
			for line := range strings.Lines(string(b)) {
				if s, ok := strings.CutPrefix(line, "Subject:"); ok && squeeze(s) != "" {
					w.subjects[squeeze(s)]++
					break
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// lacking lists what is in have more often than in other.
func lacking(have, other map[string]int) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(have)) {
		for range have[k] - other[k] {
			out = append(out, k)
		}
	}
	return out
}

// usual tells differences that all files have, and why; docs/pst.md says the same.
func (w *holding) usual(peer, what, k string, ours bool) bool {
	class := strings.ToUpper(w.classes[k])
	isMail := strings.HasPrefix(class, "IPM.NOTE") || strings.HasPrefix(class, "REPORT") || strings.HasPrefix(class, "IPM.SCHEDULE")
	switch {
	case ours && class == "IPM.MICROSOFT.SCHEDULEDATA.FREEBUSY":
		return true // both drop it
	case ours && peer == "readpst" && !isMail && what != "attachment":
		return true // it writes .vcf and .ics files of these, or nothing
	case ours && peer == "pffexport" && what == "text" && strings.HasPrefix(class, "IPM.APPOINTMENT"):
		return true // it does not write the text of appointments
	case !ours && peer == "pffexport" && what == "folder":
		return isTop(k) || isSearch(k)
	}
	return false
}

// isTop tells whether a folder is the top that users see, which has no name in a
// path of ours.
func isTop(name string) bool {
	return slices.Contains([]string{"Top of Personal Folders", "Top of Outlook data file", "IPM_SUBTREE", "Début du fichier de données Outlook", "Outlook データ ファイルのトップ"}, name)
}

// isSearch tells whether a folder is a search, which holds what other folders hold.
func isSearch(name string) bool {
	return slices.Contains([]string{"SPAM Search Folder 2", "ItemProcSearch", "Reminders", "To-Do Search", "All Messages", "Tracked Mail Processing"}, name) ||
		strings.HasPrefix(name, "MS-OLK-")
}

// TestPeersContent compares what this package, readpst and pffexport find in
// each sample: folders, subjects, texts and attachments.
func TestPeersContent(t *testing.T) {
	t.Parallel()
	needs(t, "readpst")
	needs(t, "pffexport")
	for _, path := range fixtures(t) {
		name := filepath.Base(path)
		if _, bad := damagedFixtures[name]; bad {
			continue // both refuse it
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ourHolding(t, name)
			w.compare(t, name, "readpst", readpstFound(t, path))
			w.compare(t, name, "pffexport", pffFound(t, path))
		})
	}
}

// compare reports differences that nothing explains.
func (w *holding) compare(t *testing.T, name, peer string, theirs *holding) {
	t.Helper()
	for _, x := range []struct {
		what         string
		ours, theirs map[string]int
	}{{"folder", w.folders, theirs.folders}, {"subject", w.subjects, theirs.subjects}, {"text", w.bodies, theirs.bodies}, {"attachment", w.attachments, theirs.attachments}} {
		if x.what == "folder" && peer == "readpst" {
			continue // it writes only those that hold something
		}
		only := func(who string, list []string, ours bool) {
			list = slices.DeleteFunc(list, func(k string) bool { return w.usual(peer, x.what, k, ours) })
			if e := explained[strings.Join([]string{name, peer, x.what, who}, " ")]; len(list) != e.n {
				t.Errorf("%d times a %s that only %s has, explained are %d (%s): %.80q", len(list), x.what, who, e.n, e.why, list)
			}
		}
		only("we", lacking(x.ours, x.theirs), true)
		only("it", lacking(x.theirs, x.ours), false)
	}
}

// explained are the other differences, looked at one by one.
var explained = map[string]struct {
	n   int
	why string
}{
	"aspose-email__Test_part1.pst pffexport folder we":        {2, "pffexport loses a second folder of the same name, and the one below it"},
	"aspose-email__Test_part1.pst pffexport subject we":       {12, "pffexport cannot read the properties of 12 contacts"},
	"aspose-email__SampleOstFile.ost readpst text it":         {1, "readpst takes the text of a delivery report for its body; we have it too, as PidTagReportText, and put it in the mail"},
	"aspose-email__SampleOstFile.ost readpst attachment we":   {8, "readpst drops six OLE objects, and the attachments of an appointment and a meeting request"},
	"aspose-email__SampleOstFile.ost readpst attachment it":   {6, "readpst makes a calendar file of each meeting request"},
	"aspose-email__SampleOstFile.ost pffexport folder we":     {1, "pffexport replaces ~ in the name of a folder"},
	"aspose-email__SampleOstFile.ost pffexport folder it":     {1, "pffexport replaces ~ in the name of a folder"},
	"aspose-email__SampleOstFile.ost pffexport subject it":    {1, "pffexport writes the subject of the transport's header, encoded, of a message that has another subject"},
	"aspose-email__SampleOstFile.ost pffexport attachment we": {2, "pffexport drops the attachments of an appointment and a meeting request"},

	"HiraokaHyperTools__nonUnicodeCP932.pst readpst subject we":   {1, "the file is in Shift-JIS, which readpst says is UTF-8"},
	"HiraokaHyperTools__nonUnicodeCP932.pst readpst subject it":   {1, "the file is in Shift-JIS, which readpst says is UTF-8"},
	"HiraokaHyperTools__nonUnicodeCP932.pst readpst text we":      {1, "the file is in Shift-JIS, which readpst says is UTF-8"},
	"HiraokaHyperTools__nonUnicodeCP932.pst readpst text it":      {1, "the file is in Shift-JIS, which readpst says is UTF-8"},
	"HiraokaHyperTools__nonUnicodeCP932.pst pffexport folder we":  {2, "the file is in Shift-JIS, which pffexport takes for Windows-1252; names of folders are read here without a code page"},
	"HiraokaHyperTools__nonUnicodeCP932.pst pffexport folder it":  {3, "as before, and the top"},
	"HiraokaHyperTools__nonUnicodeCP932.pst pffexport subject we": {1, "the file is in Shift-JIS, which pffexport takes for Windows-1252"},
	"HiraokaHyperTools__nonUnicodeCP932.pst pffexport subject it": {1, "the file is in Shift-JIS, which pffexport takes for Windows-1252"},
	"HiraokaHyperTools__nonUnicodeCP932.pst pffexport text we":    {1, "the file is in Shift-JIS, which pffexport takes for Windows-1252"},
	"HiraokaHyperTools__nonUnicodeCP932.pst pffexport text it":    {1, "the file is in Shift-JIS, which pffexport takes for Windows-1252"},
}
