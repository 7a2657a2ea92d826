package ldapwire

import (
	"reflect"
	"testing"

	"expost/internal/ldap"
)

// syncValues are values of all kinds.
func syncValues() []any {
	id := [16]byte{1, 2, 15: 16}
	return []any{
		SyncRequest{}, SyncRequest{Persist: true, Cookie: []byte("rid=001,csn=x"), Reload: true},
		SyncState{State: 3, UUID: id}, SyncState{State: 1, UUID: id, Cookie: []byte("x")},
		SyncDone{}, SyncDone{Cookie: []byte("x"), RefreshDeletes: true},
		SyncInfo{Cookie: []byte("x")}, SyncInfo{Kind: SyncRefreshDelete, Done: true}, SyncInfo{Kind: SyncRefreshPresent, Cookie: []byte("x")},
		SyncInfo{Kind: SyncIDSet, Deletes: true, UUIDs: [][16]byte{id, {}}},
	}
}

// syncRoundTrip encodes a value, or decodes b as one of its kind where b is not
// nil, and returns the bytes and what they read as.
func syncRoundTrip(v any, b []byte) (wire []byte, again any, err error) {
	pick := func(own []byte) []byte {
		if b != nil {
			return b
		}
		return own
	}
	switch x := v.(type) {
	case SyncRequest:
		wire = pick(x.Control().Value)
		again, err = DecodeSyncRequest(wire)
	case SyncState:
		wire = pick(x.Control().Value)
		again, err = DecodeSyncState(wire)
	case SyncDone:
		wire = pick(x.Control().Value)
		again, err = DecodeSyncDone(wire)
	case SyncInfo:
		wire = pick(x.Message().Value)
		again, err = DecodeSyncInfo(wire)
	}
	return wire, again, err
}

func TestSyncValues(t *testing.T) {
	t.Parallel()
	for _, v := range syncValues() {
		if _, again, err := syncRoundTrip(v, nil); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%+v came back as %+v, %v", v, again, err)
		}
	}
	// RFC 4533 §2.2: the sequence of mode refreshAndPersist and a cookie
	if got := string(SyncRequest{Persist: true, Cookie: []byte("c")}.Control().Value); got != "\x30\x06\x0a\x01\x03\x04\x01c" {
		t.Errorf("%q", got)
	}
	for _, wrong := range []string{"", "\x30\x03\x0a\x01\x02", "\x30\x03\x0a\x01\x04", "\x30\x08\x0a\x01\x01\x04\x03abc", "\xa4\x00", "\xa3\x04\x31\x02\x04\x00"} {
		for _, v := range []any{SyncRequest{}, SyncState{}, SyncInfo{}} {
			if _, got, err := syncRoundTrip(v, []byte(wrong)); err == nil && wrong != "\x30\x08\x0a\x01\x01\x04\x03abc" {
				t.Errorf("%q is taken for %+v", wrong, got)
			}
		}
	}
}

func FuzzSyncValues(f *testing.F) {
	for _, v := range syncValues() {
		wire, _, err := syncRoundTrip(v, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if b == nil {
			b = []byte{}
		}
		for _, v := range []any{SyncRequest{}, SyncState{}, SyncDone{}, SyncInfo{}} {
			_, read, err := syncRoundTrip(v, b)
			if err != nil {
				if !isA[*ldap.Error](err) {
					t.Fatalf("error of type %T", err)
				}
				continue
			}
			if _, _, err := syncRoundTrip(read, nil); err != nil {
				t.Fatalf("%+v cannot be read again: %v", read, err)
			}
		}
	})
}
