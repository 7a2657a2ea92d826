package message

import "strings"

// BaseSubject returns the base subject of a Subject's raw or decoded value,
// what SORT and THREAD compare (RFC 5256 §2.1), in lower case.
func BaseSubject(s string) string {
	base, _ := baseSubject(s)
	return base
}

// IsReply tells whether a Subject says that the message answers or forwards
// another (RFC 5256 §2.1).
func IsReply(s string) bool {
	_, reply := baseSubject(s)
	return reply
}

func baseSubject(s string) (base string, reply bool) {
	s = strings.ToLower(strings.Join(strings.Fields(DecodeHeader(s)), " ")) // (1)
	for {
		for { // (2)
			rest, ok := strings.CutSuffix(s, "(fwd)")
			if !ok {
				break
			}
			s, reply = strings.TrimRight(rest, " "), true
		}
		for { // (3) to (5)
			rest, isReply := cutLeader(s)
			if !isReply {
				if rest = cutBlob(s); rest == "" {
					rest = s
				}
			}
			if rest == s {
				break
			}
			s, reply = rest, reply || isReply
		}
		rest, ok := strings.CutPrefix(s, "[fwd:") // (6)
		if !ok || !strings.HasSuffix(rest, "]") {
			return s, reply
		}
		s, reply = strings.TrimSpace(rest[:len(rest)-1]), true
	}
}

// cutLeader removes a subj-refwd at the beginning of s, with the blobs before
// and behind: "[list] re [2]: x".
func cutLeader(s string) (string, bool) {
	rest := s
	for {
		next := cutBlob(rest)
		if next == rest {
			break
		}
		rest = next
	}
	ok := false
	for _, word := range []string{"re", "fwd", "fw"} {
		if rest, ok = strings.CutPrefix(rest, word); ok {
			break
		}
	}
	if !ok {
		return s, false
	}
	rest = cutBlob(strings.TrimLeft(rest, " "))
	if rest, ok = strings.CutPrefix(rest, ":"); !ok {
		return s, false
	}
	return strings.TrimLeft(rest, " "), true
}

// cutBlob removes a subj-blob at the beginning of s: "[list] ".
func cutBlob(s string) string {
	if !strings.HasPrefix(s, "[") {
		return s
	}
	blob, rest, ok := strings.Cut(s[1:], "]")
	if !ok || strings.Contains(blob, "[") {
		return s
	}
	return strings.TrimLeft(rest, " ")
}
