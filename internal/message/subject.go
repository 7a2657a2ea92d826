package message

import "strings"

// BaseSubject returns the base subject of a Subject's raw or decoded value,
// what SORT and THREAD compare (RFC 5256 §2.1), in lower case.
func BaseSubject(s string) string {
	s = strings.ToLower(strings.Join(strings.Fields(DecodeHeader(s)), " ")) // (1)
	for {
		for ok := true; ok; { // (2)
			s, ok = strings.CutSuffix(s, "(fwd)")
			s = strings.TrimRight(s, " ")
		}
		for ok := true; ok; { // (3) to (5)
			s, ok = cutLeaders(s)
		}
		rest, ok := strings.CutPrefix(s, "[fwd:") // (6)
		if !ok || !strings.HasSuffix(rest, "]") {
			return s
		}
		s = strings.TrimSpace(rest[:len(rest)-1])
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
