package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// mbox is a tree of mbox files as Thunderbird lays them out: the folder "A/B" is
// the file A.sbd/B. Lines end by LF; what looks like a separator is quoted as
// mboxrd has it; Status, X-Status and X-Keywords behind the header hold the flags.
type mbox struct {
	dir  string
	file *os.File
	w    *bufio.Writer
	in   *bufio.Reader
}

func newMbox(path string) (writer, error) {
	return &mbox{dir: path, in: bufio.NewReaderSize(nil, 64<<10)}, os.MkdirAll(path, 0o700)
}

func (m *mbox) folder(f migrate.Folder) error {
	if err := m.end(); err != nil {
		return err
	}
	levels := strings.Split(f.Name, mail.Delimiter)
	for i := range levels {
		levels[i] = levelName(levels[i])
	}
	path := filepath.Join(m.dir, strings.Join(levels, ".sbd"+string(filepath.Separator)))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	m.file, m.w = file, bufio.NewWriterSize(file, 256<<10)
	return err
}

// end finishes the folder's file.
func (m *mbox) end() error {
	if m.file == nil {
		return nil
	}
	err := errors.Join(m.w.Flush(), m.file.Close())
	m.file = nil
	return err
}

func (m *mbox) close() error { return errors.Join(m.end(), syncTree(m.dir)) }

func (m *mbox) add(it migrate.Item, r io.Reader) error {
	fmt.Fprintf(m.w, "From MAILER-DAEMON %s\n", it.Date.Time().UTC().Format(time.ANSIC))
	m.in.Reset(r)
	in := m.in
	header, fresh, last := true, true, byte('\n')
	for {
		line, err := in.ReadSlice('\n')
		ended := bytes.HasSuffix(line, []byte("\n"))
		if ended {
			line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		}
		switch {
		case header && fresh && ended && len(line) == 0:
			header = false
			m.status(it)
		case fresh && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")):
			m.w.WriteByte('>')
		}
		m.w.Write(line)
		if ended {
			m.w.WriteByte('\n')
			last = '\n'
		} else if len(line) > 0 {
			last = line[len(line)-1]
		}
		fresh = ended
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	if last != '\n' {
		m.w.WriteByte('\n')
	}
	if header {
		m.status(it)
		m.w.WriteByte('\n')
	}
	return m.w.WriteByte('\n') // an error of any write is said here
}

// status writes the fields of the flags.
func (m *mbox) status(it migrate.Item) {
	status, more := "O", ""
	if it.Flags&mail.Seen != 0 {
		status = "RO"
	}
	for _, f := range []struct {
		flag   mail.Flags
		letter string
	}{{mail.Answered, "A"}, {mail.Flagged, "F"}, {mail.Draft, "T"}, {mail.Deleted, "D"}} {
		if it.Flags&f.flag != 0 {
			more += f.letter
		}
	}
	fmt.Fprintf(m.w, "Status: %s\n", status)
	if more != "" {
		fmt.Fprintf(m.w, "X-Status: %s\n", more)
	}
	if words := it.Keywords.String(); words != "" {
		fmt.Fprintf(m.w, "X-Keywords: %s\n", words)
	}
}
