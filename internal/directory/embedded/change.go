package embedded

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// Add implements directory.Directory.
func (d *Directory) Add(ctx context.Context, who directory.Identity, e *ldap.Entry) error {
	apply, err := d.prepareAdd(ctx, who, e)
	if err != nil {
		return err
	}
	return d.change(ctx, apply)
}

// prepareAdd checks as much of an Add as needs no batch.
func (d *Directory) prepareAdd(ctx context.Context, who directory.Identity, e *ldap.Entry) (func(*batch) error, error) {
	if err := cmp.Or(d.checkDN(e.DN), d.checkWriter(who)); err != nil {
		return nil, err
	}
	entry, err := d.schema.Canonical(e, false)
	if err != nil {
		return nil, err
	}
	class, err := d.schema.CheckEntry(entry)
	if err != nil {
		return nil, err
	}
	if err := d.hashPasswords(ctx, entry.Attributes); err != nil {
		return nil, err
	}
	return func(b *batch) error { return d.add(b, who, entry, class) }, nil
}

// add applies an Add whose entry is checked.
func (d *Directory) add(b *batch, who directory.Identity, e *ldap.Entry, class *schema.ObjectClass) error {
	parent, err := b.parentOf(e.DN)
	if err != nil {
		return err
	}
	if err := b.mayAdd(who, parent, e); err != nil {
		return err
	}
	if _, err := b.free(parent, e.DN); err != nil {
		return err
	}
	if err := b.checkOwner(e, 0); err != nil {
		return err
	}
	now, by := d.opt.Now().UTC(), d.nameOf(who)
	e.Attributes = append(e.Attributes,
		ldap.NewAttribute("structuralObjectClass", class.Name()),
		ldap.NewAttribute("entryUUID", newUUID()),
		ldap.NewAttribute("creatorsName", by),
		ldap.NewAttribute("createTimestamp", now.Format(timestamp)))
	d.stamp(e, by, now)
	b.put(nil, parent, e)
	return nil
}

// timestamp is the layout of GeneralizedTime in UTC.
const timestamp = "20060102150405Z"

// stamp says who changed an entry and when.
func (d *Directory) stamp(e *ldap.Entry, by string, now time.Time) {
	for _, a := range []ldap.Attribute{
		ldap.NewAttribute("entryCSN", d.csn.next(now)),
		ldap.NewAttribute("modifiersName", by),
		ldap.NewAttribute("modifyTimestamp", now.Format(timestamp)),
	} {
		if have := e.Attribute(a.Desc); have != nil {
			have.Values = a.Values
		} else {
			e.Attributes = append(e.Attributes, a)
		}
	}
}

// nameOf returns the DN under which a change is recorded.
func (d *Directory) nameOf(who directory.Identity) string {
	if len(who.DN) == 0 {
		return d.opt.RootDN.String()
	}
	return who.DN.String()
}

// newUUID returns a random UUID (RFC 4122 §4.4).
func newUUID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// parentOf returns the id of the entry above a DN: 0 for the suffix itself.
func (b *batch) parentOf(dn ldap.DN) (uint32, error) {
	switch {
	case !dn.IsUnder(b.suffixDN, b.dict.schema):
		return 0, ldap.Errorf(ldap.UnwillingToPerform, "no global superior knowledge: %q is not under %q", dn, b.suffixDN)
	case len(dn) == len(b.suffixDN):
		return 0, nil
	}
	parent, nearest := b.find(dn.Parent(), b.suffixDN)
	if parent == nil {
		err := ldap.Errorf(ldap.NoSuchObject, "the entry above, %q, does not exist", dn.Parent())
		if nearest != nil {
			err.Matched = b.dn(nearest, b.suffixDN)
		}
		return 0, err
	}
	if b.ofClass("alias").contains(parent.id) {
		return 0, ldap.Errorf(ldap.AliasProblem, "parent is an alias")
	}
	return parent.id, nil
}

