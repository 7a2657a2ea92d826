package sample

import (
	"iter"
	"time"

	"expost/internal/mail"
)

// Mailbox is all the mail of one person.
type Mailbox struct {
	Owner   Person
	Folders []Folder // INBOX first

	org    *Org
	person int
	kinds  []folderKind // of Folders
	mail   [][]placed   // of Folders
}

// Folder is one mailbox in the sense of IMAP.
type Folder struct {
	Name        string // UTF-8, levels separated by mail.Delimiter
	UIDValidity mail.UIDValidity
	UIDNext     mail.UID
	SpecialUse  mail.SpecialUse
	Subscribed  bool
	Messages    int
}

// Message is one message in a folder. Body has CRLF line ends.
type Message struct {
	UID      mail.UID
	Flags    mail.Flags
	Keywords mail.Keywords
	Date     mail.Date // INTERNALDATE
	Body     []byte
}

// placed is a message of a talk in a folder.
type placed struct {
	talk, turn int
	uid        mail.UID
}

// role is what a folder holds.
type role uint8

const (
	roleInbox role = iota
	roleSent
	roleDrafts
	roleTrash
	roleJunk
	roleArchive
	roleTopic // of one kind of talk each
	roleEmpty
)

// folderKind is a folder that a locale's mailboxes have.
type folderKind struct {
	name string
	role role
}

func (k folderKind) use() mail.SpecialUse {
	switch k.role {
	case roleSent:
		return mail.UseSent
	case roleDrafts:
		return mail.UseDrafts
	case roleTrash:
		return mail.UseTrash
	case roleJunk:
		return mail.UseJunk
	case roleArchive:
		return mail.UseArchive
	}
	return mail.UseNone
}

// folderKinds are the folders of a mailbox: those that Outlook makes in the
// person's language, and those that people make.
func folderKinds(locale string) []folderKind {
	outlook := map[string][5]string{
		"en": {"Sent Items", "Drafts", "Deleted Items", "Junk E-mail", "Archive"},
		"de": {"Gesendete Elemente", "Entwürfe", "Gelöschte Elemente", "Junk-E-Mail", "Archiv"},
		"fr": {"Éléments envoyés", "Brouillons", "Éléments supprimés", "Courrier indésirable", "Archives"},
		"ru": {"Отправленные", "Черновики", "Удаленные", "Нежелательная почта", "Архив"},
		"ja": {"送信済みアイテム", "下書き", "削除済みアイテム", "迷惑メール", "アーカイブ"},
	}[locale]
	own := map[string][]string{
		"en": {"Projects", "Projects/R&D ~ Plans", "Projects/Müller & Söhne", "Customers", "Customers/A, B + C", "Bob's \"old\" mail"},
		"de": {"Projekte", "Projekte/Müller & Söhne", "Projekte/Müller & Söhne/Angebote", "Kunden", "Kunden/Größere", "Übergabe #2"},
		"fr": {"Projets", "Projets/Été", "Projets/Müller & Söhne", "Clients", "Clients/À relancer", "Divers"},
		"ru": {"Архив/2004", "Архив/2005", "Проекты", "Проекты/Müller & Söhne", "Клиенты", "Разное"},
		"ja": {"受信", "受信/顧客", "受信/顧客/東京", "プロジェクト", "プロジェクト/Müller & Söhne", "その他"},
	}[locale]
	kinds := []folderKind{{mail.Inbox, roleInbox}}
	for i, name := range outlook {
		kinds = append(kinds, folderKind{name, roleSent + role(i)})
	}
	for _, name := range own {
		kinds = append(kinds, folderKind{name, roleTopic})
	}
	return append(kinds, folderKind{"Leer & empty", roleEmpty})
}

// newMailbox returns the mailbox of person i without its messages.
func newMailbox(o *Org, i int) *Mailbox {
	m := &Mailbox{Owner: o.People[i], org: o, person: i}
	kinds := folderKinds(m.Owner.Locale)
	m.kinds = kinds[:max(2, min(len(kinds), o.opt.Folders))] // INBOX and sent mail at least
	for j, kind := range m.kinds {
		m.Folders = append(m.Folders, Folder{
			Name:        kind.name,
			UIDValidity: mail.UIDValidity(1049184000 + 97*i + j),
			UIDNext:     1,
			SpecialUse:  kind.use(),
			Subscribed:  kind.role != roleJunk,
		})
	}
	m.mail = make([][]placed, len(m.Folders))
	return m
}

// place puts turn of talk into the folder it belongs to. Some UIDs are left
// out: a message of long ago was there.
func (m *Mailbox) place(talk, turn int) {
	r := m.org.random(forPlacement, m.person<<12|turn, talk)
	f := m.folderOf(m.org.talks[talk], turn, r.IntN(100))
	folder := &m.Folders[f]
	uid := folder.UIDNext
	if oneIn(r, 9) {
		uid += mail.UID(1 + r.IntN(5))
	}
	m.mail[f] = append(m.mail[f], placed{talk, turn, uid})
	folder.UIDNext = uid + 1
	folder.Messages++
}

// folderOf returns the folder of a message, by its talk and by chance.
func (m *Mailbox) folderOf(t talk, turn, percent int) int {
	want := roleInbox
	switch {
	case t.members[t.author(turn)] == m.person:
		want = roleSent
		if percent < 3 {
			want = roleDrafts
		}
	case t.kind == talkJunk:
		want = roleJunk
	case percent < 8:
		want = roleTrash
	case percent < 16:
		want = roleArchive
	case percent < 60:
		want = roleTopic
	}
	var fit []int
	for i, kind := range m.kinds {
		if kind.role == want {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return 0
	}
	return fit[t.topic%len(fit)]
}

// Messages yields the messages of Folders[f] in the order of their UIDs, each
// made anew.
func (m *Mailbox) Messages(f int) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for _, p := range m.mail[f] {
			if !yield(m.message(f, p)) {
				return
			}
		}
	}
}

// message makes one message with its flags.
func (m *Mailbox) message(f int, p placed) Message {
	t := m.org.talks[p.talk]
	r := m.org.random(forPlacement, m.person<<12|p.turn|1<<11, p.talk)
	role := m.kinds[f].role
	msg := Message{UID: p.uid, Body: m.org.compose(p.talk, p.turn)}
	delay := time.Duration(r.IntN(90)) * time.Second
	msg.Date = mail.DateOf(inZone(t.date(p.turn).Add(delay), m.Owner.Zone))
	last := p.turn == t.turns-1
	if role == roleDrafts {
		msg.Flags |= mail.Draft
	}
	if role != roleJunk && !(last && oneIn(r, 5)) {
		msg.Flags |= mail.Seen
	}
	if !last && t.members[t.author(p.turn+1)] == m.person {
		msg.Flags |= mail.Answered
	}
	if oneIn(r, 20) {
		msg.Flags |= mail.Flagged
	}
	if role == roleTrash && oneIn(r, 2) {
		msg.Flags |= mail.Deleted
	}
	msg.Keywords = keywords(role, r.IntN(40))
	return msg
}

// keywords returns what programs and people mark messages with.
func keywords(role role, chance int) mail.Keywords {
	var words []string
	if role == roleJunk {
		words = append(words, "Junk")
	}
	switch chance {
	case 0, 1:
		words = append(words, "$Forwarded")
	case 2:
		words = append(words, "$MDNSent")
	case 3:
		words = append(words, "$Label1", "project-x")
	case 4:
		words = append(words, "NonJunk", "$MDNSent", "$Forwarded")
	}
	return mail.NewKeywords(words...)
}
