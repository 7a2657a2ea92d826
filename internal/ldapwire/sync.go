package ldapwire

// Names of content synchronization (RFC 4533).
const (
	OIDSyncRequest = "1.3.6.1.4.1.4203.1.9.1.1"
	OIDSyncState   = "1.3.6.1.4.1.4203.1.9.1.2"
	OIDSyncDone    = "1.3.6.1.4.1.4203.1.9.1.3"
	OIDSyncInfo    = "1.3.6.1.4.1.4203.1.9.1.4" // an intermediate response
)

// SyncRequest is the value of the sync request control (RFC 4533 §2.2).
type SyncRequest struct {
	Persist bool
	Cookie  []byte
	Reload  bool // reloadHint
}

// SyncState is the value of the sync state control (RFC 4533 §2.3).
type SyncState struct {
	State  int // 0 present, 1 add, 2 modify, 3 delete
	UUID   [16]byte
	Cookie []byte
}

// SyncDone is the value of the sync done control (RFC 4533 §2.4).
type SyncDone struct {
	Cookie         []byte
	RefreshDeletes bool
}

// SyncInfo is the value of the sync info message (RFC 4533 §2.5).
type SyncInfo struct {
	Kind    SyncInfoKind
	Cookie  []byte
	Done    bool       // SyncRefreshDelete, SyncRefreshPresent: the refresh stage ends
	Deletes bool       // SyncIDSet: UUIDs are of what is not there
	UUIDs   [][16]byte // SyncIDSet
}

// SyncInfoKind is which choice a SyncInfo is; the values are its context tags.
type SyncInfoKind uint8

// The kinds.
const (
	SyncNewCookie SyncInfoKind = iota
	SyncRefreshDelete
	SyncRefreshPresent
	SyncIDSet
)

// syncPersist is refreshAndPersist; refreshOnly is 1.
const syncPersist = 3

// DecodeSyncRequest reads the value of a sync request control.
func DecodeSyncRequest(value []byte) (SyncRequest, error) {
	return decodeValue(value, "sync request control", func(d *decoder) SyncRequest {
		outer := d.enter(tagSequence)
		mode := d.integer(tagEnumerated, 1, syncPersist)
		if mode == 2 {
			d.fail("a mode that is none")
		}
		r := SyncRequest{Persist: mode == syncPersist, Cookie: d.optional(tagOctetString)}
		if d.peek() == tagBoolean {
			r.Reload = d.boolean(tagBoolean)
		}
		d.leave(outer)
		return r
	})
}

// Control returns the control with r as its value.
func (r SyncRequest) Control() Control {
	b, mark := begin(nil, tagSequence)
	mode := int64(1)
	if r.Persist {
		mode = syncPersist
	}
	b = appendInteger(b, tagEnumerated, mode)
	b = appendCookie(b, r.Cookie)
	if r.Reload {
		b = appendBoolean(b, tagBoolean, true)
	}
	return Control{OID: OIDSyncRequest, Critical: true, Value: end(b, mark)}
}

func appendCookie(b, cookie []byte) []byte {
	if len(cookie) == 0 {
		return b
	}
	return appendBytes(b, tagOctetString, cookie)
}

// uuid reads a syncUUID.
func (d *decoder) uuid() (id [16]byte) {
	c := d.content(tagOctetString)
	if d.syntax == nil && len(c) != len(id) {
		d.fail("a UUID of %d bytes", len(c))
	}
	copy(id[:], c)
	return id
}

// DecodeSyncState reads the value of a sync state control.
func DecodeSyncState(value []byte) (SyncState, error) {
	return decodeValue(value, "sync state control", func(d *decoder) SyncState {
		outer := d.enter(tagSequence)
		s := SyncState{State: int(d.integer(tagEnumerated, 0, 3)), UUID: d.uuid(), Cookie: d.optional(tagOctetString)}
		d.leave(outer)
		return s
	})
}

// Control returns the control with s as its value.
func (s SyncState) Control() Control {
	b, mark := begin(nil, tagSequence)
	b = appendInteger(b, tagEnumerated, int64(s.State))
	b = appendBytes(b, tagOctetString, s.UUID[:])
	return Control{OID: OIDSyncState, Value: end(appendCookie(b, s.Cookie), mark)}
}

// DecodeSyncDone reads the value of a sync done control.
func DecodeSyncDone(value []byte) (SyncDone, error) {
	return decodeValue(value, "sync done control", func(d *decoder) SyncDone {
		outer := d.enter(tagSequence)
		s := SyncDone{Cookie: d.optional(tagOctetString)}
		if d.peek() == tagBoolean {
			s.RefreshDeletes = d.boolean(tagBoolean)
		}
		d.leave(outer)
		return s
	})
}

// Control returns the control with s as its value.
func (s SyncDone) Control() Control {
	b, mark := begin(nil, tagSequence)
	b = appendCookie(b, s.Cookie)
	if s.RefreshDeletes {
		b = appendBoolean(b, tagBoolean, true)
	}
	return Control{OID: OIDSyncDone, Value: end(b, mark)}
}

// DecodeSyncInfo reads the value of a sync info message.
func DecodeSyncInfo(value []byte) (SyncInfo, error) {
	return decodeValue(value, "sync info message", func(d *decoder) SyncInfo {
		switch tag := d.peek(); tag {
		case classContext:
			return SyncInfo{Cookie: d.content(tag)}
		case classContext | constructed | 1, classContext | constructed | 2:
			s := SyncInfo{Kind: SyncInfoKind(tag & 0x1f), Done: true}
			outer := d.enter(tag)
			s.Cookie = d.optional(tagOctetString)
			if d.peek() == tagBoolean {
				s.Done = d.boolean(tagBoolean)
			}
			d.leave(outer)
			return s
		case classContext | constructed | 3:
			return d.syncIDSet(tag)
		}
		d.fail("a kind that is none")
		return SyncInfo{}
	})
}

func (d *decoder) syncIDSet(tag byte) SyncInfo {
	s := SyncInfo{Kind: SyncIDSet}
	outer := d.enter(tag)
	s.Cookie = d.optional(tagOctetString)
	if d.peek() == tagBoolean {
		s.Deletes = d.boolean(tagBoolean)
	}
	set := d.enter(tagSet)
	s.UUIDs = make([][16]byte, 0, d.count())
	for d.more() {
		s.UUIDs = append(s.UUIDs, d.uuid())
	}
	d.leave(set)
	d.leave(outer)
	return s
}

// Message returns the intermediate response with s as its value.
func (s SyncInfo) Message() *IntermediateResponse {
	if s.Kind == SyncNewCookie {
		return &IntermediateResponse{Name: OIDSyncInfo, Value: appendBytes(nil, classContext, s.Cookie)}
	}
	b, mark := begin(nil, classContext|constructed|byte(s.Kind))
	b = appendCookie(b, s.Cookie)
	if s.Kind == SyncIDSet {
		if s.Deletes {
			b = appendBoolean(b, tagBoolean, true)
		}
		var set int
		b, set = begin(b, tagSet)
		for _, id := range s.UUIDs {
			b = appendBytes(b, tagOctetString, id[:])
		}
		b = end(b, set)
	} else if !s.Done {
		b = appendBoolean(b, tagBoolean, false)
	}
	return &IntermediateResponse{Name: OIDSyncInfo, Value: end(b, mark)}
}
