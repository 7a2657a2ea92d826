package pst

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
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
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.item(it); err != nil {
			return err
		}
	}
	return nil
}

// fetcher converts items of a folder.
type fetcher struct {
	*account
	folder migrate.Folder
	conv   *mapi.Converter
	fn     func(migrate.Item, io.Reader, error) error
	buf    bytes.Buffer
}

// inMemory is the size of an item in the file, as it says, up to which it is
// converted in memory; a larger one is converted as it is read.
const inMemory = 1 << 20

// item converts one item.
func (g *fetcher) item(it migrate.Item) error {
	m, err := g.open(it.Key)
	if broken := g.disk.err(); broken != nil {
		return broken
	}
	if err != nil {
		return g.fn(it, nil, err)
	}
	out := g.conv.Read(m)
	it = marked(it, &out.Result, -1)
	if g.Rest {
		it.Rest = out.Sidecar()
	}
	if size, ok, _ := m.Value(mapi.NewTag(0x0E08, mapi.TypeInt32)); ok && size.(int32) < inMemory && size.(int32) >= 0 {
		return g.small(it, out)
	}
	return g.large(it, out)
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

func (g *fetcher) small(it migrate.Item, out *mapi.Mail) error {
	g.buf.Reset()
	if _, err := out.WriteTo(&g.buf); err != nil {
		return err
	}
	if err := g.disk.err(); err != nil {
		return err
	}
	g.tell(it, out)
	it.Size = int64(g.buf.Len())
	err := g.fn(it, bytes.NewReader(g.buf.Bytes()), nil)
	if g.buf.Cap() > 16*inMemory {
		g.buf = bytes.Buffer{}
	}
	return err
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
