package message

import (
	"slices"
	"sort"
	"strings"
)

// boundary is the delimiter of an open multipart.
type boundary struct {
	text  string
	level int // of the multipart, in Parser.open
}

// boundaries are the delimiters of all open multiparts.
type boundaries struct {
	sorted  []boundary // by text, then level
	longest int        // bytes of the longest text
}

// add opens a multipart, deeper than all that are open.
func (s *boundaries) add(text string, level int) {
	i := sort.Search(len(s.sorted), func(i int) bool { return text < s.sorted[i].text })
	s.sorted = slices.Insert(s.sorted, i, boundary{text, level})
	s.longest = max(s.longest, len(text))
}

// cut closes the multiparts at level and deeper.
func (s *boundaries) cut(level int) {
	s.sorted = slices.DeleteFunc(s.sorted, func(b boundary) bool { return b.level >= level })
	s.longest = 0
	for _, b := range s.sorted {
		s.longest = max(s.longest, len(b.text))
	}
}

// match returns the level of the multipart whose delimiter the line is, and
// whether it is the closing one. The line stands without its leading "--". As
// RFC 2046 §5.1.1 has it, the line need only begin with the boundary; of
// several the longest counts, of equal ones the innermost.
func (s *boundaries) match(line []byte) (level int, closing, ok bool) {
	for rest := line; ; {
		i := sort.Search(len(s.sorted), func(i int) bool { return string(rest) < s.sorted[i].text })
		if i == 0 {
			return 0, false, false
		}
		// Every boundary that rest begins with is this one or a prefix of it.
		b := s.sorted[i-1]
		n := commonPrefix(rest, b.text)
		if n == len(b.text) {
			return b.level, strings.HasPrefix(string(line[n:]), "--"), true
		}
		rest = rest[:n]
	}
}

func commonPrefix(a []byte, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