// free returns the key of a DN's RDN where no entry has it yet.
func (b *batch) free(parent uint32, dn ldap.DN) (string, error) {
	key := ldap.DN{dn[0]}.Key(b.dict.schema)
	taken := parent == 0 && b.suffix != 0
	if parent != 0 {
		_, taken = b.child(parent, key)
	}
	if taken {
		return "", ldap.Errorf(ldap.EntryAlreadyExists, "%q exists already", dn)
	}
	return key, nil
}

// checkOwner enforces that an address belongs to one account or group, and a
// mailbox to one account. id is the entry's own, 0 for a new one.
func (b *batch) checkOwner(e *ldap.Entry, id uint32) error {
	for _, it := range ownerItems(e, id) {
		if it.attr == uidKey {
			continue // the same uid may be used in two domains
		}
		var other *node
		b.index.equal(it.attr, it.key, func(have item) bool {
			if have.id != id {
				other = b.nodes.get(have.id)
			}
			return other == nil
		})
		if other == nil {
			continue
		}
		what := "mail address"
		if it.attr == storeKey {
			what = "mailMessageStore"
		}
		return ldap.Errorf(ldap.ConstraintViolation, "%s %q of %q belongs to %q already", what, it.key, e.DN, b.dn(other, b.suffixDN))
	}
	return nil
}

// Delete implements directory.Directory.
func (d *Directory) Delete(ctx context.Context, who directory.Identity, dn ldap.DN) error {
	apply, err := d.prepareDelete(who, dn)
	if err != nil {
		return err
	}
	return d.change(ctx, apply)
}

func (d *Directory) prepareDelete(who directory.Identity, dn ldap.DN) (func(*batch) error, error) {
	if err := cmp.Or(d.checkDN(dn), d.checkWriter(who)); err != nil {
		return nil, err
	}
	return func(b *batch) error {
		n, err := b.existing(dn)
		if err != nil {
			return err
		}
		if err := b.mayRemove(who, n, access.DeleteOf); err != nil {
			return err
		}
		if b.hasChildren(n.id) {
			return ldap.Errorf(ldap.NotAllowedOnNonLeaf, "subordinate objects must be deleted first")
		}
		b.bury(d.csn.next(d.opt.Now()), n)
		b.drop(n)
		return nil
	}, nil
}

// existing returns the entry of a DN.
func (b *batch) existing(dn ldap.DN) (*node, error) {
	n, nearest := b.find(dn, b.suffixDN)
	if n != nil {
		return n, nil
	}
	err := ldap.Errorf(ldap.NoSuchObject, "%q does not exist", dn)
	if nearest != nil {
		err.Matched = b.dn(nearest, b.suffixDN)
	}
	return nil, err
}

// Modify implements directory.Directory.
func (d *Directory) Modify(ctx context.Context, who directory.Identity, dn ldap.DN, changes []ldap.Change) error {
	apply, err := d.prepareModify(ctx, who, dn, changes)
	if err != nil {
		return err
	}
	return d.change(ctx, apply)
}

func (d *Directory) prepareModify(ctx context.Context, who directory.Identity, dn ldap.DN, changes []ldap.Change) (func(*batch) error, error) {
	changes = d.deletingOnce(changes)
	if err := cmp.Or(checkOperations(changes), d.checkDN(dn), d.checkWriter(who), d.checkChanges(changes)); err != nil {
		return nil, err
	}
	for i, c := range changes {
		if c.Op == ldap.ChangeDelete {
			continue
		}
		list := []ldap.Attribute{c.Attribute}
		if err := d.hashPasswords(ctx, list); err != nil {
			return nil, err
		}
		changes[i].Attribute = list[0]
	}
	return func(b *batch) error {
		n, err := b.existing(dn)
		if err != nil {
			return err
		}
		return d.modify(b, who, n, changes)
	}, nil
}

