package delivery

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/queue"
)

// Envelope is everything about a message that is not in it.
type Envelope struct {
	ID         string       // names the message in logs, Received and Message-ID
	From       mail.Address // reverse-path; empty: the null one
	Recipients []Recipient
	Size       int64  // SIZE as declared; 0: not
	Body       string // BODY: "7BIT", "8BITMIME"; empty: not given
	UTF8       bool   // SMTPUTF8 (RFC 6531)
	Return     string // RET: "FULL", "HDRS" (RFC 3461 §4.3); empty: not given
	EnvID      string // ENVID, xtext decoded (RFC 3461 §4.4)
	RequireTLS bool   // REQUIRETLS (RFC 8689)
	By         queue.DeliverBy
	Priority   int       // MT-PRIORITY (RFC 6710)
	NotBefore  time.Time // when it is delivered (RFC 4865); zero: at once
	Hold       string    // why it is held in the queue until somebody releases it; empty: it is not

	Client     Client
	Received   time.Time // when DATA or the first BDAT came
	Submitted  bool      // the client is the author's program: missing fields are added, Bcc removed
	PerReply   bool      // LMTP: each recipient gets a reply of its own
	SignedInAs mail.Address
	Foreign    bool // it comes from another host that nobody vouches for, so its sender is checked

	Results []byte // the Authentication-Results field; nil: nothing was checked
	Verdict string // the results in a few words, for the log
	Junk    bool   // it belongs into the Junk mailbox
}

// Recipient is one RCPT.
type Recipient struct {
	Address  mail.Address // as the client wrote it
	Notify   string       // NOTIFY (RFC 3461 §4.1): "NEVER" or a list of "SUCCESS", "FAILURE", "DELAY"; empty: not given
	Original string       // ORCPT (RFC 3461 §4.2), "rfc822;user@host", xtext decoded; empty: not given
	Route    *Route
}

// Client is where the message came from.
type Client struct {
	Helo    string // as the client wrote it, any bytes but control characters
	Address netip.Addr
	ESMTP   bool // EHLO, not HELO
	LMTP    bool
	TLS     *tls.ConnectionState // nil: clear text
}

// Protocol returns the word for "with" (RFC 3848, RFC 6531 §4.3): "ESMTPSA".
func (e *Envelope) Protocol() string {
	p := "SMTP"
	if e.Client.LMTP {
		p = "LMTP"
	}
	switch {
	case e.UTF8:
		p = "UTF8" + p
	case !e.Client.LMTP && e.Client.ESMTP:
		p = "E" + p
	}
	if p == "SMTP" {
		return p
	}
	if e.Client.TLS != nil {
		p += "S"
	}
	if e.SignedInAs != "" {
		p += "A"
	}
	return p
}

// trace returns the fields that final delivery puts before the message (RFC
// 5321 §4.4). The recipient is named only where it is the only one, so that
// nobody learns of the others.
func (e *Envelope) trace(hostname string) []byte {
	var b strings.Builder
	b.WriteString(e.returnPath())
	b.Write(e.Results)
	b.WriteString("Received: from " + word(e.Client.Helo) + " (" + literal(e.Client.Address) + ")\r\n")
	if s := e.Client.TLS; s != nil {
		b.WriteString("\t(using " + strings.ReplaceAll(tls.VersionName(s.Version), " ", "") + " with cipher " + tls.CipherSuiteName(s.CipherSuite) + ")\r\n")
	}
	b.WriteString("\tby " + hostname + " with " + e.Protocol() + " id " + e.ID)
	if len(e.Recipients) == 1 {
		b.WriteString("\r\n\tfor <" + mail.QuotedAddress(e.Recipients[0].Address) + ">")
	}
	b.WriteString(";\r\n\t" + e.Received.Format(dateLayout) + "\r\n")
	return []byte(b.String())
}

// returnPath returns the field that only the last host may add (RFC 5321 §4.4).
func (e *Envelope) returnPath() string {
	return "Return-Path: <" + mail.QuotedAddress(e.From) + ">\r\n"
}

// dateLayout is RFC 5322 §3.3's date-time.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// literal returns the address literal of ip (RFC 5321 §4.1.3).
func literal(ip netip.Addr) string {
	ip = ip.Unmap()
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}

// word returns a HELO name with every byte replaced that would change the
// meaning of the Received field it is written into.
func word(s string) string {
	if s == "" {
		return "unknown"
	}
	b := []byte(s)
	for i, c := range b {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>\";,`, c) >= 0 {
			b[i] = '?'
		}
	}
	return string(b)
}
