package maildir

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/source/files"
)

const (
	uidFile     = "dovecot-uidlist"
	keywordFile = "dovecot-keywords"
	letters     = 26 // keywords that a file's name can show
	syncers     = 8  // files synced at once
)

// sorted returns the keys of a set in order.
func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// Prepare implements migrate.TargetAccount.
func (a *account) Prepare(_ context.Context, f migrate.Folder) (migrate.Folder, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	levels := strings.Split(f.Name, mail.Delimiter)
	for i := range levels {
		if name := strings.Join(levels[:i+1], mail.Delimiter); name != mail.Inbox {
			if err := a.make(a.dir(name)); err != nil {
				return migrate.Folder{}, err
			}
		}
	}
	if err := a.subscribe(f.Name, f.Subscribed); err != nil {
		return migrate.Folder{}, err
	}
	s, err := a.state(f.Name)
	if err != nil {
		return migrate.Folder{}, err
	}
	validity := f.State.UIDValidity
	if s.Messages > 0 && s.UIDValidity != 0 {
		validity = s.UIDValidity
	}
	if validity == 0 {
		validity = mail.UIDValidity(time.Now().Unix())
	}
	next := max(s.UIDNext, f.State.UIDNext)
	if validity != s.UIDValidity && s.Messages == 0 {
		next = max(1, f.State.UIDNext)
	}
	if validity != s.UIDValidity || next > s.UIDNext {
		if err := a.writeUIDs(f.Name, validity, next); err != nil {
			return migrate.Folder{}, err
		}
		s.UIDValidity, s.UIDNext = validity, next
	}
	out := f
	out.Key, out.State = f.Name, s
	return out, nil
}

// Renew implements migrate.Renewer.
func (a *account) Renew(_ context.Context, name string, v mail.UIDValidity) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, err := a.state(name)
	if err != nil {
		return err
	}
	return a.writeUIDs(name, v, s.UIDNext)
}

// writeUIDs makes dovecot-uidlist anew, of the messages that are there.
func (a *account) writeUIDs(name string, validity mail.UIDValidity, next mail.UID) error {
	dir := a.dir(name)
	_, uids, err := files.MaildirState(dir)
	if err != nil {
		return err
	}
	there, err := present(dir)
	if err != nil {
		return err
	}
	type entry struct {
		uid  mail.UID
		base string
	}
	var list []entry
	for base := range there {
		list = append(list, entry{uids[base], base})
	}
	slices.SortFunc(list, func(x, y entry) int {
		if (x.uid == 0) != (y.uid == 0) { // what has none comes last
			return cmp.Compare(y.uid, x.uid)
		}
		return cmp.Or(cmp.Compare(x.uid, y.uid), cmp.Compare(x.base, y.base))
	})
	last := mail.UID(0)
	for i := range list {
		if list[i].uid <= last {
			list[i].uid = last + 1
		}
		last = list[i].uid
	}
	var b bytes.Buffer
	guid := make([]byte, 16)
	rand.Read(guid)
	fmt.Fprintf(&b, "3 V%d N%d G%x\n", validity, max(next, last+1), guid)
	for _, e := range list {
		fmt.Fprintf(&b, "%d :%s\n", e.uid, e.base)
	}
	a.dirty[name] = true
	return a.write(filepath.Join(dir, uidFile), b.Bytes())
}

