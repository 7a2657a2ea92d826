package pst

import "expost/mapi"

// Kind tells what a folder is for, whatever its name and language.
type Kind string

// The kinds of folder.
const (
	Plain         Kind = ""
	Root          Kind = "root"
	Subtree       Kind = "subtree" // what users see as the top
	Inbox         Kind = "inbox"
	Outbox        Kind = "outbox"
	Sent          Kind = "sent"
	Trash         Kind = "trash"
	Drafts        Kind = "drafts"
	Junk          Kind = "junk"
	Calendar      Kind = "calendar"
	Contacts      Kind = "contacts"
	Journal       Kind = "journal"
	Notes         Kind = "notes"
	Tasks         Kind = "tasks"
	Reminders     Kind = "reminders"
	Views         Kind = "views"
	CommonViews   Kind = "common-views"
	SearchFolders Kind = "search-folders"
	SyncIssues    Kind = "sync-issues"
	Conflicts     Kind = "conflicts"
	LocalFailures Kind = "local-failures"
	ServerFailed  Kind = "server-failures"

	// Recovered is no folder of the file: it holds what has none.
	Recovered Kind = "recovered"
)

// special returns the kinds of the special folders: the store, the root folder
// and the inbox name them by their entry ids ([MS-PST] 2.4.3.1, [MS-OXOSFLD]
// 2.2).
func (f *File) specials() map[uint32]Kind {
	f.specialOnce.Do(func() {
		f.special = map[uint32]Kind{nidRoot: Root}
		s := specials{f.special, nil}
		if p, err := f.open(nidStore); err == nil {
			s.record = p.binary(0x0FF9)
			s.add(p, storeKinds)
		}
		f.receiveFolder(s)
		holders := []uint32{nidRoot}
		for nid, kind := range f.special {
			if kind == Inbox {
				holders = append(holders, nid)
			}
		}
		for _, nid := range holders {
			if p, err := f.open(nid); err == nil {
				s.add(p, folderKinds)
				s.addList(p)
			}
		}
	})
	return f.special
}

// specials collects kinds; record is the key that entry ids of the file hold.
type specials struct {
	kinds  map[uint32]Kind
	record []byte
}

// kindOf is the property that names the folder of a kind.
type kindOf struct {
	id   uint16
	kind Kind
}

var storeKinds = []kindOf{
	{0x35E0, Subtree}, {0x35E1, Inbox}, {0x35E2, Outbox}, {0x35E3, Trash}, {0x35E4, Sent},
	{0x35E5, Views}, {0x35E6, CommonViews}, {0x35E7, SearchFolders}, {0x36D7, Drafts},
}

var folderKinds = []kindOf{
	{0x36D0, Calendar}, {0x36D1, Contacts}, {0x36D2, Journal}, {0x36D3, Notes},
	{0x36D4, Tasks}, {0x36D5, Reminders}, {0x36D7, Drafts},
}

// listKinds are those of PidTagAdditionalRenEntryIds, 0x36D8, by index
// ([MS-OXOSFLD] 2.2.4).
var listKinds = []Kind{Conflicts, SyncIssues, LocalFailures, ServerFailed, Junk}

func (s specials) add(p *properties, kinds []kindOf) {
	for _, k := range kinds {
		s.set(p.binary(k.id), k.kind)
	}
}

func (s specials) addList(p *properties) {
	v, _, _ := p.Value(0x36D8<<16 | mapi.Tag(mapi.TypeBinary|mapi.MultiValued))
	list, _ := v.([][]byte)
	for i, id := range list[:min(len(list), len(listKinds))] {
		s.set(id, listKinds[i])
	}
}

// set notes the folder that an entry id names, unless that folder has a kind.
// An entry id is flags, the store's record key and the node ([MS-PST]
// 2.4.3.2).
func (s specials) set(id []byte, kind Kind) {
	if len(id) != 24 || s.record != nil && string(id[4:20]) != string(s.record) {
		return
	}
	nid := le.Uint32(id[20:])
	if _, ok := s.kinds[nid]; !ok && nid&0x1F == typeFolder {
		s.kinds[nid] = kind
	}
}

// receiveFolder finds the inbox in the table of receive folders: the folder of
// the empty message class, or of IPM.
func (f *File) receiveFolder(s specials) {
	n, ok, err := f.dir.node(nidReceiveFolders)
	if !ok || err != nil {
		return
	}
	t, err := openTable(f.nodeOf(n))
	if err != nil {
		f.report(err)
		return
	}
	for row, err := range t.all() {
		if err != nil {
			f.report(err)
			continue
		}
		nid, ok := row.number(0x6605)
		if _, known := s.kinds[uint32(nid)]; ok && !known && (row.text(0x001A) == "" || row.text(0x001A) == "IPM") {
			s.kinds[uint32(nid)] = Inbox
		}
	}
}
