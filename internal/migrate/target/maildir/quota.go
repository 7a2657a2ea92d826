package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"expost/internal/mail"
)

// quotaFile is where Maildir++ keeps its quota and what is used of it: a line of
// limits, then lines of bytes and messages that add up.
const quotaFile = "maildirsize"

// use adds a line to maildirsize, where there is one: so many bytes and messages
// more. It stands there before the messages do: what a crash leaves in it is too
// much, and a server that finds a Maildir full by it counts anew; what is too
// little would never be noticed.
func (a *account) use(bytes int64, messages int) error {
	if messages == 0 {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(a.root, quotaFile), os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d %d\n", bytes, messages)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return mail.WrapError(diskKind(err), err, "counting for the quota in %s", filepath.Join(a.root, quotaFile))
	}
	return nil
}
