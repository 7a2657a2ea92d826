// Package dsn writes delivery status notifications: what a sender is told of
// mail that was returned, is late, or was handed on (RFC 3461, 3462, 3464, and
// RFC 6533 for addresses that are not ASCII).
//
// A report quotes what other servers said. Their words go into header fields and
// text here, and every one of them is folded and cleaned first.
package dsn

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"expost/internal/mail"
)

// Action says what became of a recipient (RFC 3464 §2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"  // to a server that gives no reports itself
	Expanded  Action = "expanded" // to the members of a list, or to where it is forwarded
)

// Recipient is one recipient of the report's message.
type Recipient struct {
	Address  mail.Address
	Original string // ORCPT, "rfc822;user@host", decoded; empty: none
	Action   Action
	Status   string // enhanced status code, "5.1.1"
	Remote   string // the server that said it; empty: we did
	Reply    string // what it said, "550 5.1.1 no such user"; or our reason
	Last     time.Time
	Until    time.Time // of Delayed: when we give up
}

// Report is a report to the sender of one message.
type Report struct {
	ID         string // of the report, for its Message-ID
	Hostname   string // this host
	From       mail.Address
	To         mail.Address // the sender of the message
	Date       time.Time
	Arrival    time.Time // when we got the message
	Queue      string    // our name of the message
	EnvID      string    // ENVID, decoded; empty: none
	UTF8       bool      // the message needs SMTPUTF8
	EightBit   bool      // the message has bytes above 127
	Recipients []Recipient
	Double     bool // the message was itself a report, and To is the postmaster
}

// Returned is what of the message the report brings back.
type Returned struct {
	io.Reader      // the whole message, or its header
	Full      bool // the whole message
}

// Reader returns the report as a message.
func (r *Report) Reader(back Returned) io.Reader {
	boundary := "=_" + r.ID
	var head, tail bytes.Buffer
	w := &writer{&head}
	r.header(w, boundary)
	w.line("--%s", boundary)
	w.line("Content-Type: text/plain; charset=utf-8")
	w.line("Content-Transfer-Encoding: %s", r.encoding(r.text()))
	w.line("")
	head.WriteString(r.text())
	w.line("--%s", boundary)
	r.status(w)
	w.line("--%s", boundary)
	w.line("Content-Type: %s", r.returnedType(back.Full))
	if r.EightBit || r.UTF8 {
		w.line("Content-Transfer-Encoding: 8bit")
	}
	w.line("")
	fmt.Fprintf(&tail, "\r\n--%s--\r\n", boundary)
	return io.MultiReader(&head, back.Reader, &tail)
}

func (r *Report) returnedType(full bool) string {
	switch {
	case full && r.UTF8:
		return "message/global"
	case full:
		return "message/rfc822"
	case r.UTF8:
		return "message/global-headers"
	}
	return "text/rfc822-headers"
}

// Is8Bit tells whether the report has bytes above 127.
func (r *Report) Is8Bit() bool {
	return r.EightBit || r.UTF8 || r.encoding(r.text()) == "8bit" || r.international()
}

// encoding returns the Content-Transfer-Encoding of a text.
func (r *Report) encoding(text string) string {
	if mail.IsASCII(text) {
		return "7bit"
	}
	return "8bit"
}

// international tells whether an address is not ASCII.
func (r *Report) international() bool {
	for _, to := range r.Recipients {
		if !mail.IsASCII(string(to.Address)) || !mail.IsASCII(to.Original) {
			return true
		}
	}
	return false
}

// worst returns the action that the subject speaks of.
func (r *Report) worst() Action {
	for _, a := range []Action{Failed, Delayed, Relayed, Expanded} {
		for _, to := range r.Recipients {
			if to.Action == a {
				return a
			}
		}
	}
	return Delivered
}

func (r *Report) header(w *writer, boundary string) {
	subject := map[Action]string{
		Failed: "Your message could not be delivered", Delayed: "Your message is delayed",
		Relayed: "Your message was handed on", Delivered: "Your message was delivered",
		Expanded: "Your message was passed on",
	}[r.worst()]
	if r.Double {
		subject = "A report could not be delivered"
	}
	w.line("From: Mail Delivery System <%s>", mail.QuotedAddress(r.From))
	w.line("To: <%s>", mail.QuotedAddress(r.To))
	w.line("Subject: %s", subject)
	w.line("Date: %s", r.Date.Format(dateLayout))
	w.line("Message-ID: <%s@%s>", r.ID, r.Hostname)
	w.line("Auto-Submitted: auto-replied")
	w.line("MIME-Version: 1.0")
	w.line("Content-Type: multipart/report; report-type=delivery-status; boundary=%q", boundary)
	w.line("")
}

