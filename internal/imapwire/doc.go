// Package imapwire is the grammar of IMAP (RFC 9051, RFC 3501 and extensions):
// bytes to typed commands and typed data to bytes. It knows neither sockets nor
// the store.
//
// A Decoder reads one command at a time. Its methods name the rules of the
// grammar (Atom, AString, Mailbox, NumSet, SearchKeys, FetchItems); the first
// failure sticks, so that a command is decoded without looking at errors and
// Err is asked once at the end. The Append functions are the other direction.
package imapwire
