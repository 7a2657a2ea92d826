package files

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/migrate"
)

// isMaildir tells whether a directory is a Maildir.
func isMaildir(dir string) bool {
	cur, err := os.Stat(filepath.Join(dir, "cur"))
	if err != nil || !cur.IsDir() {
		return false
	}
	fresh, err := os.Stat(filepath.Join(dir, "new"))
	return err == nil && fresh.IsDir()
}

// maildirTree returns the folders of a Maildir: the directory itself is INBOX,
// ".A.B" in it (Maildir++) or "A/B" (Dovecot's LAYOUT=fs) the folder A/B.
func maildirTree(root string) ([]found, error) {
	subscribed, err := subscriptions(root)
	if err != nil {
		return nil, err
	}
	var boxes []found
	add := func(name, dir string) error {
		b := &maildir{dir: dir}
		f := folder(name, dir)
		f.Subscribed = subscribed == nil || subscribed[f.Name]
		if f.State.UIDValidity, err = b.validity(); err != nil {
			return err
		}
		if f.State.Messages, err = b.count(); err != nil {
			return err
		}
		boxes = append(boxes, found{f, b})
		return nil
	}
	if err := add(mail.Inbox, root); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		switch name := e.Name(); {
		case !e.IsDir() || name == "cur" || name == "new" || name == "tmp":
		case strings.HasPrefix(name, ".") && isMaildir(dir):
			err = add(maildirName(name[1:], "."), dir)
		case !strings.HasPrefix(name, "."):
			err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() && isMaildir(path) {
					rel, _ := filepath.Rel(root, path) // path lies below root
					err = add(maildirName(filepath.ToSlash(rel), "/"), path)
				}
				return err
			})
		}
		if err != nil {
			return nil, err
		}
	}
	return boxes, nil
}

// maildirName turns a directory's name into a folder's: modified UTF-7, or
// UTF-8 where it is not that.
func maildirName(name, delimiter string) string {
	decoded, ok := imapwire.DecodeUTF7(name)
	if !ok {
		decoded = strings.ToValidUTF8(name, "_")
	}
	if delimiter == mail.Delimiter {
		return decoded
	}
	return strings.ReplaceAll(strings.ReplaceAll(decoded, mail.Delimiter, "_"), delimiter, mail.Delimiter)
}

// subscriptions reads Dovecot's or Courier's list of subscribed folders; nil
// where there is none.
func subscriptions(root string) (map[string]bool, error) {
	for _, file := range []string{"subscriptions", "courierimapsubscribed"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		delimiter, out := ".", map[string]bool{}
		for i, line := range strings.Split(strings.ReplaceAll(string(b), "\r", ""), "\n") {
			switch {
			case i == 0 && strings.HasPrefix(line, "V\t2"): // Dovecot 2.2.24 and later
				delimiter = "\t"
			case line != "":
				name := maildirName(strings.ReplaceAll(line, delimiter, "\x00"), "\x00")
				if rest, ok := strings.CutPrefix(name, "INBOX/"); ok && file != "subscriptions" {
					name = rest
				}
				if strings.EqualFold(name, mail.Inbox) {
					name = mail.Inbox
				}
				out[name] = true
			}
		}
		return out, nil
	}
	return nil, nil
}

// maildir is one Maildir directory.
type maildir struct {
	dir   string
	names map[string]string // path below dir by name without flags
}

// uidList is what dovecot-uidlist or courierimapuiddb say.
type uidList struct {
	validity mail.UIDValidity
	next     mail.UID
	uids     map[string]mail.UID // by file name without flags
}

// base returns a file's name without its flags, and the flags.
func base(name string) (base, flags string) {
	for _, sep := range []string{":2,", ";2,", "!2,"} { // the latter two on file systems of Windows
		if b, f, ok := strings.Cut(name, sep); ok {
			return b, f
		}
	}
	b, _, _ := strings.Cut(name, ":")
	return b, ""
}

