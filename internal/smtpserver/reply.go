package smtpserver

import (
	"errors"
	"strconv"
	"strings"

	"expost/internal/delivery"
	"expost/internal/mail"
)

// reply is what a command is answered with.
type reply struct {
	code   int
	status string   // enhanced (RFC 2034); empty: none
	text   string   // of the last line
	more   []string // lines before it
	end    bool     // the connection ends with it
}

// none is the reply of a command that has written its replies itself.
var none = reply{}

// refused tells whether the client did something that is not accepted.
func (r reply) refused() bool { return r.code >= 400 }

// result is the reply as the mail log has it: "250 2.0.0".
func (r reply) result() string {
	if r.code == 0 {
		return "connection lost"
	}
	return strconv.Itoa(r.code) + " " + r.status
}

// closing returns r as the last reply of the connection.
func (r reply) closing() reply {
	r.end = true
	return r
}

// append appends the reply in its wire form.
func (r reply) append(dst []byte) []byte {
	for _, l := range r.more {
		dst = strconv.AppendInt(dst, int64(r.code), 10)
		dst = append(append(append(dst, '-'), l...), "\r\n"...)
	}
	dst = append(strconv.AppendInt(dst, int64(r.code), 10), ' ')
	if r.status != "" {
		dst = append(append(dst, r.status...), ' ')
	}
	return append(append(dst, printable(r.text)...), "\r\n"...)
}

// maxReplyText keeps a reply line within RFC 5321 §4.5.3.1.5.
const maxReplyText = 480

// printable keeps what a client sent us from breaking out of a reply.
func printable(s string) string {
	if len(s) > maxReplyText {
		s = strings.ToValidUTF8(s[:maxReplyText], "")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// kindReply is the reply to an error that says no more than its kind.
func kindReply(k mail.Kind) (code int, status string) {
	switch k {
	case mail.KindNotExist:
		return 550, "5.1.1"
	case mail.KindPermission:
		return 550, "5.7.1"
	case mail.KindAuth:
		return 535, "5.7.8"
	case mail.KindInvalid:
		return 554, "5.6.0"
	case mail.KindTooBig:
		return 552, "5.3.4"
	case mail.KindExist:
		return 554, "5.3.0"
	case mail.KindQuota:
		return 452, "4.2.2"
	case mail.KindUnavailable:
		return 452, "4.3.1"
	case mail.KindTemporary, mail.KindInternal, mail.KindCorrupt, mail.KindConflict:
		return 451, "4.3.0"
	}
	return 451, "4.3.0"
}

// errorReply is the reply to an error of the packages below.
func errorReply(err error) reply {
	if e, ok := errors.AsType[*delivery.Error](err); ok {
		code, _ := kindReply(e.Err.Kind)
		return reply{code: code, status: e.Status, text: e.Err.Text}
	}
	code, status := kindReply(mail.KindOf(err))
	return reply{code: code, status: status, text: mail.PublicText(err)}
}