// dateLayout is RFC 5322 §3.3's date-time.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// text is what people read.
func (r *Report) text() string {
	var b bytes.Buffer
	w := &writer{&b}
	w.line("This is the mail server %s.", r.Hostname)
	w.line("")
	if r.Double {
		w.line("A report about mail that could not be delivered could itself not be delivered.")
		w.line("")
	}
	for _, part := range []struct {
		action Action
		text   string
	}{
		{Failed, "Your message was not delivered to"},
		{Delayed, "Your message is not delivered yet; you need not send it again. It goes on being\r\ntried for"},
		{Relayed, "Your message was handed to a server that will not say more about it, for"},
		{Expanded, "Your message was passed on to the members of, or to where mail is forwarded by"},
		{Delivered, "Your message was delivered to"},
	} {
		r.people(w, part.action, part.text)
	}
	return b.String()
}

// people names the recipients of one action.
func (r *Report) people(w *writer, action Action, text string) {
	first := true
	for _, to := range r.Recipients {
		if to.Action != action {
			continue
		}
		if first {
			w.line("%s", text)
			w.line("")
			first = false
		}
		w.line("    %s", clean(string(to.Address)))
		switch {
		case to.Reply == "":
		case to.Remote != "":
			w.line("        %s said: %s", clean(to.Remote), clean(to.Reply))
		default:
			w.line("        %s", clean(to.Reply))
		}
		if action == Delayed {
			w.line("        It is tried until %s.", to.Until.Format(dateLayout))
		}
		w.line("")
	}
}

// status writes the part for programs (RFC 3464 §2).
func (r *Report) status(w *writer) {
	kind := "message/delivery-status"
	if r.UTF8 || r.international() {
		kind = "message/global-delivery-status" // RFC 6533 §3
	}
	w.line("Content-Type: %s", kind)
	w.line("")
	if r.EnvID != "" {
		w.field("Original-Envelope-Id", r.EnvID)
	}
	w.field("Reporting-MTA", "dns; "+r.Hostname)
	w.field("X-Queue-Id", r.Queue)
	w.field("Arrival-Date", r.Arrival.Format(dateLayout))
	for _, to := range r.Recipients {
		w.line("")
		if to.Original != "" {
			w.field("Original-Recipient", strings.Replace(to.Original, ";", "; ", 1))
		}
		w.field("Final-Recipient", addressType(to.Address)+"; "+mail.QuotedAddress(to.Address))
		w.field("Action", string(to.Action))
		w.field("Status", to.Status)
		if to.Remote != "" {
			w.field("Remote-MTA", "dns; "+to.Remote)
			if to.Reply != "" {
				w.field("Diagnostic-Code", "smtp; "+to.Reply)
			}
		} else if to.Reply != "" {
			w.field("Diagnostic-Code", "x-expost; "+to.Reply)
		}
		if !to.Last.IsZero() {
			w.field("Last-Attempt-Date", to.Last.Format(dateLayout))
		}
		if to.Action == Delayed {
			w.field("Will-Retry-Until", to.Until.Format(dateLayout))
		}
	}
	w.line("")
}

// addressType names the form of an address.
func addressType(a mail.Address) string {
	if mail.IsASCII(string(a)) {
		return "rfc822"
	}
	return "utf-8"
}

// writer writes lines.
type writer struct{ *bytes.Buffer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\r\n", args...) }

// foldAt is where lines of a field are folded, in bytes.
const foldAt = 76

// field writes a header field, folded at its blanks.
func (w *writer) field(name, value string) {
	width := len(name) + 1
	w.WriteString(name + ":")
	for word := range strings.FieldsSeq(clean(value)) {
		for len(word) > maxWord { // no line longer than RFC 5322 §2.1.1 allows
			n := maxWord
			for n > 0 && !utf8.RuneStart(word[n]) {
				n--
			}
			w.WriteString("\r\n " + word[:n])
			word, width = word[n:], foldAt
		}
		if width+1+len(word) > foldAt && width > len(name)+1 {
			w.WriteString("\r\n")
			width = 0
		}
		w.WriteString(" " + word)
		width += 1 + len(word)
	}
	w.WriteString("\r\n")
}

// maxWord is how long a word without a blank may be.
const maxWord = 900

// maxQuoted is how much of another's words is quoted.
const maxQuoted = 2000

// clean makes one line of valid text of s.
func clean(s string) string {
	if len(s) > maxQuoted {
		s = s[:maxQuoted]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
