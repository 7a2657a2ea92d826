package imapserver

import (
	"context"
	"strings"

	"expost/internal/imapwire"
)

// filterDepth bounds filters that use filters (RFC 5466 §3.1 wants 3).
const filterDepth = 8

// filterKeys bounds what filters may make of a search.
const filterKeys = 10_000

// expandFilters puts stored searches in the place of the keys that name them
// (FILTERS, RFC 5466 §3.1). What a search brings itself must then be UTF-8.
func (c *conn) expandFilters(ctx context.Context, cmd *imapwire.SearchCommand) error {
	isFilter := func(k *imapwire.SearchKey) bool { return k.Op == imapwire.SearchFilter }
	if !anyKey(&cmd.Key, isFilter) {
		return nil
	}
	if cmd.Charset != "" && cmd.Charset != "UTF-8" && cmd.Charset != "US-ASCII" {
		return &reply{status: "BAD", code: "BADCHARSET (UTF-8 US-ASCII)", text: "FILTER goes with UTF-8 alone"}
	}
	have, err := c.annotations(ctx, nil)
	if err != nil {
		return err
	}
	x := filterExpansion{values: make(map[string]string), limits: c.srv.cfg.Limits.Command}
	for _, prefix := range []string{sharedFilters, privateFilters} { // private ones win
		for _, a := range have {
			if name, is := strings.CutPrefix(a.Entry, prefix); is {
				x.values[name] = string(a.Value)
			}
		}
	}
	return x.expand(&cmd.Key, 0)
}

// filterExpansion is stored searches on their way into one.
type filterExpansion struct {
	values map[string]string // by name in lower case
	limits imapwire.Limits
	keys   int // brought by filters so far
}

// expand replaces the filters of a key.
func (x *filterExpansion) expand(k *imapwire.SearchKey, depth int) error {
	for i := range k.Keys {
		if err := x.expand(&k.Keys[i], depth); err != nil {
			return err
		}
	}
	if k.Op != imapwire.SearchFilter {
		return nil
	}
	name := k.Text
	undefined := no("UNDEFINED-FILTER "+name, "there is no such filter, or it cannot be used")
	value, found := x.values[strings.ToLower(name)]
	if !found || depth == filterDepth {
		return undefined
	}
	stored, err := imapwire.ParseSearch(value, x.limits)
	if err != nil {
		return undefined
	}
	if x.keys += countKeys(&stored); x.keys > filterKeys {
		return undefined
	}
	*k = stored
	return x.expand(k, depth+1)
}

// countKeys returns the number of keys of a search.
func countKeys(k *imapwire.SearchKey) int {
	n := 1
	for i := range k.Keys {
		n += countKeys(&k.Keys[i])
	}
	return n
}
