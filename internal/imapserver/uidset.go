package imapserver

import (
	"iter"

	"expost/internal/mail"
)

// intersect returns what two sets share.
func intersect(a, b mail.UIDSet) mail.UIDSet {
	var out mail.UIDSet
	for i, j := 0, 0; i < len(a) && j < len(b); {
		first, last := max(a[i].First, b[j].First), min(a[i].Last, b[j].Last)
		if first <= last {
			out = append(out, mail.UIDRange{First: first, Last: last})
		}
		if a[i].Last < b[j].Last {
			i++
		} else {
			j++
		}
	}
	return out
}

// without returns the set's UIDs above upTo.
func without(set mail.UIDSet, upTo mail.UID) mail.UIDSet {
	if upTo == 0 {
		return set
	}
	return intersect(set, mail.UIDSet{{First: upTo + 1, Last: ^mail.UID(0)}})
}

// pull returns the UIDs of a set one after another.
func pull(set mail.UIDSet) (next func() (mail.UID, bool), stop func()) {
	return iter.Pull(set.All())
}
