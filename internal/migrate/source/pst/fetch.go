package pst

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/mapi"
	"expost/mapi/tnef"
	"expost/pst"
)

// converter returns what makes mail of the file's items.
func (a *account) converter() *mapi.Converter {
	return &mapi.Converter{Codepage: a.page, Domain: a.user.Target.Domain(), Resolve: a.resolve, TNEF: tnef.Read}
}

// resolve asks Config.Resolve for each address once.
func (a *account) resolve(addr mapi.Address) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := mapi.Address{Type: addr.Type, Email: strings.ToLower(addr.Email)}
	smtp, ok := a.known[key]
	if !ok {
		if a.Resolve != nil {
			smtp = a.Resolve(addr)
		}
		if smtp == "" {
			a.unresolved++
		}
		if len(a.known) < 100_000 {
			a.known[key] = smtp
		}
	}
	return smtp
}

// Fetch implements migrate.SourceAccount.
func (a *account) Fetch(ctx context.Context, f migrate.Folder, items []migrate.Item, fn func(migrate.Item, io.Reader, error) error) error {
	if _, err := a.folder(ctx, f); err != nil {
		return err
	}
	g := &fetcher{account: a, folder: f, conv: a.converter(), fn: fn}
	return g.all(ctx, items)
}

// fetcher converts items of a folder, several at a time where there are processors
// for it, and gives them to fn in order.
type fetcher struct {
	*account
	folder migrate.Folder
	conv   *mapi.Converter
	fn     func(migrate.Item, io.Reader, error) error
}

// The size of an item in the file, as it says, up to which it is converted in
// memory; a larger one is converted as it is read. Buffers of more than keptBuffer
// are not used again.
const (
	inMemory   = 1 << 20
	keptBuffer = 4 << 20
)

// converted is an item on its way to fn.
type converted struct {
	item migrate.Item
	out  *mapi.Mail
	buf  *bytes.Buffer // the mail, nil of a large item
	err  error         // why there is none
	done chan struct{}
}

// all converts items. It looks ahead of fn by a few of them, whose mails wait in
// memory.
func (g *fetcher) all(ctx context.Context, items []migrate.Item) error {
	workers := min(runtime.GOMAXPROCS(0), len(items), 8)
	if workers < 2 {
		c := &converted{buf: new(bytes.Buffer)}
		for _, it := range items {
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.item, c.out, c.err = it, nil, nil; c.buf == nil || c.buf.Cap() > keptBuffer {
				c.buf = new(bytes.Buffer)
			}
			g.convert(c)
			if err := g.give(c); err != nil {
				return err
			}
		}
		return nil
	}
	return g.ahead(ctx, items, workers)
}