// writeCourier makes the files that Courier reads, from those of Dovecot, line by
// line: a folder of any size takes the same memory. Lines without files mean
// nothing to Courier, and files without lines get their UIDs from it.
func (a *account) writeCourier(name string) error {
	dir := a.dir(name)
	s, err := a.state(name)
	if err != nil {
		return err
	}
	err = a.writeWith(filepath.Join(dir, "courierimapuiddb"), func(w *bufio.Writer) error {
		fmt.Fprintf(w, "1 %d %d\n", s.UIDValidity, s.UIDNext)
		return eachUID(dir, func(uid, base []byte) {
			w.Write(uid)
			w.WriteByte(' ')
			w.Write(base)
			w.WriteByte('\n') // an error of any of these stays until Flush
		})
	})
	if err != nil {
		return err
	}
	words, err := readKeywords(dir)
	if err != nil || len(words) == 0 {
		return err
	}
	kw := filepath.Join(dir, "courierimapkeywords")
	if err := os.Mkdir(kw, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := a.own(kw); err != nil {
		return err
	}
	return a.writeWith(filepath.Join(kw, ":list"), func(w *bufio.Writer) error {
		fmt.Fprintf(w, "%s\n\n", strings.Join(words, "\n"))
		return eachFile(dir, func(_, name string) {
			base, flags, _ := strings.Cut(name, ":2,")
			sep := ":"
			for i := range words {
				if strings.ContainsRune(flags, 'a'+rune(i)) {
					if sep == ":" {
						w.WriteString(base)
					}
					w.WriteString(sep + strconv.Itoa(i))
					sep = " "
				}
			}
			if sep == " " {
				w.WriteByte('\n')
			}
		})
	})
}

// eachUID calls fn with the messages of dovecot-uidlist, in its order.
func eachUID(dir string, fn func(uid, base []byte)) error {
	f, err := os.Open(filepath.Join(dir, uidFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan() // the header
	for lines.Scan() {
		head, base, ok := bytes.Cut(lines.Bytes(), []byte(" :"))
		uid, _, _ := bytes.Cut(head, []byte(" "))
		if ok && len(uid) > 0 {
			base, _, _ = bytes.Cut(base, []byte(":"))
			fn(uid, base)
		}
	}
	return lines.Err()
}

// readKeywords returns the words of the letters a, b, …
func readKeywords(dir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, keywordFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	words := make([]string, 0, letters)
	for line := range strings.Lines(string(b)) {
		number, word, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, nerr := strconv.Atoi(number)
		if !ok || nerr != nil || n < 0 || n >= letters {
			continue
		}
		for len(words) <= n {
			words = append(words, "")
		}
		words[n] = word
	}
	return words, err
}

// flagLetters returns what a file's name shows of flags and keywords, making
// letters for new keywords. Beyond 26 they cannot be shown.
func (a *account) flagLetters(words *[]string, f mail.Flags, k mail.Keywords) string {
	var out []byte
	for _, l := range []struct {
		letter byte
		flag   mail.Flags
	}{{'D', mail.Draft}, {'F', mail.Flagged}, {'R', mail.Answered}, {'S', mail.Seen}, {'T', mail.Deleted}} {
		if f&l.flag != 0 {
			out = append(out, l.letter)
		}
	}
	for word := range strings.FieldsSeq(k.String()) {
		i := slices.IndexFunc(*words, func(w string) bool { return strings.EqualFold(w, word) })
		if i < 0 && len(*words) < letters {
			i = len(*words)
			*words = append(*words, word)
		}
		if i < 0 {
			a.target.cfg.Log.Warn("a keyword was left out: a Maildir can hold 26 in a folder", "maildir", a.root, "keyword", word)
			continue
		}
		out = append(out, 'a'+byte(i))
	}
	slices.Sort(out)
	return string(out)
}

// saveKeywords writes the words where there are new ones.
func (a *account) saveKeywords(dir string, before int, words []string) error {
	if len(words) == before {
		return nil
	}
	var b bytes.Buffer
	for i, w := range words {
		fmt.Fprintf(&b, "%d %s\n", i, w)
	}
	return a.write(filepath.Join(dir, keywordFile), b.Bytes())
}

// Append implements migrate.TargetAccount.
func (a *account) Append(ctx context.Context, folder string, msgs []migrate.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir := a.dir(folder)
	s, err := a.state(folder)
	if err != nil {
		return err
	}
	if len(msgs) > 0 && msgs[0].UID < s.UIDNext {
		return mail.Errorf(mail.KindConflict, "UID %d is taken: the next one is %d", msgs[0].UID, s.UIDNext)
	}
	words, err := readKeywords(dir)
	if err != nil {
		return err
	}
	before := len(words)
	links, err := a.links(msgs)
	if err != nil {
		return err
	}
	if err := a.mendList(folder, msgs); err != nil {
		return err
	}
	files, flags := make([]written, len(msgs)), make([]string, len(msgs))
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(syncers)
	for i := range msgs {
		flags[i] = a.flagLetters(&words, msgs[i].Flags, msgs[i].Keywords)
		group.Go(func() (err error) {
			if from := links[i]; from != "" {
				files[i], err = a.linkMessage(dir, &msgs[i], from)
			} else {
				files[i], err = a.writeMessage(dir, &msgs[i], len(msgs) < manyFiles)
			}
			return err
		})
	}
	err = group.Wait()
	if err == nil && len(msgs) >= manyFiles {
		err = syncFiles(dir)
	}
	if err := errors.Join(err, a.saveKeywords(dir, before, words)); err != nil {
		for _, f := range files {
			if f.path != "" {
				os.Remove(f.path) // a file that stays is removed by whoever cleans tmp
			}
		}
		return mail.WrapError(diskKind(err), err, "writing messages")
	}
	if err := a.enter(folder, files, msgs); err != nil {
		return err
	}
	for i, f := range files {
		if err := unix.Rename(f.path, filepath.Join(dir, "cur", f.name+":2,"+flags[i])); err != nil {
			return mail.WrapError(diskKind(err), err, "moving a message into the Maildir")
		}
	}
	if n := len(msgs); n > 0 {
		s.UIDNext, s.Messages = msgs[n-1].UID+1, s.Messages+n
		a.remember(folder, dir, s)
		a.ends[folder] = s.UIDNext - 1
	}
	return syncDir(filepath.Join(dir, "cur"))
}

// manyFiles is the number of files from which on one sync of the file system
// takes less than a sync of each.
const manyFiles = 64

// syncFiles makes all that was written to the file system of dir durable.
func syncFiles(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// diskKind is the kind of an error of the file system. Nothing is gained by trying
// again at once where it is full.
func diskKind(err error) mail.Kind {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return mail.KindQuota
	}
	return mail.KindUnavailable
}

// written is a message in tmp, the name without flags that it gets in cur, and its
// size there.
type written struct {
	path, name string
	size       int64
}

// writeMessage writes a message into tmp, on disk when it returns where synced
// is set.
func (a *account) writeMessage(dir string, m *migrate.Message, synced bool) (written, error) {
	body, ok := m.Body.(*migrate.Bytes)
	if !ok {
		return written{}, errors.New("the message was made ready for another target")
	}
	r, err := body.Open()
	if err != nil {
		return written{}, err
	}
	name, date := a.fileName(m)
	path := filepath.Join(dir, "tmp", name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return written{}, err
	}
	w, _ := a.buffers.Get().(*bufio.Writer)
	if w == nil {
		w = bufio.NewWriterSize(nil, 64<<10)
	}
	w.Reset(f)
	out := &lfWriter{w: w}
	_, err = io.Copy(out, r)
	err = errors.Join(err, out.end())
	a.buffers.Put(w)
	if synced && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), a.own(path)); err == nil {
		err = os.Chtimes(path, date, date)
	}
	if err != nil {
		os.Remove(path)
		return written{}, err
	}
	return written{path, fmt.Sprintf("%s,S=%d,W=%d", name, out.size, out.crlf), out.size}, nil
}

// fileName returns a new name for a message's file, and its time.
func (a *account) fileName(m *migrate.Message) (string, time.Time) {
	date := m.Date.Time()
	if m.Date == (mail.Date{}) {
		date = time.Now()
	}
	return fmt.Sprintf("%d.M%dP%dR%s.%s", max(date.Unix(), 0), m.UID, os.Getpid(), rand.Text()[:10], a.target.host), date
}

// lfWriter turns CRLF into LF, and counts.
type lfWriter struct {
	w    *bufio.Writer
	cr   bool  // the last byte was a CR that is not written yet
	size int64 // bytes written
	crlf int64 // bytes with CRLF line ends
}

// Write implements io.Writer.
func (l *lfWriter) Write(p []byte) (int, error) {
	n := len(p)
	if l.cr && n > 0 {
		if l.cr = false; p[0] != '\n' {
			l.put([]byte{'\r'})
		}
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			l.put(p)
			break
		}
		l.put(p[:i])
		switch p = p[i+1:]; {
		case len(p) == 0:
			l.cr = true
		case p[0] != '\n':
			l.put([]byte{'\r'})
		}
	}
	return n, nil
}

