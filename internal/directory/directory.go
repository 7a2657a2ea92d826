// Package directory is the people, groups, contacts and hosts of an
// organisation, as an LDAP tree, and what mail asks of it: which account an
// address or a login names.
package directory

import (
	"context"
	"iter"
	"net/netip"

	"expost/internal/ldap"
	"expost/internal/mail"
)

// Status is qmail-ldap's accountStatus.
type Status string

// The values of accountStatus; an absent one is StatusActive.
const (
	StatusActive   Status = "active"
	StatusNoAccess Status = "noaccess" // mail is delivered, logins are refused
	StatusDisabled Status = "disabled" // mail is bounced, logins are refused
	StatusDeleted  Status = "deleted"  // as if it did not exist
)

// Account is what mail needs to know of an entry with a mailbox.
type Account struct {
	DN         ldap.DN
	ID         mail.AccountID // mailMessageStore
	Address    mail.Address   // mail, the primary one
	Aliases    []mail.Address // mailAlternateAddress, and the smtp: ones of proxyAddresses
	Forward    []mail.Address // mailForwardingAddress
	Name       string         // displayName, else cn
	Host       string         // mailHost in lower case; empty: this node
	Status     Status
	Modes      []string // deliveryMode
	Quota      mail.Quota
	MaxMessage int64  // mailSizeMax, bytes; 0: no limit
	Reply      string // mailReplyText, sent by deliveryMode reply

	Shared   bool      // mailboxType is shared: nobody logs in, others have rights
	SendAs   []ldap.DN // mailSendAs: people and groups who may send as this account
	OnBehalf []ldap.DN // publicDelegates: who may send on its behalf
}

// How a search follows aliases (RFC 4511 §4.5.1.3).
const (
	DerefNever = iota
	DerefSearching
	DerefFinding
	DerefAlways
)

// Referrer is a Directory that may hold referral objects (RFC 3296).
type Referrer interface {
	// HasReferrals tells whether there are any.
	HasReferrals() bool
}

// Identity is who asks. The zero Identity is anonymous.
type Identity struct {
	DN   ldap.DN
	Root bool // the root-dn, or this node itself: no access rule applies
	Peer Peer
}

// Peer is where a request comes from, for access rules about that.
type Peer struct {
	Addr     netip.AddrPort
	Strength int  // of the encryption, in bits; 0: none
	Local    bool // it does not come over LDAP: there rules of encryption do not apply
}

// peerKey is the key of a context's Peer.
type peerKey struct{}

// WithPeer returns a context for a bind that comes from a peer.
func WithPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// PeerOf returns the peer of a bind; without one it is Local.
func PeerOf(ctx context.Context) Peer {
	if p, ok := ctx.Value(peerKey{}).(Peer); ok {
		return p
	}
	return Peer{Local: true}
}

// Directory is the tree and the lookups over it. Implementations are safe for
// concurrent use; a change is on disk and visible to every later call when the
// method that made it returns. Methods of the tree return *ldap.Error; those
// of mail return *mail.Error.
type Directory interface {
	// Suffix returns the DN that the tree hangs from.
	Suffix() ldap.DN

	// Search calls yield with each entry that matches and that who may read,
	// reduced to the attributes asked for. An error of yield ends it. A size
	// or time limit that is reached is an *ldap.Error after the entries.
	Search(ctx context.Context, who Identity, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error

	// Bind checks a simple bind (RFC 4513 §5.1).
	Bind(ctx context.Context, dn ldap.DN, password []byte) (Identity, error)

	// Add, Modify and Delete change one entry (RFC 4511 §4.6-4.8), schema and
	// the uniqueness of mail addresses enforced.
	Add(ctx context.Context, who Identity, e *ldap.Entry) error
	Modify(ctx context.Context, who Identity, dn ldap.DN, changes []ldap.Change) error
	Delete(ctx context.Context, who Identity, dn ldap.DN) error

	// Resolve returns the account that owns addr (its Address or an Alias),
	// exactly; sub-addresses and catch-all are delivery's business.
	// mail.KindNotExist; mail.KindUnavailable while the directory is away.
	Resolve(ctx context.Context, addr mail.Address) (*Account, error)

	// Login returns the account of a login name (uid, or an address of the
	// account) after checking its password. A wrong name, a wrong password and
	// a status that refuses logins are all mail.KindAuth, after the same time.
	Login(ctx context.Context, login, password string) (*Account, error)

	// Lookup is Login without a password, for those who have the right already.
	Lookup(ctx context.Context, login string) (*Account, error)

	// Accounts yields every account, in the order of their addresses.
	Accounts(ctx context.Context) iter.Seq2[*Account, error]

	// Close ends the directory's work.
	Close() error
}
