package imapwire

import "strings"

// SortBy is what SORT orders by.
type SortBy uint8

// The sort criteria (RFC 5256 §3, RFC 5957).
const (
	SortArrival SortBy = iota
	SortSize
	SortDate
	SortSubject
	SortFrom
	SortTo
	SortCc
	SortDisplayFrom
	SortDisplayTo
	SortRelevancy // RFC 6203 §5
)

// SortKey is one sort criterion.
type SortKey struct {
	By      SortBy
	Reverse bool
}

// maxSortKeys bounds the criteria of a SORT: more than there are make no sense.
const maxSortKeys = 20

// Sort reads what follows SORT: return options (RFC 5267), criteria, and a
// search whose charset comes first.
func (d *Decoder) Sort() ([]SortKey, SearchCommand) {
	var cmd SearchCommand
	var keys []SortKey
	d.SP()
	if d.TryKeyword("RETURN") {
		d.SP()
		cmd.Return = d.returnOptions()
		d.SP()
	}
	d.List(func() { keys = append(keys, d.sortKey()) })
	if len(keys) == 0 || len(keys) > maxSortKeys {
		d.Fail("expected a few sort criteria")
	}
	d.SP()
	d.charsetAndKeys(&cmd)
	return keys, cmd
}

// Thread reads what follows THREAD: the algorithm, in upper case, and a search.
func (d *Decoder) Thread() (algorithm string, cmd SearchCommand) {
	d.SP()
	algorithm = d.Keyword()
	d.SP()
	d.charsetAndKeys(&cmd)
	return algorithm, cmd
}

// charsetAndKeys reads the end of SORT and THREAD.
func (d *Decoder) charsetAndKeys(cmd *SearchCommand) {
	cmd.Charset = strings.ToUpper(d.AString())
	d.SP()
	cmd.Key = d.SearchKeys()
	d.End()
}

// sortKey reads one criterion.
func (d *Decoder) sortKey() SortKey {
	var k SortKey
	if d.TryKeyword("REVERSE") {
		k.Reverse = true
		d.SP()
	}
	at := d.off
	switch word := d.Keyword(); word {
	case "ARRIVAL":
		k.By = SortArrival
	case "SIZE":
		k.By = SortSize
	case "DATE":
		k.By = SortDate
	case "SUBJECT":
		k.By = SortSubject
	case "FROM":
		k.By = SortFrom
	case "TO":
		k.By = SortTo
	case "CC":
		k.By = SortCc
	case "DISPLAYFROM":
		k.By = SortDisplayFrom
	case "DISPLAYTO":
		k.By = SortDisplayTo
	case "RELEVANCY":
		k.By = SortRelevancy
	default:
		d.off = at
		d.Fail("unknown sort criterion " + word)
	}
	return k
}
