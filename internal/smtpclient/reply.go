package smtpclient

import (
	"bufio"
	"errors"
	"strconv"
	"strings"
)

// Limits of a reply. RFC 5321 §4.5.3.1.5 allows lines of 512 bytes; servers of
// today write longer ones.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
)

// maxReplyText is how much of a reply's text is kept, in bytes.
const maxReplyText = 1000

// Errors of replies.
var (
	errReplySyntax = errors.New("the server's reply is no SMTP reply")
	errReplySize   = errors.New("the server's reply is too long")
)

// Reply is a server's reply.
type Reply struct {
	Code   int    // 250
	Status string // enhanced status code (RFC 3463), "2.1.5"; empty: none
	Text   string // the lines without codes, joined by blanks; printable

	lines []string // without codes, status included
}

// Delivered tells whether the reply accepts.
func (r Reply) Delivered() bool { return r.Code >= 200 && r.Code < 300 }

// Permanent tells whether the reply refuses for good.
func (r Reply) Permanent() bool { return r.Code >= 500 }

// String returns the reply on one line: "550 5.1.1 no such user".
func (r Reply) String() string {
	s := strconv.Itoa(r.Code)
	if r.Status != "" {
		s += " " + r.Status
	}
	if r.Text != "" {
		s += " " + r.Text
	}
	return s
}

// readReply reads a reply of one or more lines (RFC 5321 §4.2.1).
func readReply(in *bufio.Reader) (Reply, error) {
	var r Reply
	for {
		line, err := readLine(in)
		if err != nil {
			return Reply{}, err
		}
		code, last, text, err := splitLine(line)
		if err != nil {
			return Reply{}, err
		}
		if r.Code != 0 && code != r.Code {
			return Reply{}, errReplySyntax
		}
		r.Code = code
		if len(r.lines) == maxReplyLines {
			return Reply{}, errReplySize
		}
		r.lines = append(r.lines, text)
		if last {
			r.describe()
			return r, nil
		}
	}
}

// readLine reads a line without its end. A bare LF ends it too.
func readLine(in *bufio.Reader) (string, error) {
	var long []byte
	for {
		piece, err := in.ReadSlice('\n')
		if len(long)+len(piece) > maxReplyLine {
			return "", errReplySize
		}
		long = append(long, piece...)
		if err == nil {
			return strings.TrimRight(string(long), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// splitLine takes "250-text" apart.
func splitLine(line string) (code int, last bool, text string, err error) {
	if len(line) < 3 {
		return 0, false, "", errReplySyntax
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, false, "", errReplySyntax
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, "", errReplySyntax
	}
	switch {
	case len(line) == 3:
		return code, true, "", nil
	case line[3] == ' ':
		return code, true, printable(line[4:]), nil
	case line[3] == '-':
		return code, false, printable(line[4:]), nil
	}
	return 0, false, "", errReplySyntax
}

// describe fills in Status and Text from the lines.
func (r *Reply) describe() {
	var b strings.Builder
	for i, line := range r.lines {
		status, rest := cutStatus(line)
		if status != "" && int(status[0]-'0') == r.Code/100 {
			line = rest
			if i == 0 {
				r.Status = status
			}
		}
		if line == "" || b.Len()+len(line) > maxReplyText {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	r.Text = b.String()
}

// cutStatus takes an enhanced status code off a line (RFC 2034 §4).
func cutStatus(line string) (status, rest string) {
	status, rest, _ = strings.Cut(line, " ")
	parts := strings.Split(status, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || strings.IndexByte("245", parts[0][0]) < 0 {
		return "", line
	}
	for _, p := range parts[1:] {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n > 999 || len(p) > 3 {
			return "", line
		}
	}
	return status, strings.TrimSpace(rest)
}

// printable replaces what may not be written into a report or a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
