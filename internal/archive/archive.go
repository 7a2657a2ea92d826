// Package archive writes mailboxes into files that other programs read: mbox
// trees, trees of .eml files, and Outlook's PST. What is read is any source of a
// migration.
//
// An archive is made under a name that ends in .part, synced, and only then
// given its own: a crash leaves the .part, which the next run makes anew.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// writer is a format. Folders come parents first, and each message in its folder.
type writer interface {
	// folder begins a folder.
	folder(f migrate.Folder) error
	// add adds a message to the folder begun last. An error of r is returned as it
	// is.
	add(it migrate.Item, r io.Reader) error
	// close finishes the archive, on disk when it returns.
	close() error
}

// formats are the formats by name; each makes what path names.
var formats = map[string]func(path string) (writer, error){
	"mbox": newMbox, "eml": newEML, "pst": newPST,
}

// Result is what a Copy wrote.
type Result struct {
	Path     string `json:"path"`
	Folders  int    `json:"folders"`
	Messages int    `json:"messages"`
	Bytes    int64  `json:"bytes"`
	Failed   int    `json:"failed"` // messages that the source did not give
}

// Options are the choices of Copy.
type Options struct {
	Format string // mbox, eml or pst

	// Failed is told of each message that is not in the archive.
	Failed func(folder, key string, err error)

	// Progress is told of messages done, and once of their number before.
	Progress func(done, of int, bytes int64)
}

// Copy writes all of an account to path, which must not exist yet.
func Copy(ctx context.Context, src migrate.SourceAccount, path string, opt Options) (Result, error) {
	make, ok := formats[opt.Format]
	if !ok {
		return Result{}, mail.Errorf(mail.KindInvalid, "%q is no format of an archive: mbox, eml and pst are", opt.Format)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return Result{}, mail.Errorf(mail.KindExist, "%s exists already: name another place, or remove it", path)
	}
	part := path + ".part"
	if err := os.RemoveAll(part); err != nil {
		return Result{}, fmt.Errorf("removing what an export that was stopped left: %w", err)
	}
	w, err := make(part)
	if err != nil {
		return Result{}, err
	}
	c := &copying{src: src, w: w, opt: opt, res: Result{Path: path}}
	if err := errors.Join(c.run(ctx), w.close()); err != nil {
		return c.res, fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(part, path); err != nil {
		return c.res, fmt.Errorf("naming the archive: %w", err)
	}
	return c.res, syncDir(filepath.Dir(path))
}

// copying is a Copy under way.
type copying struct {
	src     migrate.SourceAccount
	w       writer
	opt     Options
	res     Result
	of      int
	failing error // of the archive, which ends everything
}

func (c *copying) run(ctx context.Context) error {
	folders, err := c.src.Folders(ctx)
	if err != nil {
		return err
	}
	for _, f := range folders {
		c.of += max(0, f.State.Messages)
	}
	for _, f := range folders {
		if err := c.w.folder(f); err != nil {
			return fmt.Errorf("folder %q: %w", f.Name, err)
		}
		c.res.Folders++
		if f.NoItems {
			continue
		}
		_, err := c.src.Scan(ctx, f, migrate.State{}, func(items []migrate.Item) error {
			return c.src.Fetch(ctx, f, items, func(it migrate.Item, r io.Reader, err error) error { return c.item(f, it, r, err) })
		})
		if err != nil {
			return fmt.Errorf("folder %q: %w", f.Name, err)
		}
	}
	return nil
}

// item writes one message.
func (c *copying) item(f migrate.Folder, it migrate.Item, r io.Reader, err error) error {
	if err == nil {
		err = c.write(it, r)
	}
	if c.failing != nil {
		return c.failing
	}
	switch {
	case err == nil:
		c.res.Messages++
	case errors.As(err, new(*migrate.ItemError)):
		c.res.Failed++
		if c.opt.Failed != nil {
			c.opt.Failed(f.Name, it.Key, err)
		}
	default:
		return err
	}
	if c.opt.Progress != nil {
		c.opt.Progress(c.res.Messages+c.res.Failed, c.of, c.res.Bytes)
	}
	return nil
}

func (c *copying) write(it migrate.Item, r io.Reader) error {
	counted := &counter{r: r}
	err := c.w.add(it, counted)
	c.res.Bytes += counted.n
	if err != nil && counted.err == nil {
		c.failing = err
	}
	return err
}

// counter counts what is read and remembers its error.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

// Read reads.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// syncTree makes everything on the file system of a folder durable: for many
// files that takes less than a sync of each.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// levelName makes a file's name of a level of a folder's name: what file systems
// do not take is escaped as %XX.
func levelName(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7F || c == '/' || c == '\\' || c == ':' || c == '*' || c == '?' || c == '"' || c == '<' || c == '>' || c == '|' || c == '%' ||
			c == '.' && (i == 0 || i == len(s)-1) {
			out = fmt.Appendf(out, "%%%02X", c)
			continue
		}
		out = append(out, c)
	}
	return string(out)
}
