package sample

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"expost/internal/mail"
)

// WriteMbox writes a mailbox as a tree of mbox files, as Thunderbird lays them
// out: the folder "A/B" is the file "A.sbd/B". Lines end by LF; what looks like
// a separator is quoted as mboxrd has it; Status, X-Status and X-Keywords,
// put behind each header, hold the flags.
func WriteMbox(dir string, m *Mailbox) error {
	for f, folder := range m.Folders {
		levels := strings.Split(folder.Name, mail.Delimiter)
		path := filepath.Join(dir, strings.Join(levels, ".sbd"+string(filepath.Separator)))
		if err := writeMboxFile(path, m, f); err != nil {
			return fmt.Errorf("writing folder %q: %w", folder.Name, err)
		}
	}
	return nil
}

func writeMboxFile(path string, m *Mailbox, f int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for msg := range m.Messages(f) {
		writeMboxMessage(w, msg)
	}
	if err := w.Flush(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// writeMboxMessage writes a message; w remembers an error.
func writeMboxMessage(w *bufio.Writer, msg Message) {
	fmt.Fprintf(w, "From MAILER-DAEMON %s\n", msg.Date.Time().UTC().Format(time.ANSIC))
	text := bytes.ReplaceAll(msg.Body, []byte("\r\n"), []byte("\n"))
	header, body, _ := bytes.Cut(text, []byte("\n\n"))
	w.Write(header)
	status, xstatus := "O", ""
	for _, flag := range []struct {
		flag   mail.Flags
		letter string
		field  *string
	}{{mail.Seen, "R", &status}, {mail.Answered, "A", &xstatus}, {mail.Flagged, "F", &xstatus}, {mail.Draft, "T", &xstatus}, {mail.Deleted, "D", &xstatus}} {
		if msg.Flags&flag.flag != 0 {
			*flag.field = flag.letter + *flag.field
		}
	}
	fmt.Fprintf(w, "\nStatus: %s\n", status)
	if xstatus != "" {
		fmt.Fprintf(w, "X-Status: %s\n", xstatus)
	}
	if words := msg.Keywords.String(); words != "" {
		fmt.Fprintf(w, "X-Keywords: %s\n", words)
	}
	w.WriteByte('\n')
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			w.WriteByte('>')
		}
		w.Write(line)
	}
	if !bytes.HasSuffix(body, []byte("\n")) {
		w.WriteByte('\n')
	}
	w.WriteByte('\n')
}

// WriteEML writes a mailbox as a tree of directories with a file for each
// message, "Projekte/00000017.eml" with its UID, whose time is INTERNALDATE.
// Lines end by CRLF.
func WriteEML(dir string, m *Mailbox) error {
	for f, folder := range m.Folders {
		path := filepath.Join(dir, filepath.FromSlash(folder.Name))
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("writing folder %q: %w", folder.Name, err)
		}
		for msg := range m.Messages(f) {
			file := filepath.Join(path, fmt.Sprintf("%08d.eml", msg.UID))
			if err := os.WriteFile(file, msg.Body, 0o600); err != nil {
				return fmt.Errorf("writing folder %q: %w", folder.Name, err)
			}
			when := msg.Date.Time()
			if err := os.Chtimes(file, when, when); err != nil {
				return fmt.Errorf("writing folder %q: %w", folder.Name, err)
			}
		}
	}
	return nil
}
