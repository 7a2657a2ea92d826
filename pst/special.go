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

// specials returns the kinds of the special folders: the store, the root folder
// and the inbox name them by their entry ids ([MS-PST] 2.4.3.1, [MS-OXOSFLD]
// 2.2). Offline folders have the server's entry ids, and fixed nodes for the
// folders that every mailbox has.
func (f *File) specials() map[uint32]Kind {
	f.specialOnce.Do(func() {
		f.special = map[uint32]Kind{nidRoot: Root}
		s := specials{kinds: f.special}
		if p, err := f.open(nidStore); err == nil {
			s.record = p.binary(0x0FF9)
			s.add(p, storeKinds)
		}
		f.receiveFolder(s)
		if f.header.typ == OST {
			s.offline = f.folderCounters()
			for nid, kind := range offlineKinds {
				if _, ok := s.kinds[nid]; !ok && f.kids().isFolder(nid) {
					s.kinds[nid] = kind
				}
			}
		}
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

// specials collects kinds.
type specials struct {
	kinds   map[uint32]Kind
	record  []byte            // the key that entry ids of the file hold
	offline map[string]uint32 // of an OST: its folders by the counters of their ids
}

// offlineKinds are the folders of an OST whose nodes are fixed.
var offlineKinds = map[uint32]Kind{
	0x20C2: CommonViews, 0x20E2: SearchFolders, 0x2122: Views, 0x2142: Subtree,
	0x2162: Trash, 0x2182: Inbox, 0x21A2: Outbox, 0x21C2: Sent,
}

// folderCounters reads the ids that the folders of an OST have on the server,
// property 0x67F4: two bytes of the replica, then the counter that entry ids
// hold too ([MS-OXCDATA] 2.2.1.1).
func (f *File) folderCounters() map[string]uint32 {
	m := make(map[string]uint32)
	for _, nid := range f.kids().folders {
		p, err := f.open(nid)
		if err != nil {
			continue // Folders tells of it
		}
		v, _, _ := p.Value(0x67F4<<16 | mapi.Tag(mapi.TypeInt64))
		if id, ok := v.(int64); ok {
			m[string(le.AppendUint64(nil, uint64(id))[2:])] = nid
		}
	}
	return m
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
func (s specials) set(id []byte, kind Kind) {
	nid := s.node(id)
	if _, ok := s.kinds[nid]; !ok && nid&0x1F == typeFolder {
		s.kinds[nid] = kind
	}
}

// node returns the folder an entry id names, or 0. It is flags, the store's
// record key and the node ([MS-PST] 2.4.3.2), or one of a folder on a server:
// flags, provider, type, replica and counter ([MS-OXCDATA] 2.2.4.1).
func (s specials) node(id []byte) uint32 {
	switch {
	case len(id) == 24 && (s.record == nil || string(id[4:20]) == string(s.record)):
		return le.Uint32(id[20:])
	case len(id) == 46:
		return s.offline[string(id[38:44])]
	}
	return 0
}

// receiveFolder finds the inbox in the table of receive folders: the folder of
// message class IPM, else of the empty class.
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
	inbox := make(map[string]uint32)
	for row, err := range t.all() {
		if err != nil {
			f.report(err)
			continue
		}
		if nid, ok := row.number(0x6605); ok {
			inbox[row.text(0x001A)] = uint32(nid)
		}
	}
	nid, ok := inbox["IPM"]
	if !ok {
		nid, ok = inbox[""]
	}
	if _, known := s.kinds[nid]; ok && !known {
		s.kinds[nid] = Inbox
	}
}
