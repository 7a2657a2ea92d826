package embedded

import (
	"slices"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// audience is how far an identity may read.
type audience int

const (
	anonymous audience = iota // the address book, in configured subtrees
	user                      // everything but secrets
	root                      // everything
)

func audienceOf(who directory.Identity) audience {
	switch {
	case who.Root:
		return root
	case len(who.DN) == 0:
		return anonymous
	}
	return user
}

// access knows which attributes an audience may read. Filters are held to it
// too: an assertion about an attribute that may not be read is Undefined, or
// else passwords could be guessed letter by letter.
type access struct {
	secret      map[*schema.AttributeType]bool // for nobody but root
	addressBook map[*schema.AttributeType]bool // for everybody
}

// newAccess makes the rules. What anonymous clients see is a list of what may
// be seen, so that an attribute that is added later is not public by accident.
func newAccess(s *schema.Schema) *access {
	a := &access{secret: map[*schema.AttributeType]bool{}, addressBook: map[*schema.AttributeType]bool{}}
	for _, name := range []string{"userPassword", "clearPassword", "userPKCS12"} {
		a.secret[s.Attribute(name)] = true
	}
	for _, class := range []string{"top", "dcObject", "domain", "country", "locality", "organization", "organizationalUnit",
		"organizationalRole", "groupOfNames", "groupOfUniqueNames", "person", "residentialPerson", "organizationalPerson",
		"inetOrgPerson", "mozillaOrgPerson", "expostPerson", "expostGroup"} {
		a.publish(s.Class(class))
	}
	for _, name := range []string{"structuralObjectClass", "entryUUID", "entryDN", "hasSubordinates", "subschemaSubentry",
		"createTimestamp", "modifyTimestamp"} {
		a.addressBook[s.Attribute(name)] = true
	}
	for _, name := range []string{"userPassword", "userPKCS12", "mailAlternateAddress", "targetAddress", "homeDirectory",
		"sAMAccountName", "userPrincipalName", "objectGUID", "msExchHideFromAddressLists", "msExchRecipientTypeDetails",
		"sourceRecord", "carLicense", "employeeNumber", "employeeType", "x500UniqueIdentifier"} {
		delete(a.addressBook, s.Attribute(name))
	}
	return a
}

// publish puts what a class allows into the address book.
func (a *access) publish(c *schema.ObjectClass) {
	for _, t := range slices.Concat(c.Must, c.May) {
		a.addressBook[t] = true
	}
}

// readable tells whether an audience may read an attribute type.
func (a *access) readable(who audience, t *schema.AttributeType) bool {
	switch who {
	case root:
		return true
	case user:
		return !a.secret[t]
	}
	return a.addressBook[t]
}

// isSelfWritable tells whether people may change the attribute of their own entry.
func isSelfWritable(t *schema.AttributeType) bool {
	switch t.Name() {
	case "userPassword", "telephoneNumber", "homePhone", "mobile", "pager", "facsimileTelephoneNumber":
		return true
	}
	return false
}

// checkWrite refuses a change that who may not make to the entry of a DN. Of
// changes that are not of attributes, changes is nil.
func (d *Directory) checkWrite(who directory.Identity, dn ldap.DN, changes []ldap.Change) error {
	switch audienceOf(who) {
	case root:
		return nil
	case anonymous:
		return ldap.Errorf(ldap.StrongerAuthRequired, "modifications require authentication")
	}
	if changes == nil || !who.DN.Equal(dn, d.schema) {
		return ldap.Errorf(ldap.InsufficientAccessRights, "no write access to %q", dn)
	}
	for _, c := range changes {
		if t := d.schema.Attribute(c.Attribute.Desc); t == nil || !isSelfWritable(t) {
			return ldap.Errorf(ldap.InsufficientAccessRights, "no write access to %q of %q", c.Attribute.Desc, dn)
		}
	}
	return nil
}
