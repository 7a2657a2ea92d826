package imapserver

import "context"

// state is where a connection stands (RFC 9051 §3).
type state uint8

// The states, as bits, so that a command can name those it is allowed in.
const (
	notAuthenticated state = 1 << iota
	authenticated
	selected
	loggedOut

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// command is one IMAP command.
type command struct {
	name string // upper case; "UID FETCH" for those behind UID
	in   state  // the states it is allowed in
	caps []capability
	run  func(ctx context.Context, c *conn) (reply, error)

	// keepsNumbers is set where no EXPUNGE may be sent when it ends (RFC 9051 §7.5.1).
	keepsNumbers bool
	takesNumbers bool // messages are named by their sequence numbers
}

// capability is a word of CAPABILITY and when it is told.
type capability struct {
	name string
	in   state // 0: in every state
	when func(c *conn) bool

	value func(c *conn) string // what follows name and "="; may be nil
}

// caps returns capabilities that are always told.
func caps(names ...string) []capability {
	out := make([]capability, len(names))
	for i, n := range names {
		out[i].name = n
	}
	return out
}

// allCommands lists what is served, in the order its capabilities are told.
func allCommands() []command {
	return []command{
		capabilityCommand(), noopCommand(), logoutCommand(), idCommand(), starttlsCommand(), loginCommand(), authenticateCommand(),
		enableCommand(), compressCommand(), selectCommand(), examineCommand(), createCommand(), deleteCommand(), renameCommand(),
		subscribeCommand(), unsubscribeCommand(), listCommand(), lsubCommand(), namespaceCommand(), statusCommand(), notifyCommand(),
		appendCommand(), idleCommand(), checkCommand(), closeCommand(), unselectCommand(), expungeCommand(), uidExpungeCommand(),
		searchCommand(), uidSearchCommand(), esearchCommand(), cancelUpdateCommand(), uidBatchesCommand(), sortCommand(), uidSortCommand(), threadCommand(), uidThreadCommand(), fetchCommand(), uidFetchCommand(), storeCommand(), uidStoreCommand(),
		copyCommand(), uidCopyCommand(), moveCommand(), uidMoveCommand(), replaceCommand(), uidReplaceCommand(), getQuotaCommand(), getQuotaRootCommand(),
		unauthenticateCommand(), setACLCommand(), deleteACLCommand(), getACLCommand(), listRightsCommand(), myRightsCommand(),
		getMetadataCommand(), setMetadataCommand(), setQuotaCommand(),
	}
}

// commandTable returns the commands by name, and the capabilities in their order.
func commandTable() (table map[string]command, told []capability) {
	table = map[string]command{}
	for _, cmd := range allCommands() {
		table[cmd.name] = cmd
		told = append(told, cmd.caps...)
	}
	return table, told
}