// deletingOnce returns a copy of the changes in which no value is deleted twice:
// as in slapd, that is no mistake.
func (d *Directory) deletingOnce(changes []ldap.Change) []ldap.Change {
	changes = slices.Clone(changes)
	for i, c := range changes {
		t := d.schema.Attribute(baseOf(c.Attribute.Desc))
		if c.Op != ldap.ChangeDelete || t == nil || len(c.Attribute.Values) < 2 {
			continue
		}
		var once [][]byte
		for _, v := range c.Attribute.Values {
			if !d.schema.HasValue(t, once, v) {
				once = append(once, v)
			}
		}
		changes[i].Attribute.Values = once
	}
	return changes
}

// checkOperations checks that changes have the values that they need.
func checkOperations(changes []ldap.Change) error {
	for _, c := range changes {
		switch n := len(c.Attribute.Values); {
		case c.Op == ldap.ChangeAdd && n == 0:
			return ldap.Errorf(ldap.ProtocolError, "modify/add operation requires values")
		case c.Op == ldap.ChangeIncrement && n == 0:
			return ldap.Errorf(ldap.ProtocolError, "modify/increment operation requires value")
		case c.Op == ldap.ChangeIncrement && n > 1:
			return ldap.Errorf(ldap.ProtocolError, "modify/increment operation requires single value")
		}
	}
	return nil
}

// checkChanges checks the attributes of changes as far as that needs no entry.
func (d *Directory) checkChanges(changes []ldap.Change) error {
	for _, c := range changes {
		_, desc, err := d.schema.CheckAttribute(c.Attribute, false)
		if err != nil {
			return err
		}
		if c.Op == ldap.ChangeIncrement && (desc.Type.Equality == nil || desc.Type.Equality.Name != "integerMatch") {
			return ldap.Errorf(ldap.ConstraintViolation, "%s: attribute syntax inappropriate for increment", c.Attribute.Desc)
		}
	}
	return nil
}

// modify applies the changes to a copy of the entry, checks what has become of
// it, and stores it.
func (d *Directory) modify(b *batch, who directory.Identity, n *node, list []ldap.Change) error {
	if err := b.mayModify(who, n, list); err != nil {
		return err
	}
	e := b.entry(n, b.suffixDN)
	passwords := b.userPassword(n)
	var touched []string
	for _, c := range list {
		desc, err := applyChange(e, c, d.schema)
		if err != nil {
			return err
		}
		touched = append(touched, desc)
	}
	for _, a := range e.Attributes {
		if !slices.Contains(touched, a.Desc) {
			continue
		}
		if _, _, err := d.schema.CheckAttribute(a, true); err != nil {
			return err
		}
	}
	if slices.Contains(touched, "userPassword") {
		dropStaleKeys(e, passwords)
	}
	if err := d.checkModified(e, n, b); err != nil {
		return err
	}
	d.stamp(e, d.nameOf(who), d.opt.Now().UTC())
	b.put(n, n.parent, e)
	return nil
}

// checkModified checks an entry as changes have left it. Each attribute is
// taken as checked.
func (d *Directory) checkModified(e *ldap.Entry, n *node, b *batch) error {
	for _, ava := range e.DN[0] {
		t := d.schema.Attribute(ava.Type)
		a := e.Attribute(t.Name())
		if a == nil || !d.schema.HasValue(t, a.Values, []byte(ava.Value)) {
			return ldap.Errorf(ldap.NotAllowedOnRDN, "value of naming attribute '%s' is not present in entry", t.Name())
		}
	}
	class, err := d.schema.CheckEntry(e)
	if err != nil {
		return err
	}
	if before := e.Value("structuralObjectClass"); before != "" && !strings.EqualFold(before, class.Name()) {
		return ldap.Errorf(ldap.ObjectClassModsProhibited, "structural object class modification from '%s' to '%s' not allowed", before, class.Name())
	}
	return b.checkOwner(e, n.id)
}

