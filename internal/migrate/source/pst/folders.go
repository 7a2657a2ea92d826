package pst

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/mapi"
	"expost/pst"
)

// folder is a folder of the file under the name it has in a migration.
type folder struct {
	migrate.Folder
	of *pst.Folder
}

// uses are the roles of the special folders that mail knows.
var uses = map[pst.Kind]mail.SpecialUse{
	pst.Sent: mail.UseSent, pst.Trash: mail.UseTrash, pst.Drafts: mail.UseDrafts, pst.Junk: mail.UseJunk,
}

// Folders implements migrate.SourceAccount. Folders that users do not see are
// among them where they hold items, unsubscribed; so are those of Outlook's
// own synchronization logs.
func (a *account) Folders(ctx context.Context) ([]migrate.Folder, error) {
	if a.folders == nil {
		if err := a.list(ctx); err != nil {
			return nil, err
		}
	}
	out := make([]migrate.Folder, len(a.folders))
	for i, f := range a.folders {
		out[i] = f.Folder
	}
	return out, nil
}

// list reads the folders.
func (a *account) list(ctx context.Context) error {
	l := lister{page: a.page, taken: map[string]bool{}}
	for d, err := range a.pst.Folders() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			a.log.Warn("a folder's properties cannot be read; its items are", "place", err)
			a.damaged(fmt.Sprintf("a folder's properties cannot be read, its items are: %v", err))
			continue
		}
		l.all = append(l.all, d)
	}
	if err := a.disk.err(); err != nil {
		return err
	}
	l.inbox()
	for _, d := range l.all {
		l.add(d, a.version)
	}
	l.roles()
	slices.SortStableFunc(l.out, func(x, y folder) int {
		if x.Name == mail.Inbox {
			return -1
		}
		if y.Name == mail.Inbox {
			return 1
		}
		return 0
	})
	a.folders = l.out
	return nil
}

// lister names folders.
type lister struct {
	page  int
	all   []*pst.Folder
	in    string // the path of the inbox, its names joined by NUL
	seen  bool   // some folder is in the subtree that users see
	taken map[string]bool
	out   []folder
}

// inbox finds the inbox: by its entry id, else by its name at the top.
func (l *lister) inbox() {
	var named *pst.Folder
	for _, d := range l.all {
		l.seen = l.seen || d.Visible() && len(d.Path()) > 0
		if d.Kind() == pst.Inbox {
			l.in = strings.Join(d.Path(), "\x00")
			return
		}
		if named == nil && len(d.Path()) == 1 && d.Visible() && d.Kind() == pst.Plain && isInboxName(d.Name()) {
			named = d
		}
	}
	if named != nil {
		l.in = strings.Join(named.Path(), "\x00")
	}
}

// isInboxName tells whether Outlook calls the inbox so in some language.
func isInboxName(s string) bool {
	const names = "inbox|posteingang|boîte de réception|bandeja de entrada|caixa de entrada|a receber|posta in arrivo|postvak in|inkorgen|indbakke|innboks|saapuneet|" +
		"skrzynka odbiorcza|doručená pošta|beérkezett üzenetek|mesaje primite|gelen kutusu|входящие|вхідні|входящи поща|εισερχόμενα|דואר נכנס|البريد الوارد|受信トレイ|收件箱|收件匣|받은 편지함"
	return slices.Contains(strings.Split(names, "|"), strings.ToLower(s))
}

// quiet are the kinds of folder that no client needs to show.
var quiet = []pst.Kind{pst.SyncIssues, pst.Conflicts, pst.LocalFailures, pst.ServerFailed, pst.Views, pst.CommonViews, pst.Reminders}

// add names a folder, unless it is one that users do not see and is empty.
func (l *lister) add(d *pst.Folder, version uint64) {
	n := d.Count()
	shown := d.Visible() && len(d.Path()) > 0 && !l.below(d, quiet)
	if !shown && n == 0 {
		return
	}
	f := migrate.Folder{
		Key: strconv.FormatUint(uint64(d.ID()), 16), Use: uses[d.Kind()],
		Subscribed: shown || !l.seen && !slices.Contains(quiet, d.Kind()) || d.Kind() == pst.Recovered,
		State:      migrate.State{ModSeq: version, Messages: n, Bytes: -1},
	}
	if class := d.Class(); !strings.EqualFold(class, "IPF.Note") {
		f.Class = class
	}
	name := l.name(d)
	f.Name = name
	for i := 2; l.taken[strings.ToLower(f.Name)]; i++ {
		f.Name = fmt.Sprintf("%s (%d)", name, i)
	}
	l.taken[strings.ToLower(f.Name)] = true
	l.out = append(l.out, folder{f, d})
}

// below tells whether a folder is of one of the kinds, or below one that is.
func (l *lister) below(d *pst.Folder, kinds []pst.Kind) bool {
	path := d.Path()
	for _, up := range l.all {
		if p := up.Path(); slices.Contains(kinds, up.Kind()) && len(p) > 0 && len(p) <= len(path) && slices.Equal(p, path[:len(p)]) {
			return true
		}
	}
	return false
}

// name returns a folder's name with its levels. What lies at the very top is
// in a folder of the top's own name.
func (l *lister) name(d *pst.Folder) string {
	path := d.Path()
	if len(path) == 0 {
		top, _, _ := mapi.Text(d.Properties(), 0x3001, l.page)
		path = []string{cmp.Or(top, "Top")}
	}
	key := strings.Join(path, "\x00")
	in := l.in != "" && (key == l.in || strings.HasPrefix(key, l.in+"\x00"))
	for i, level := range path {
		path[i] = strings.ReplaceAll(level, mail.Delimiter, "_")
	}
	if in {
		return strings.Join(append([]string{mail.Inbox}, path[strings.Count(l.in, "\x00")+1:]...), mail.Delimiter)
	}
	if strings.EqualFold(path[0], mail.Inbox) {
		path[0] += "_"
	}
	return strings.Join(path, mail.Delimiter)
}

// roles gives the roles that no entry id named to folders of the usual names.
func (l *lister) roles() {
	taken := map[mail.SpecialUse]bool{}
	for i := range l.out {
		f := &l.out[i]
		if f.Use != mail.UseNone && taken[f.Use] {
			f.Use = mail.UseNone
		}
		taken[f.Use] = true
	}
	for i := range l.out {
		f := &l.out[i]
		if f.Use != mail.UseNone || f.of.Kind() != pst.Plain || !f.of.Visible() || f.Name == mail.Inbox {
			continue
		}
		if class := f.of.Class(); class != "" && class != "IPF.Note" {
			continue
		}
		if use := migrate.GuessUse(f.Name); use != mail.UseNone && !taken[use] {
			f.Use, taken[use] = use, true
		}
	}
}

// folder finds a folder of the migration.
func (a *account) folder(ctx context.Context, f migrate.Folder) (*folder, error) {
	if a.folders == nil {
		if err := a.list(ctx); err != nil {
			return nil, err
		}
	}
	i := slices.IndexFunc(a.folders, func(x folder) bool { return x.Key == f.Key })
	if i < 0 {
		return nil, mail.Errorf(mail.KindNotExist, "there is no folder %q in the file", f.Name)
	}
	return &a.folders[i], nil
}
