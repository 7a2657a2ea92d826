package imapserver

import "context"

// enableCommand is ENABLE (RFC 9051 §6.3.1, RFC 5161) with UIDONLY (RFC 9586).
func enableCommand() command {
	return command{
		name: "ENABLE", in: loggedIn, caps: caps("ENABLE", "UTF8=ACCEPT", "UIDONLY"),
		run: func(_ context.Context, c *conn) (reply, error) {
			var words []string
			for c.dec.SP(); c.dec.Err() == nil; c.dec.SP() {
				words = append(words, c.dec.Keyword())
				if c.dec.AtEnd() {
					break
				}
			}
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			c.out.Text("* ENABLED")
			for _, w := range words {
				if known := c.enable(w); known != "" {
					c.out.Text(" ")
					c.out.Text(known)
				}
			}
			c.out.Line()
			return ok("", "enabled"), nil
		},
	}
}

// enable switches on what word (upper case) names and returns its name; empty
// where there is no such thing.
func (c *conn) enable(word string) string {
	switch word {
	case "CONDSTORE":
		c.features |= condstore
	case "QRESYNC":
		c.features |= condstore | qresync
	case "UTF8=ACCEPT":
		c.features |= utf8Names
	case "UIDONLY":
		c.features |= uidOnly
	case "IMAP4REV2":
		c.features |= rev2
		return "IMAP4rev2"
	default:
		return ""
	}
	return word
}