// ahead converts items by several goroutines, which have ended when it returns.
func (g *fetcher) ahead(ctx context.Context, items []migrate.Item, workers int) error {
	ctx, stop := context.WithCancel(ctx)
	todo, order := make(chan *converted), make(chan *converted, 2*workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range workers {
		wg.Go(func() {
			for c := range todo {
				g.convert(c)
				close(c.done)
			}
		})
	}
	free := make(chan *bytes.Buffer, 3*workers)
	wg.Go(func() {
		defer close(order)
		defer close(todo)
		for _, it := range items {
			c := &converted{item: it, done: make(chan struct{})}
			select {
			case c.buf = <-free:
			default:
				c.buf = new(bytes.Buffer)
			}
			select {
			case order <- c:
			case <-ctx.Done():
				return
			}
			todo <- c // somebody takes it: workers never wait
		}
	})
	for c := range order {
		<-c.done
		if err := ctx.Err(); err != nil {
			return err
		}
		buf := c.buf
		if err := g.give(c); err != nil {
			return err
		}
		if buf != nil && buf.Cap() <= keptBuffer {
			select {
			case free <- buf:
			default:
			}
		}
	}
	return ctx.Err()
}

// convert reads an item, and makes its mail where it is small.
func (g *fetcher) convert(c *converted) {
	c.buf.Reset()
	m, err := g.open(c.item.Key)
	if err != nil {
		c.err = err
		return
	}
	c.out = g.conv.Read(m)
	c.item = marked(c.item, &c.out.Result, -1)
	if g.Rest {
		c.item.Rest = c.out.Sidecar()
	}
	if size, ok, _ := m.Value(mapi.NewTag(0x0E08, mapi.TypeInt32)); ok && size.(int32) < inMemory && size.(int32) >= 0 {
		_, c.err = c.out.WriteTo(c.buf)
		return
	}
	c.buf = nil
}

// give gives an item to fn.
func (g *fetcher) give(c *converted) error {
	if broken := g.disk.err(); broken != nil {
		return broken
	}
	switch {
	case c.out == nil:
		return g.fn(c.item, nil, c.err)
	case c.err != nil:
		return c.err
	case c.buf == nil:
		return g.large(c.item, c.out)
	}
	g.tell(c.item, c.out)
	c.item.Size = int64(c.buf.Len())
	return g.fn(c.item, bytes.NewReader(c.buf.Bytes()), nil)
}

// open finds the item of a key.
func (g *fetcher) open(key string) (*pst.Message, error) {
	id, err := strconv.ParseUint(key, 16, 32)
	if err != nil || !g.pst.Has(uint32(id)) {
		return nil, &migrate.ItemError{Gone: true, Err: errors.New("the item is not in the file any more")}
	}
	m, err := g.pst.Message(uint32(id))
	if err != nil {
		return nil, &migrate.ItemError{Err: err}
	}
	return m, nil
}

func (g *fetcher) large(it migrate.Item, out *mapi.Mail) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := bufio.NewWriterSize(w, 64<<10)
		_, err := out.WriteTo(b)
		if err == nil {
			err = b.Flush()
		}
		if broken := g.disk.err(); broken != nil {
			err = broken
		}
		w.CloseWithError(err)
	}()
	err := g.fn(it, r, nil)
	r.Close() // ends the goroutine where fn has not read everything
	<-done
	if err == nil {
		g.tell(it, out)
	}
	return err
}

// tell logs what of an item could not be read.
func (g *fetcher) tell(it migrate.Item, out *mapi.Mail) {
	for _, p := range out.Problems {
		g.log.Warn("an item was converted with a part missing", "folder", g.folder.Name, "item", it.Key, "class", out.Class, "problem", p)
		g.damaged(fmt.Sprintf("item %s of folder %q: %v", it.Key, g.folder.Name, p))
	}
}

// marked returns an item with flags, keywords and date.
func marked(it migrate.Item, r *mapi.Result, size int64) migrate.Item {
	it.Size = size
	it.Flags, it.Keywords, it.Date = 0, mail.Keywords{}, mail.Date{}
	var words []string
	for _, f := range r.Flags {
		if flag, ok := mail.FlagByName(f); ok {
			it.Flags |= flag
		} else {
			words = append(words, f)
		}
	}
	for _, k := range r.Keywords {
		if w := keyword(k); w != "" && len(words) < 50 {
			words = append(words, w)
		}
	}
	it.Keywords = mail.NewKeywords(words...)
	if t := r.Received; t.After(time.Unix(0, 0)) {
		it.Date = mail.DateOf(t)
	}
	return it
}

// keyword makes an IMAP keyword (RFC 9051 atom) of a category. Spaces and
// what atoms cannot hold become "_"; other letters are in modified UTF-7, as
// Thunderbird writes and shows its tags.
func keyword(category string) string {
	var b strings.Builder
	var wide []uint16
	flush := func() {
		if len(wide) > 0 {
			b.WriteString(utf7(wide))
			wide = nil
		}
	}
	for _, r := range category {
		switch {
		case r >= 0x80:
			wide = utf16.AppendRune(wide, r)
			continue
		case r <= ' ' || r == 0x7F || strings.ContainsRune(`(){%*"\]&`, r):
			r = '_'
		}
		flush()
		b.WriteRune(r)
	}
	flush()
	s := b.String()
	return strings.Trim(s[:min(len(s), 200)], "_")
}

// utf7 returns UTF-16 in the base64 of modified UTF-7 (RFC 3501 §5.1.3).
func utf7(units []uint16) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"
	out, acc, bits := []byte{'&'}, uint32(0), 0
	for _, u := range units {
		acc, bits = acc<<16|uint32(u), bits+16
		for ; bits >= 6; bits -= 6 {
			out = append(out, digits[acc>>(bits-6)&63])
		}
		acc &= 1<<bits - 1
	}
	if bits > 0 {
		out = append(out, digits[acc<<(6-bits)&63])
	}
	return string(slices.Concat(out, []byte{'-'}))
}