// openUIDs opens the list of UIDs; nil where there is none.
func (m *maildir) openUIDs() (*os.File, error) {
	for _, file := range []string{"dovecot-uidlist", "courierimapuiddb"} {
		f, err := os.Open(filepath.Join(m.dir, file))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, nil
}

// validity reads the UIDVALIDITY; 0 where there are no UIDs.
func (m *maildir) validity() (mail.UIDValidity, error) {
	f, err := m.openUIDs()
	if f == nil {
		return 0, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && err != io.EOF {
		return 0, err
	}
	return parseUIDHeader(line).validity, nil
}

// parseUIDHeader reads the first line of a list: "3 V<validity> N<next> G<guid>"
// of Dovecot, "1 <validity> <next>" of Courier and old Dovecots.
func parseUIDHeader(line string) uidList {
	l := uidList{uids: map[string]mail.UID{}}
	for i, w := range strings.Fields(line) {
		if i == 0 {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimLeft(w, "VN"), 10, 32)
		if err != nil {
			continue
		}
		switch {
		case w[0] == 'V', i == 1 && w[0] != 'N':
			l.validity = mail.UIDValidity(n)
		case w[0] == 'N', i == 2:
			l.next = mail.UID(n)
		}
	}
	return l
}

// uids reads the whole list.
func (m *maildir) uids() (uidList, error) {
	f, err := m.openUIDs()
	if f == nil {
		return uidList{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return uidList{}, lines.Err()
	}
	l := parseUIDHeader(lines.Text())
	for lines.Scan() {
		number, rest, _ := strings.Cut(lines.Text(), " ")
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		name := rest
		if i := strings.IndexByte(rest, ':'); i >= 0 && (i == 0 || rest[i-1] == ' ') {
			name = rest[i+1:] // behind Dovecot's extension fields
		}
		b, _ := base(name)
		l.uids[b] = mail.UID(uid)
		l.next = max(l.next, mail.UID(uid)+1)
	}
	return l, lines.Err()
}

// count returns the number of messages.
func (m *maildir) count() (int, error) {
	files, err := m.files()
	return len(files), err
}

// files lists cur and new.
func (m *maildir) files() ([]string, error) {
	var out []string
	for _, sub := range []string{"cur", "new"} {
		d, err := os.Open(filepath.Join(m.dir, sub))
		if err != nil {
			return nil, err
		}
		names, err := d.Readdirnames(-1)
		d.Close()
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if n[0] != '.' {
				out = append(out, filepath.Join(sub, n))
			}
		}
	}
	return out, nil
}

// scan implements box.
func (m *maildir) scan() (migrate.State, []migrate.Item, error) {
	state := migrate.State{Bytes: -1}
	list, err := m.uids()
	if err != nil {
		return state, nil, fmt.Errorf("reading the UIDs of %s: %w", m.dir, err)
	}
	words, err := m.keywords()
	if err != nil {
		return state, nil, err
	}
	files, err := m.files()
	if err != nil {
		return state, nil, err
	}
	m.names = make(map[string]string, len(files))
	items := make([]migrate.Item, 0, len(files))
	for _, file := range files {
		it, ok, err := m.item(file, words)
		if err != nil {
			return state, nil, err
		}
		if _, twice := m.names[it.Key]; !ok || twice {
			continue
		}
		m.names[it.Key] = file
		it.UID = list.uids[it.Key]
		items = append(items, it)
	}
	slices.SortFunc(items, byUIDAndTime)
	if list.validity != 0 {
		numberNew(items, &list.next)
	}
	state.UIDValidity, state.UIDNext, state.Messages = list.validity, list.next, len(items)
	return state, items, nil
}

// numberNew gives the items that no server has seen yet the UIDs that the next
// one would give them.
func numberNew(items []migrate.Item, next *mail.UID) {
	for i := range items {
		if items[i].UID == 0 {
			items[i].UID = *next
			*next++
		}
	}
}

// byUIDAndTime orders by UID, those without behind by time and name.
func byUIDAndTime(x, y migrate.Item) int {
	switch {
	case x.UID != 0 && y.UID != 0:
		return cmp.Compare(x.UID, y.UID)
	case (x.UID == 0) != (y.UID == 0):
		return cmp.Compare(y.UID, x.UID)
	}
	return cmp.Or(cmp.Compare(x.Date.Unix, y.Date.Unix), strings.Compare(x.Key, y.Key))
}

// item describes one file; false where it is none or has just gone.
func (m *maildir) item(file string, words keywords) (migrate.Item, bool, error) {
	info, err := os.Stat(filepath.Join(m.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return migrate.Item{}, false, nil // renamed meanwhile: the next pass sees it
	}
	if err != nil || !info.Mode().IsRegular() {
		return migrate.Item{}, false, err
	}
	name := filepath.Base(file)
	b, letters := base(name)
	it := migrate.Item{Key: b, Size: info.Size(), Date: mail.DateOf(info.ModTime())}
	if letters, _, _ = strings.Cut(letters, ","); filepath.Dir(file) == "new" {
		letters = ""
	}
	set := append([]string(nil), words.files[b]...)
	for _, c := range letters {
		switch {
		case c == 'P':
			set = append(set, "$Forwarded")
		case c >= 'a' && c <= 'z':
			if w := words.letters[c-'a']; w != "" {
				set = append(set, w)
			}
		default:
			it.Flags |= maildirFlag(c)
		}
	}
	it.Keywords = mail.NewKeywords(set...)
	return it, true, nil
}

// maildirFlag returns the flag of a letter.
func maildirFlag(c rune) mail.Flags {
	switch c {
	case 'D':
		return mail.Draft
	case 'F':
		return mail.Flagged
	case 'R':
		return mail.Answered
	case 'S':
		return mail.Seen
	case 'T':
		return mail.Deleted
	}
	return 0
}

// keywords are the keywords of a Maildir: by letter of a file's name (Dovecot),
// and by file (Courier).
type keywords struct {
	letters [26]string
	files   map[string][]string
}

// keywords reads dovecot-keywords ("0 $Forwarded") and Courier's
// courierimapkeywords/:list (the words, an empty line, "file:0 2").
func (m *maildir) keywords() (keywords, error) {
	var k keywords
	b, err := os.ReadFile(filepath.Join(m.dir, "dovecot-keywords"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		number, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(k.letters) && isAtom(word) {
			k.letters[n] = word
		}
	}
	b, err = os.ReadFile(filepath.Join(m.dir, "courierimapkeywords", ":list"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		return k, err
	}
	list, uses, _ := bytes.Cut(b, []byte("\n\n"))
	words := strings.Split(string(list), "\n")
	k.files = map[string][]string{}
	for line := range strings.SplitSeq(string(uses), "\n") {
		file, numbers, _ := strings.Cut(line, ":")
		for number := range strings.FieldsSeq(numbers) {
			if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(words) && isAtom(words[n]) {
				k.files[file] = append(k.files[file], words[n])
			}
		}
	}
	return k, nil
}

// isAtom tells whether a keyword can be one in IMAP.
func isAtom(w string) bool {
	return w != "" && !strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) })
}

// open implements box. A file that was renamed since the scan, because its
// flags changed, is looked for again.
func (m *maildir) open(it migrate.Item) (io.ReadCloser, error) {
	if name, ok := m.names[it.Key]; ok {
		f, err := os.Open(filepath.Join(m.dir, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	files, err := m.files()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if b, _ := base(filepath.Base(file)); b == it.Key {
			return os.Open(filepath.Join(m.dir, file))
		}
	}
	return nil, fmt.Errorf("message %s of %s: %w", it.Key, m.dir, fs.ErrNotExist)
}

// MaildirState returns the UIDVALIDITY, UIDNEXT and number of messages of one
// Maildir directory, and the UIDs that its list has by file name without flags,
// also those of files that are not there.
func MaildirState(dir string) (migrate.State, map[string]mail.UID, error) {
	m := &maildir{dir: dir}
	list, err := m.uids()
	if err != nil {
		return migrate.State{}, nil, fmt.Errorf("reading the UIDs of %s: %w", dir, err)
	}
	n, err := m.count()
	return migrate.State{UIDValidity: list.validity, UIDNext: list.next, Messages: n, Bytes: -1}, list.uids, err
}
