package imap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"expost/internal/migrate"
)

// maxLine is the longest line that every server takes.
const maxLine = 8000

// headerStart is how much of a header goes into a mended copy.
const headerStart = 256 << 10

// Mend returns a copy of a message that no server has a reason to refuse: its
// header, a note that says why, and the original, byte by byte, as an
// attachment. It is nil where nothing is wrong with the message: no NUL, no
// line beyond 8000 bytes, no 8-bit bytes or "From " line in the header.
func Mend(ctx context.Context, r io.Reader, dir string) (mended *migrate.Bytes, why string, err error) {
	original, err := migrate.SpoolBytes(ctx, r, dir, 0)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, original.Close()) }()
	header, why, err := examine(original)
	if err != nil || why == "" {
		return nil, "", err
	}
	body, err := original.Open()
	if err != nil {
		return nil, "", err
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(writeMended(pw, header, why, body)) }()
	mended, err = migrate.SpoolBytes(ctx, pr, dir, 0)
	pr.Close()
	return mended, why, err
}

// examine looks for what servers refuse, and returns the header lines that a
// copy can have.
func examine(b *migrate.Bytes) (header []string, why string, err error) {
	r, err := b.Open()
	if err != nil {
		return nil, "", err
	}
	in := bufio.NewReaderSize(r, 64<<10)
	inHeader, line, kept := true, 0, 0
	for {
		part, err := in.ReadSlice('\n')
		whole := err == nil
		switch {
		case bytes.IndexByte(part, 0) >= 0:
			why = "it holds NUL bytes"
		case line+len(part) > maxLine:
			why = fmt.Sprintf("it has a line of more than %d bytes", maxLine)
		case inHeader && line == 0 && bytes.HasPrefix(part, []byte("From ")):
			why = `its header has a "From " line`
		case inHeader && bytes.ContainsFunc(part, func(r rune) bool { return r >= 0x80 }):
			why = "its header holds 8-bit bytes"
		}
		if inHeader && line == 0 {
			text := strings.TrimRight(string(part), "\r\n")
			if inHeader = text != ""; inHeader && kept < headerStart && plainHeader(text) {
				header = append(header, text)
				kept += len(text)
			}
		}
		if line += len(part); whole {
			line = 0
		}
		if err == io.EOF {
			return header, why, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil, "", err
		}
	}
}

// eightBitHeader tells whether the header holds 8-bit bytes.
func eightBitHeader(b *migrate.Bytes) (bool, error) {
	r, err := b.Open()
	if err != nil {
		return false, err
	}
	in := bufio.NewReaderSize(r, 8<<10)
	for start := true; ; {
		part, err := in.ReadSlice('\n')
		switch {
		case bytes.ContainsFunc(part, func(r rune) bool { return r >= 0x80 }):
			return true, nil
		case err == io.EOF, start && len(bytes.TrimRight(part, "\r\n")) == 0:
			return false, nil
		case err != nil && err != bufio.ErrBufferFull:
			return false, err
		}
		start = err == nil
	}
}

// plainHeader tells whether a header line can be in a mended copy: it is no
// MIME field, and nothing is wrong with it.
func plainHeader(line string) bool {
	name, _, ok := strings.Cut(line, ":")
	folded := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
	if folded || !ok || len(line) > 900 || strings.ContainsFunc(line, func(r rune) bool { return r >= 0x80 || r < ' ' && r != '\t' }) {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "from", "to", "cc", "date", "subject", "message-id", "in-reply-to", "references", "reply-to", "sender":
		return true
	}
	return false
}

// writeMended writes the copy.
func writeMended(w io.Writer, header []string, why string, original io.Reader) error {
	const boundary = "=_expost_mended_=" // no line of base64 and none of the note is like it
	out := bufio.NewWriter(w)
	for _, line := range header {
		fmt.Fprintf(out, "%s\r\n", line)
	}
	fmt.Fprintf(out, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n", boundary)
	fmt.Fprintf(out, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThis message could not be moved to its new server as it is: %s.\r\nThe original is attached, unchanged.\r\n", boundary, why)
	fmt.Fprintf(out, "--%[1]s\r\nContent-Type: application/octet-stream; name=\"%[2]s\"\r\nContent-Disposition: attachment; filename=\"%[2]s\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, migrate.MendedName)
	lines := &wrapper{w: out}
	enc := base64.NewEncoder(base64.StdEncoding, lines)
	if _, err := io.Copy(enc, original); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\r\n--%s--\r\n", boundary)
	return out.Flush()
}

// wrapper breaks base64 into lines of 76.
type wrapper struct {
	w *bufio.Writer
	n int
}

// Write implements io.Writer.
func (l *wrapper) Write(p []byte) (int, error) {
	for i, c := range p {
		if l.n == 76 {
			l.w.WriteString("\r\n")
			l.n = 0
		}
		if err := l.w.WriteByte(c); err != nil {
			return i, err
		}
		l.n++
	}
	return len(p), nil
}
