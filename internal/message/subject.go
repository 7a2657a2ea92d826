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
			rest, isReply := cutLeaders(s)
			if s = rest; !isReply {
				break
			}
			reply = true
		}
		rest, ok := strings.CutPrefix(s, "[fwd:") // (6)
		if !ok || !strings.HasSuffix(rest, "]") {
			return s, reply
		}
		s, reply = strings.TrimSpace(rest[:len(rest)-1]), true
	}
}

// cutLeaders removes a subj-refwd at the beginning of s, with the blobs before
// and behind: "[list] re [2]: x". Where there is none, it removes the blobs, but
// the last one only where something follows.
func cutLeaders(s string) (rest string, isReply bool) {
	last := s
	for rest = s; ; {
		next := cutBlob(rest)
		if next == rest {
			break
		}
		last, rest = rest, next
	}
	for _, word := range []string{"re", "fwd", "fw"} {
		behind, ok := strings.CutPrefix(rest, word)
		if !ok {
			continue
		}
		behind, ok = strings.CutPrefix(cutBlob(strings.TrimLeft(behind, " ")), ":")
		if ok {
			return strings.TrimLeft(behind, " "), true
		}
	}
	if rest == "" {
		return last, false
	}
	return rest, false
}

// cutBlob removes a subj-blob at the beginning of s: "[list] ".
func cutBlob(s string) string {
	if !strings.HasPrefix(s, "[") {
		return s
	}
	end := strings.IndexAny(s[1:], "[]") + 1
	if end == 0 || s[end] == '[' {
		return s
	}
	return strings.TrimLeft(s[end+1:], " ")
}