func (l *lfWriter) put(p []byte) {
	l.w.Write(p) // an error stays until Flush
	l.size += int64(len(p))
	l.crlf += int64(len(p) + bytes.Count(p, []byte{'\n'}))
}

// end writes what is left.
func (l *lfWriter) end() error {
	if l.cr {
		l.put([]byte{'\r'})
	}
	return l.w.Flush()
}

// mendList makes a folder's list anew where the last append did not come to its
// end: its lines stand there, maybe the last one in part, and have the UIDs of
// messages that are to be appended now.
func (a *account) mendList(folder string, msgs []migrate.Message) error {
	if _, sound := a.ends[folder]; sound || len(msgs) == 0 {
		return nil
	}
	end, torn, err := listEnd(a.dir(folder))
	if err != nil {
		return err
	}
	if torn || end >= msgs[0].UID {
		s, err := a.state(folder)
		if err != nil {
			return err
		}
		if err := a.writeUIDs(folder, s.UIDValidity, s.UIDNext); err != nil {
			return err
		}
	}
	a.ends[folder] = end
	return nil
}

// listEnd returns the highest UID in dovecot-uidlist, and whether its last line is
// not whole.
func listEnd(dir string) (end mail.UID, torn bool, err error) {
	err = eachUID(dir, func(uid, _ []byte) {
		n, _ := strconv.ParseUint(string(uid), 10, 32) // 0 where it is no number
		end = max(end, mail.UID(n))
	})
	if err != nil {
		return 0, false, err
	}
	f, err := os.Open(filepath.Join(dir, uidFile))
	if errors.Is(err, os.ErrNotExist) {
		return end, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	last := make([]byte, 1)
	if _, err = f.Seek(-1, io.SeekEnd); err == nil {
		_, err = f.Read(last)
	}
	return end, err != nil || last[0] != '\n', nil
}

// enter counts messages for the quota, and adds them to dovecot-uidlist.
func (a *account) enter(folder string, files []written, msgs []migrate.Message) error {
	bytes := int64(0)
	for _, f := range files {
		bytes += f.size
	}
	if err := a.use(bytes, len(files)); err != nil {
		return err
	}
	a.dirty[folder] = true
	delete(a.ends, folder) // until the messages are there
	f, err := os.OpenFile(filepath.Join(a.dir(folder), uidFile), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return mail.WrapError(mail.KindUnavailable, err, "writing the UIDs")
	}
	w := bufio.NewWriter(f)
	for i, f := range files {
		fmt.Fprintf(w, "%d :%s\n", msgs[i].UID, f.name)
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return mail.WrapError(diskKind(err), err, "writing the UIDs")
	}
	return nil
}

// byUID returns the paths of messages by UID.
func (a *account) byUID(dir string) (map[mail.UID]string, error) {
	_, uids, err := files.MaildirState(dir)
	if err != nil {
		return nil, err
	}
	there, err := present(dir)
	out := make(map[mail.UID]string, len(there))
	for base, path := range there {
		if uid := uids[base]; uid != 0 {
			out[uid] = path
		}
	}
	return out, err
}

// Update implements migrate.TargetAccount.
func (a *account) Update(_ context.Context, folder string, items []migrate.Item) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir := a.dir(folder)
	paths, err := a.byUID(dir)
	if err != nil {
		return err
	}
	words, err := readKeywords(dir)
	if err != nil {
		return err
	}
	before := len(words)
	marks := make([]string, len(items))
	for i, it := range items {
		marks[i] = a.flagLetters(&words, it.Flags, it.Keywords)
	}
	if err := a.saveKeywords(dir, before, words); err != nil {
		return err
	}
	a.dirty[folder] = true
	for i, it := range items {
		path, ok := paths[it.UID]
		if !ok {
			continue
		}
		base, _, _ := strings.Cut(filepath.Base(path), ":")
		if err := os.Rename(filepath.Join(dir, path), filepath.Join(dir, "cur", base+":2,"+marks[i])); err != nil {
			return mail.WrapError(mail.KindUnavailable, err, "setting flags of message %d", it.UID)
		}
	}
	return syncDir(filepath.Join(dir, "cur"))
}

