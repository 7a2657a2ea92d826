package archive

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/mapi"
	"expost/pst"
)

// outlook is a PST file.
type outlook struct {
	file    *os.File
	w       *pst.Writer
	made    map[string]*pst.FolderWriter
	current *pst.FolderWriter
	used    map[pst.Kind]bool // special folders made by the class of their items
}

func newPST(path string) (writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	w, err := pst.NewWriter(f, pst.WriterOptions{Name: "Expost"})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &outlook{file: f, w: w, made: map[string]*pst.FolderWriter{"": w.Subtree()}, used: map[pst.Kind]bool{}}, nil
}

// kinds are the special folders of Outlook that have the roles of mail.
var kinds = map[mail.SpecialUse]pst.Kind{mail.UseSent: pst.Sent, mail.UseTrash: pst.Trash, mail.UseDrafts: pst.Drafts, mail.UseJunk: pst.Junk}

// classKind returns which special folder is of a class, and false of those that
// hold mail.
func classKind(class string) (pst.Kind, bool) {
	for prefix, k := range map[string]pst.Kind{
		"IPF.Appointment": pst.Calendar, "IPF.Contact": pst.Contacts, "IPF.Task": pst.Tasks, "IPF.StickyNote": pst.Notes, "IPF.Journal": pst.Journal,
	} {
		if class == prefix || strings.HasPrefix(class, prefix+".") {
			return k, true
		}
	}
	return pst.Plain, false
}

// folder makes a folder, and those above it where they are missing.
func (o *outlook) folder(f migrate.Folder) error {
	if o.current != nil {
		if err := o.current.Close(); err != nil {
			return err
		}
	}
	levels, path := strings.Split(f.Name, mail.Delimiter), ""
	o.current = o.made[""]
	for i, level := range levels {
		up := o.current
		path += mail.Delimiter + level
		if o.current = o.made[path]; o.current != nil {
			continue
		}
		opt := pst.FolderOptions{Name: level}
		if path == mail.Delimiter+mail.Inbox {
			opt.Name, opt.Kind = "Inbox", pst.Inbox
		} else if i == len(levels)-1 {
			opt.Kind = kinds[f.Use]
			if k, ok := classKind(f.Class); ok { // its items go back as what they were
				opt.Class = f.Class
				if i == 0 && opt.Kind == pst.Plain && !o.used[k] {
					opt.Kind, o.used[k] = k, true
				}
			}
		}
		d, err := up.Folder(opt)
		if err != nil {
			return err
		}
		o.made[path], o.current = d, d
	}
	return nil
}

func (o *outlook) add(it migrate.Item, r io.Reader) error {
	b, err := migrate.SpoolBytes(context.Background(), r, "", 0)
	if err != nil {
		return err
	}
	defer b.Close()
	body, err := b.Open()
	if err != nil {
		return err
	}
	at, ok := body.(io.ReaderAt)
	if !ok {
		return errors.New("a spooled message cannot be read at a place")
	}
	marks := mapi.MailMarks{Flags: strings.Fields(it.Flags.String())}
	for _, w := range it.Keywords.Words() {
		if strings.HasPrefix(w, "$") {
			marks.Flags = append(marks.Flags, w)
		} else {
			marks.Keywords = append(marks.Keywords, w)
		}
	}
	if it.Date != (mail.Date{}) {
		marks.Received = it.Date.Time()
	}
	m, err := mapi.FromMail(at, b.Size, marks)
	if err != nil {
		return err
	}
	_, err = o.current.Add(m)
	return err
}

func (o *outlook) close() error {
	return errors.Join(o.w.Close(), o.file.Sync(), o.file.Close())
}