// applyChange makes one change to an entry (RFC 4511 §4.6), with slapd's texts,
// and returns the canonical description of the attribute.
func applyChange(e *ldap.Entry, c ldap.Change, s *schema.Schema) (string, error) {
	a, desc, err := s.CheckAttribute(c.Attribute, false)
	if err != nil {
		return "", err
	}
	t := desc.Type
	have := e.Attribute(a.Desc)
	switch c.Op {
	case ldap.ChangeAdd:
		err = addValues(e, have, a, t, s)
	case ldap.ChangeDelete:
		err = deleteValues(e, have, a, t, s)
	case ldap.ChangeReplace:
		replaceValues(e, have, a)
	case ldap.ChangeIncrement:
		err = increment(have, a, t)
	default:
		err = ldap.Errorf(ldap.ProtocolError, "unrecognized modify operation")
	}
	return a.Desc, err
}

func replaceValues(e *ldap.Entry, have *ldap.Attribute, a ldap.Attribute) {
	switch {
	case len(a.Values) == 0:
		removeAttribute(e, a.Desc)
	case have == nil:
		e.Attributes = append(e.Attributes, a)
	default:
		have.Values = a.Values
	}
}

func addValues(e *ldap.Entry, have *ldap.Attribute, a ldap.Attribute, t *schema.AttributeType, s *schema.Schema) error {
	if len(a.Values) == 0 {
		return ldap.Errorf(ldap.ProtocolError, "modify/add: %s: no values", a.Desc)
	}
	if have == nil {
		e.Attributes = append(e.Attributes, a)
		return nil
	}
	for i, v := range a.Values {
		if s.HasValue(t, have.Values, v) {
			return ldap.Errorf(ldap.AttributeOrValueExists, "modify/add: %s: value #%d already exists", a.Desc, i)
		}
	}
	have.Values = slices.Concat(have.Values, a.Values)
	return nil
}

func deleteValues(e *ldap.Entry, have *ldap.Attribute, a ldap.Attribute, t *schema.AttributeType, s *schema.Schema) error {
	if have == nil {
		return ldap.Errorf(ldap.NoSuchAttribute, "modify/delete: %s: no such attribute", a.Desc)
	}
	left := slices.Clone(have.Values)
	for _, v := range a.Values {
		key := s.ValueKey(t, v)
		i := slices.IndexFunc(left, func(old []byte) bool { return bytes.Equal(s.ValueKey(t, old), key) })
		if i < 0 {
			return ldap.Errorf(ldap.NoSuchAttribute, "modify/delete: %s: no such value", a.Desc)
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) == 0 || len(a.Values) == 0 {
		removeAttribute(e, a.Desc)
		return nil
	}
	have.Values = left
	return nil
}

func removeAttribute(e *ldap.Entry, desc string) {
	e.Attributes = slices.DeleteFunc(e.Attributes, func(a ldap.Attribute) bool { return a.Desc == desc })
}

// increment adds to an integer (RFC 4525).
func increment(have *ldap.Attribute, a ldap.Attribute, t *schema.AttributeType) error {
	if have == nil {
		return ldap.Errorf(ldap.NoSuchAttribute, "modify/increment: %s: no such attribute", a.Desc)
	}
	if t.Equality == nil || t.Equality.Name != "integerMatch" || len(a.Values) != 1 {
		return ldap.Errorf(ldap.ConstraintViolation, "modify/increment: %s: one integer is wanted", a.Desc)
	}
	by, ok := new(big.Int).SetString(string(a.Values[0]), 10)
	values := make([][]byte, len(have.Values))
	for i, v := range have.Values {
		n, good := new(big.Int).SetString(string(v), 10)
		if !ok || !good {
			return ldap.Errorf(ldap.ConstraintViolation, "modify/increment: %s: not an integer", a.Desc)
		}
		values[i] = n.Add(n, by).Append(nil, 10)
	}
	have.Values = values
	return nil
}
