package sample

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// WriteMaildir writes a mailbox as Maildir++ into dir, which must not exist, as
// Dovecot does: UIDVALIDITY and UIDs in dovecot-uidlist, keywords in
// dovecot-keywords, INTERNALDATE as the time of the file, subscriptions. Lines
// end by LF, as they do in files.
func WriteMaildir(dir string, m *Mailbox) error {
	for f := range m.Folders {
		path := dir
		if f > 0 {
			path = filepath.Join(dir, maildirName(m.Folders[f].Name))
		}
		if err := writeMaildirFolder(path, m, f); err != nil {
			return fmt.Errorf("writing folder %q: %w", m.Folders[f].Name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "subscriptions"), subscriptions(m), 0o600); err != nil {
		return fmt.Errorf("writing the subscriptions: %w", err)
	}
	return nil
}

// maildirName returns the name of a folder's directory: ".Projekte.M&APw-ller".
func maildirName(name string) string {
	return "." + levels(name, ".")
}

// levels returns a name in modified UTF-7 with another delimiter.
func levels(name, delimiter string) string {
	return strings.ReplaceAll(string(imapwire.AppendUTF7(nil, name)), mail.Delimiter, delimiter)
}

// subscriptions returns Dovecot's list of subscribed folders, version 2.
func subscriptions(m *Mailbox) []byte {
	b := []byte("V\t2\n\n")
	for _, f := range m.Folders {
		if f.Subscribed {
			b = append(b, levels(f.Name, "\t")+"\n"...)
		}
	}
	return b
}

func writeMaildirFolder(path string, m *Mailbox, f int) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o700); err != nil {
			return err
		}
	}
	if f > 0 {
		if err := os.WriteFile(filepath.Join(path, "maildirfolder"), nil, 0o600); err != nil {
			return err
		}
	}
	folder := m.Folders[f]
	var list bytes.Buffer
	fmt.Fprintf(&list, "3 V%d N%d G%032x\n", folder.UIDValidity, folder.UIDNext, uint64(folder.UIDValidity))
	var words []string
	for msg := range m.Messages(f) {
		base, err := writeMaildirMessage(path, msg, &words)
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%d :%s\n", msg.UID, base)
	}
	var names bytes.Buffer
	for i, w := range words {
		fmt.Fprintf(&names, "%d %s\n", i, w)
	}
	if err := os.WriteFile(filepath.Join(path, "dovecot-keywords"), names.Bytes(), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "dovecot-uidlist"), list.Bytes(), 0o600)
}

// writeMaildirMessage writes a message and returns its file's name without the
// flags. words are the folder's keywords so far.
func writeMaildirMessage(path string, msg Message, words *[]string) (string, error) {
	text := bytes.ReplaceAll(msg.Body, []byte("\r\n"), []byte("\n"))
	base := fmt.Sprintf("%d.M%dP%d.exchange,S=%d,W=%d", msg.Date.Unix, msg.UID, 1000+msg.UID%9000, len(text), len(msg.Body))
	file := filepath.Join(path, "cur", base+":2,"+maildirFlags(msg, words))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", err
	}
	when := msg.Date.Time()
	return base, os.Chtimes(file, when, when)
}

// maildirFlags returns the flags of a file's name, in the order of their
// letters; keywords are the lower-case ones, by their place in words.
func maildirFlags(msg Message, words *[]string) string {
	var letters []byte
	for _, f := range []struct {
		flag   mail.Flags
		letter byte
	}{{mail.Draft, 'D'}, {mail.Flagged, 'F'}, {mail.Answered, 'R'}, {mail.Seen, 'S'}, {mail.Deleted, 'T'}} {
		if msg.Flags&f.flag != 0 {
			letters = append(letters, f.letter)
		}
	}
	for _, w := range msg.Keywords.Words() {
		i := slices.Index(*words, w)
		if i < 0 {
			i = len(*words)
			*words = append(*words, w)
		}
		letters = append(letters, 'a'+byte(i))
	}
	slices.Sort(letters)
	return string(letters)
}