// Remove implements migrate.TargetAccount.
func (a *account) Remove(_ context.Context, folder string, uids mail.UIDSet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir := a.dir(folder)
	paths, err := a.byUID(dir)
	if err != nil {
		return err
	}
	a.dirty[folder] = true
	next, err := a.state(folder)
	if err != nil {
		return err
	}
	if err := a.writeUIDs(folder, next.UIDValidity, next.UIDNext); err != nil { // UIDNEXT must not fall
		return err
	}
	freed, removed := int64(0), 0
	for uid := range uids.All() {
		if path, ok := paths[uid]; ok {
			path = filepath.Join(dir, path)
			if info, err := os.Stat(path); err == nil {
				freed += info.Size()
			}
			if err := os.Remove(path); err != nil {
				return mail.WrapError(mail.KindUnavailable, err, "removing message %d", uid)
			}
			removed++
		}
	}
	return errors.Join(syncDir(filepath.Join(dir, "cur")), a.use(-freed, -removed))
}

// scan lists a folder with the reader.
func (a *account) scan(ctx context.Context, folder string) (migrate.SourceAccount, migrate.Folder, []migrate.Item, error) {
	src, folders, err := a.reader(ctx)
	if err != nil {
		return nil, migrate.Folder{}, nil, err
	}
	i := slices.IndexFunc(folders, func(f migrate.Folder) bool { return f.Name == folder })
	if i < 0 {
		return nil, migrate.Folder{}, nil, mail.Errorf(mail.KindNotExist, "there is no folder %q", folder)
	}
	var items []migrate.Item
	_, err = src.Scan(ctx, folders[i], migrate.State{}, func(batch []migrate.Item) error {
		items = append(items, batch...)
		return nil
	})
	return src, folders[i], items, err
}

// Items implements migrate.TargetAccount. Sizes are those with CRLF line ends,
// where the name of the file says them.
func (a *account) Items(ctx context.Context, folder string, fn func(migrate.Item) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _, items, err := a.scan(ctx, folder)
	if err != nil {
		return err
	}
	for _, it := range items {
		if _, w, ok := strings.Cut(it.Key, ",W="); ok {
			if n, err := strconv.ParseInt(w, 10, 64); err == nil {
				it.Size = n
			}
		}
		if err := fn(it); err != nil {
			return err
		}
	}
	return nil
}

// Read implements migrate.TargetAccount.
func (a *account) Read(ctx context.Context, folder string, uids mail.UIDSet, fn func(mail.UID, io.Reader) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	src, f, items, err := a.scan(ctx, folder)
	if err != nil {
		return err
	}
	items = slices.DeleteFunc(items, func(it migrate.Item) bool { return !uids.Contains(it.UID) })
	return src.Fetch(ctx, f, items, func(it migrate.Item, r io.Reader, err error) error {
		if ie, ok := errors.AsType[*migrate.ItemError](err); ok && ie.Gone {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading message %d: %w", it.UID, err)
		}
		return fn(it.UID, r)
	})
}
