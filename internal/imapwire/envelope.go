package imapwire

import "expost/internal/message"

// AppendEnvelope appends an ENVELOPE (RFC 9051 §7.5.2).
func AppendEnvelope(dst []byte, e *message.Envelope, utf8Strings bool) []byte {
	dst = append(dst, '(')
	dst = append(AppendNString(dst, e.Date, utf8Strings), ' ')
	dst = append(AppendNString(dst, e.Subject, utf8Strings), ' ')
	sender, replyTo := e.Sender, e.ReplyTo
	if len(sender) == 0 {
		sender = e.From
	}
	if len(replyTo) == 0 {
		replyTo = e.From
	}
	for _, l := range [...][]message.Address{e.From, sender, replyTo, e.To, e.Cc, e.Bcc} {
		dst = append(appendAddresses(dst, l, utf8Strings), ' ')
	}
	dst = append(AppendNString(dst, e.InReplyTo, utf8Strings), ' ')
	dst = AppendNString(dst, e.MessageID, utf8Strings)
	return append(dst, ')')
}

// appendAddresses appends an address list, or NIL.
func appendAddresses(dst []byte, list []message.Address, utf8Strings bool) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range list {
		a := &list[i]
		dst = append(dst, '(')
		dst = append(AppendNString(dst, a.Name, utf8Strings), ' ')
		dst = append(AppendNString(dst, a.Route, utf8Strings), ' ')
		dst = append(AppendNString(dst, a.Mailbox, utf8Strings), ' ')
		dst = AppendNString(dst, a.Host, utf8Strings)
		dst = append(dst, ')')
	}
	return append(dst, ')')
}
