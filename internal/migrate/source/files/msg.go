package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/mapi"
	"expost/mapi/msg"
	"expost/mapi/tnef"
)

// A .msg file is an item that was dragged out of Outlook. It is read as one
// message of the directory it lies in.

// isMSG tells a .msg file by its name and, where they are known, its first bytes.
func isMSG(name string, start []byte) bool {
	return strings.EqualFold(filepath.Ext(name), ".msg") && (start == nil || bytes.HasPrefix(start, []byte("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")))
}

// readMSG opens a .msg file. What is damaged in it is left out.
func (b *emlBox) readMSG(name string) (*os.File, *mapi.Mail, error) {
	f, err := os.Open(filepath.Join(b.dir, name))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	m, err := msg.Open(f, info.Size())
	if m == nil {
		return nil, nil, errors.Join(fmt.Errorf("reading %s: %w", name, err), f.Close())
	}
	c := &mapi.Converter{Domain: b.domain, TNEF: tnef.Read}
	return f, c.Read(m), nil
}

// msgItem returns the flags and the date of a .msg file.
func (b *emlBox) msgItem(name string) (migrate.Item, error) {
	it := migrate.Item{Key: name, Flags: mail.Seen}
	f, m, err := b.readMSG(name)
	if err != nil {
		return it, nil // Fetch says what is wrong with this one file
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return it, err
	}
	it.Size, it.Flags = info.Size(), 0
	var words []string
	for _, flag := range m.Flags {
		if known, ok := mail.FlagByName(flag); ok {
			it.Flags |= known
		} else {
			words = append(words, flag)
		}
	}
	it.Keywords = mail.NewKeywords(words...)
	it.Date = mail.DateOf(info.ModTime())
	if !m.Received.IsZero() {
		it.Date = mail.DateOf(m.Received)
	}
	return it, nil
}

// openMSG converts a .msg file as it is read.
func (b *emlBox) openMSG(name string) (io.ReadCloser, error) {
	f, m, err := b.readMSG(name)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := m.WriteTo(w)
		w.CloseWithError(err)
	}()
	return &converted{r, f, done}, nil
}

// converted is a message on its way.
type converted struct {
	*io.PipeReader
	file *os.File
	done chan struct{}
}

// Close ends the conversion.
func (c *converted) Close() error {
	err := c.PipeReader.Close()
	<-c.done
	return errors.Join(err, c.file.Close())
}
