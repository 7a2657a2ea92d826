package embedded

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
)

// heard is what a copy is told. It implements directory.SyncHandler.
type heard struct {
	added, deleted, same int
	present              bool
	cookie               string
}

// Entry implements directory.SyncHandler.
func (h *heard) Entry(state directory.SyncState, _ directory.UUID, _ *ldap.Entry, _ []byte) error {
	if state == directory.SyncDelete {
		h.deleted++
	} else {
		h.added++
	}
	return nil
}

// Set implements directory.SyncHandler.
func (h *heard) Set(ids []directory.UUID, deleted bool) error {
	if deleted {
		h.deleted += len(ids)
	} else {
		h.same += len(ids)
	}
	return nil
}

// Refreshed implements directory.SyncHandler.
func (h *heard) Refreshed(present bool, cookie []byte) error {
	h.present, h.cookie = present, string(cookie)
	return nil
}

// refresh synchronizes once.
func refresh(t *testing.T, d *Directory, cookie string) heard {
	t.Helper()
	var h heard
	if err := d.Sync(t.Context(), directory.Local(), &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub}, []byte(cookie), false, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestDeletionsAreRemembered deletes more than is remembered: a copy that is not
// far behind is told what went, one that is further behind what is there, also
// after a restart.
func TestDeletionsAreRemembered(t *testing.T) {
	t.Parallel()
	opt := options(t.TempDir())
	d, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	start := refresh(t, d, "")
	if start.added != 3 || !start.present {
		t.Fatalf("at first %+v", start)
	}
	bury := func(n int) {
		t.Helper()
		err := d.change(t.Context(), func(b *batch) error {
			e := directorytest.Entry("dn: cn=x,dc=example,dc=org\nobjectClass: device\ncn: x\nstructuralObjectClass: device\nentryUUID: " + newUUID())
			suffix, _ := b.find(d.suffix, d.suffix)
			b.put(nil, suffix.id, e) // a batch without a change is not written
			x, _ := b.find(e.DN, d.suffix)
			for range n {
				b.bury(d.csn.next(time.Now()), x)
			}
			b.drop(x)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	bury(100)
	near := refresh(t, d, start.cookie)
	if near.added != 0 || near.deleted != 100 || near.present {
		t.Errorf("a hundred deletions later %+v", near)
	}
	bury(2 * maxGraves)
	for range 2 {
		if far := refresh(t, d, start.cookie); far.deleted != 0 || far.added != 0 || far.same != 3 || !far.present {
			t.Errorf("many deletions later %+v", far)
		}
		s := d.snap.Load()
		if len(s.graves) < maxGraves || len(s.graves) >= 2*maxGraves || s.horizon == "" || !slices.IsSortedFunc(s.graves, func(a, b grave) int { return strings.Compare(a.csn, b.csn) }) {
			t.Errorf("%d graves, horizon %q", len(s.graves), s.horizon)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if d, err = Open(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
	}
	last := refresh(t, d, "").cookie
	bury(1)
	if h := refresh(t, d, last); h.deleted != 1 {
		t.Errorf("after the restart %+v", h)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCSNsGrow makes numbers while the clock stands, goes back and jumps.
func TestCSNsGrow(t *testing.T) {
	t.Parallel()
	var c csnClock
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	last := ""
	for i, step := range []time.Duration{0, 0, 0, -time.Hour, time.Microsecond, time.Hour, 0, -time.Second, 24 * time.Hour} {
		now = now.Add(step)
		csn := c.next(now)
		if csn <= last || len(csn) != len("20260102030405.000006Z#000000#000#000000") {
			t.Errorf("number %d: %q behind %q", i, csn, last)
		}
		last = csn
	}
	c.see("20990101000000.000000Z#00000a#000#000000")
	if csn := c.next(now); csn != "20990101000000.000000Z#00000b#000#000000" {
		t.Errorf("%q", csn)
	}
	c.see("nonsense")
	if csn := c.next(now); csn != "20990101000000.000000Z#00000c#000#000000" {
		t.Errorf("%q", csn)
	}
}

// TestRestore takes entries as another server has them.
func TestRestore(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	entry := func(dn, uuid string, lines ...string) *ldap.Entry {
		return directorytest.Entry("dn: " + dn + "\nobjectClass: device\nentryUUID: " + uuid + "\ncreateTimestamp: 20030401000000Z\n" + strings.Join(lines, "\n"))
	}
	const one, two = "b6f1f2a0-5c1e-4d53-9a37-65787073742e", "b6f1f2a0-5c1e-4d53-9a37-65787073742f"
	errs := d.Restore(t.Context(), []*ldap.Entry{
		entry("cn=one,dc=example,dc=org", one, "contextCSN: x", "pwdChangedTime: 20030401000000Z", "userPassword: clear", "objectClass: simpleSecurityObject"),
		entry("cn=two,cn=one,dc=example,dc=org", two), entry("cn=lost,cn=nowhere,dc=example,dc=org", newUUID()), entry("cn=bad,dc=example,dc=org", newUUID(), "nosuch: x"),
	})
	for i, want := range []ldap.ResultCode{0, 0, ldap.NoSuchObject, ldap.UndefinedAttributeType} {
		var code ldap.ResultCode
		if le, ok := errors.AsType[*ldap.Error](errs[i]); ok {
			code = le.Code
		}
		if code != want {
			t.Errorf("entry %d: %v, want %d", i, errs[i], want)
		}
	}
	read := func(uuid string) *ldap.Entry {
		t.Helper()
		var found *ldap.Entry
		err := d.Search(t.Context(), directory.Local(), &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Attributes: []string{"*", "+"}, Filter: directorytest.Filter("(entryUUID=" + uuid + ")")},
			func(e *ldap.Entry) error { found = e; return nil })
		if err != nil || found == nil {
			t.Fatalf("%s is not there: %v", uuid, err)
		}
		return found
	}
	if e := read(one); e.Value("createTimestamp") != "20030401000000Z" || strings.Contains(e.Value("userPassword"), "clear") || e.Attribute("contextCSN") != nil {
		t.Errorf("%v", e)
	}
	// the same UUID elsewhere: the entry moves, and what is below it with it
	if errs := d.Restore(t.Context(), []*ldap.Entry{entry("cn=uno,ou=people,dc=example,dc=org", one)}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if dn := read(two).DN.String(); dn != "cn=two,cn=uno,ou=people,dc=example,dc=org" {
		t.Errorf("what was below is %s", dn)
	}
	ids := map[string]directory.UUID{}
	if err := d.Held(context.Background(), func(id directory.UUID) bool { ids[id.String()] = id; return true }); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget(t.Context(), []directory.UUID{ids[one]}); err == nil {
		t.Error("an entry goes that has another below it")
	}
	if err := d.Forget(t.Context(), []directory.UUID{ids[one], ids[two], {}}); err != nil {
		t.Error(err)
	}
	if d.Len() != 3 {
		t.Errorf("%d entries are left", d.Len())
	}
}
