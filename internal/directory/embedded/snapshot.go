package embedded

import (
	"encoding/binary"
	"slices"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// snapshot is the whole tree at one moment. It is immutable and shares what did
// not change with the snapshots before it, so that searches never wait for
// writers nor writers for searches.
type snapshot struct {
	dict   *dictionary
	nodes  vector[node]
	terms  vector[postings]
	index  index
	suffix uint32 // id of the suffix entry; 0 while there is none
	lastID uint32
	count  int

	graves  []grave // what was deleted, in order
	horizon string  // the CSN of the last deletion that is not in graves

	version uint64   // how many commits there were since the start
	recent  []commit // the last of them
}

// commit is what a commit changed.
type commit struct {
	ids   []uint32
	moved bool // entries below a changed one have another DN now
}

// maxRecent is how many commits a snapshot remembers.
const maxRecent = 256

// changedSince returns the entries that changed after a version. It is false
// where that is not known, or more is to be looked at than them.
func (s *snapshot) changedSince(version uint64) ([]uint32, bool) {
	behind := s.version - version
	if behind > uint64(len(s.recent)) {
		return nil, false
	}
	var ids []uint32
	for _, c := range s.recent[len(s.recent)-int(behind):] {
		if c.moved {
			return nil, false
		}
		ids = append(ids, c.ids...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// Keys of the index that are no attribute of the schema.
const (
	childKey   uint32 = 1<<24 + iota // parent's id and RDN: the tree
	addressKey                       // each address of an account or group
	storeKey                         // mailMessageStore of an account
	uidKey                           // uid of an account
)

// childPrefix starts the keys of the entries below a parent.
func childPrefix(parent uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], parent)
	return string(b[:])
}

// child returns the entry of an RDN below parent; the suffix is below 0, under
// its whole DN.
func (s *snapshot) child(parent uint32, rdnKey string) (*node, bool) {
	id, ok := s.index.one(childKey, childPrefix(parent)+rdnKey)
	if !ok {
		return nil, false
	}
	return s.nodes.get(id), true
}

// hasChildren tells whether entries stand below id.
func (s *snapshot) hasChildren(id uint32) bool {
	found := false
	s.index.prefix(childKey, childPrefix(id), func(item) bool {
		found = true
		return false
	})
	return found
}

// find returns the entry of a DN under the suffix, or the nearest one above it
// that exists (nil where there is none).
func (s *snapshot) find(dn, suffix ldap.DN) (n, nearest *node) {
	n = s.nodes.get(s.suffix)
	if n == nil || !dn.IsUnder(suffix, s.dict.schema) {
		return nil, nil
	}
	for _, rdn := range slices.Backward(dn[:len(dn)-len(suffix)]) {
		next, ok := s.child(n.id, ldap.DN{rdn}.Key(s.dict.schema))
		if !ok {
			return nil, n
		}
		n = next
	}
	return n, nil
}

// dn returns the DN of an entry.
func (s *snapshot) dn(n *node, suffix ldap.DN) ldap.DN {
	var dn ldap.DN
	for n.parent != 0 {
		dn = append(dn, n.rdn())
		n = s.nodes.get(n.parent)
	}
	return append(dn, suffix...)
}

// isUnder tells whether n is base or stands below it.
func (s *snapshot) isUnder(n *node, base uint32) bool {
	for ; n != nil; n = s.nodes.get(n.parent) {
		if n.id == base {
			return true
		}
	}
	return false
}

// entry returns all of an entry.
func (s *snapshot) entry(n *node, suffix ldap.DN) *ldap.Entry {
	return &ldap.Entry{DN: s.dn(n, suffix), Attributes: n.unpack(s.dict)}
}

// account returns what mail needs to know of an entry, if it is an account.
func (s *snapshot) account(n *node, suffix ldap.DN) (*directory.Account, bool) {
	return directory.AccountOf(s.entry(n, suffix))
}

// byAddress returns the account or group of an address.
func (s *snapshot) byAddress(addr mail.Address) (*node, bool) {
	id, ok := s.index.one(addressKey, addr.Key())
	if !ok {
		return nil, false
	}
	return s.nodes.get(id), true
}

// treeItems returns the items by which the tree and mail find an entry.
func (s *snapshot) treeItems(n *node, suffix ldap.DN) []item {
	items := make([]item, 0, 1)
	if n.parent != 0 {
		items = append(items, item{childPrefix(n.parent) + ldap.DN{n.rdn()}.Key(s.dict.schema), childKey, n.id})
	}
	if s.ownsAddresses(n) {
		items = append(items, ownerItems(s.entry(n, suffix), n.id)...)
	}
	return items
}

// ownsAddresses tells, quicker than directory.Addresses, whether an entry might
// own addresses.
func (s *snapshot) ownsAddresses(n *node) bool {
	class, ok := s.dict.byName["objectClass"]
	if !ok {
		return false
	}
	owns := false
	n.values(class, func(v []byte) bool {
		owns = directory.OwnsAddresses(string(v))
		return !owns
	})
	return owns
}
