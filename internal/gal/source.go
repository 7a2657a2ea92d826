package gal

import (
	"context"
	"fmt"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// An entry remembers in sourceRecord from which list it came: the name of the
// list, and once it is no longer in the list, "NAME gone" and the accountStatus
// that it had, so that a return undoes it.
const goneMark = " gone "

// errTooManyGone refuses a list that is probably cut.
type errTooManyGone struct{ gone, all int }

func (e errTooManyGone) Error() string {
	return fmt.Sprintf("%d of the %d entries of this source are not in the list any more: is it complete? Nothing was disabled; with --force they are", e.gone, e.all)
}

// marked returns the entry with the name of its source.
func (im *importer) marked(e *ldap.Entry) *ldap.Entry {
	if im.opts.Source == "" || !hasClass(e, "person") && !hasClass(e, "groupOfNames") {
		return e
	}
	out := &ldap.Entry{DN: e.DN}
	class := "expostPerson"
	if !hasClass(e, "person") {
		class = "expostGroup"
	}
	for _, a := range e.Attributes {
		if strings.EqualFold(a.Desc, "objectClass") && !hasClass(e, class) {
			a.Values = append(a.Values[:len(a.Values):len(a.Values)], []byte(class))
		}
		out.Attributes = append(out.Attributes, a)
	}
	out.Attributes = append(out.Attributes, ldap.Attribute{Desc: "sourceRecord", Values: [][]byte{[]byte(im.opts.Source)}})
	return out
}

// returned adds to the changes of an entry what undoes its having been gone.
func (im *importer) returned(s *Step, e *ldap.Entry) {
	status, gone := im.goneStatus(s.Before)
	if !gone {
		return
	}
	if hasClass(s.Before, directory.ClassAccount) && e.Attribute("accountStatus") == nil {
		s.Changes = append(s.Changes, setTo("accountStatus", status))
	}
	if e.Attribute("msExchHideFromAddressLists") == nil {
		s.Changes = append(s.Changes, setTo("msExchHideFromAddressLists", ""))
	}
}

// goneStatus tells whether an entry is marked as gone from this source, and
// what accountStatus it had.
func (im *importer) goneStatus(e *ldap.Entry) (string, bool) {
	for _, v := range values(e, "sourceRecord") {
		if status, ok := strings.CutPrefix(string(v), im.opts.Source+goneMark); ok && im.opts.Source != "" {
			return status, true
		}
	}
	return "", false
}

// setTo makes a change to one value, or to none.
func setTo(desc, value string) ldap.Change {
	c := ldap.Change{Op: ldap.ChangeReplace, Attribute: ldap.Attribute{Desc: desc}}
	if value != "" {
		c.Attribute.Values = [][]byte{[]byte(value)}
	}
	return c
}

// planGone adds a step for each entry that came from this source and is not in
// the list any more: it is hidden from the address list, and its mailbox
// disabled. Nothing is deleted.
func (im *importer) planGone(ctx context.Context) error {
	here := map[string]bool{}
	for _, s := range im.steps {
		here[s.DN.Key(im.schema)] = true
	}
	found, err := im.search(ctx, &ldap.SearchRequest{
		Base: im.dir.Suffix(), Scope: ldap.ScopeSub,
		Filter: &ldap.Filter{Op: ldap.FilterEqual, Attr: "sourceRecord", Value: []byte(im.opts.Source)},
	})
	if e, ok := err.(*ldap.Error); ok && e.Code == ldap.NoSuchObject {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for entries of source %q: %w", im.opts.Source, err)
	}
	var gone []*Step
	for _, e := range found {
		if !here[e.DN.Key(im.schema)] {
			gone = append(gone, im.disable(e))
		}
	}
	if n := len(gone); n > 10 && n*2 > len(found) && !im.opts.Force {
		return errTooManyGone{n, len(found)}
	}
	im.steps = append(im.steps, gone...)
	return nil
}

// disable makes the step for an entry that is gone.
func (im *importer) disable(e *ldap.Entry) *Step {
	status := ""
	if hasClass(e, directory.ClassAccount) {
		status = string(directory.StatusActive)
		if v := values(e, "accountStatus"); len(v) > 0 {
			status = string(v[0])
		}
	}
	s := &Step{Action: ActionDisable, DN: e.DN, Entry: e, Before: e, Reason: "not in the list any more"}
	s.Changes = []ldap.Change{setTo("sourceRecord", im.opts.Source+goneMark+status), setTo("msExchHideFromAddressLists", "TRUE")}
	if status != "" {
		s.Changes = append(s.Changes, setTo("accountStatus", string(directory.StatusDisabled)))
	}
	return s
}
