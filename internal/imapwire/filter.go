package imapwire

import (
	"bufio"
	"io"
	"strings"
)

// ParseSearch reads a stored search: the criteria of SEARCH alone, in UTF-8
// (RFC 5466 §3.2).
func ParseSearch(text string, lim Limits) (SearchKey, error) {
	r := bufio.NewReader(strings.NewReader(text + "\r\n"))
	d := NewDecoder(lim, func() error { return nil })
	if err := d.Next(r); err != nil {
		return SearchKey{}, err
	}
	k := d.SearchKeys()
	d.End()
	if _, err := r.Peek(1); err != io.EOF {
		d.Fail("the search goes on in another line")
	}
	return k, d.Err()
}
