package access

import (
	"fmt"
	"strings"
)

// Expression is a set expression, as "this/manager* & user": it holds where it yields
// anything. Operators are carried out from left to right, "/" before the others.
type Expression struct {
	Op   SetOp
	Left *Expression // of all but literals, this and user
	With *Expression // of Both, Either and Joined
	Text string      // the literal, or the attribute that is followed
}

// SetOp is what a Set is.
type SetOp byte

// The kinds of sets.
const (
	Literal   SetOp = '['
	This      SetOp = 't' // the entry
	User      SetOp = 'u' // who asks
	Follow    SetOp = '/' // the values of an attribute of each entry of Left
	FollowAll SetOp = '*' // and of those that they name, and so on
	Both      SetOp = '&'
	Either    SetOp = '|'
	Joined    SetOp = '+' // each of Left with each of With behind it
)

// maxSetDepth is how deep parentheses may stand in one another.
const maxSetDepth = 20

// parseSet reads a set expression.
func parseSet(text string) (*Expression, error) {
	p := setParser{rest: text}
	s, err := p.expression(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q does not belong there", p.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("set %q: %w", text, err)
	}
	return s, nil
}

type setParser struct{ rest string }

// peek returns the next byte that is no space; 0 at the end.
func (p *setParser) peek() byte {
	if p.rest = strings.TrimLeft(p.rest, " \t"); p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *setParser) expression(depth int) (*Expression, error) {
	if depth > maxSetDepth {
		return nil, fmt.Errorf("more than %d parentheses in one another", maxSetDepth)
	}
	left, err := p.followed(depth)
	for err == nil {
		op := p.peek()
		if op != '&' && op != '|' && op != '+' {
			break
		}
		p.rest = p.rest[1:]
		var with *Expression
		if with, err = p.followed(depth); err == nil {
			left = &Expression{Op: SetOp(op), Left: left, With: with}
		}
	}
	return left, err
}

// followed reads a set and the attributes that are followed from it.
func (p *setParser) followed(depth int) (*Expression, error) {
	s, err := p.single(depth)
	for err == nil && strings.HasPrefix(p.rest, "/") {
		n := 1
		for n < len(p.rest) && (isWordByte(p.rest[n]) || p.rest[n] == '-') {
			n++
		}
		if n == 1 || p.rest[1] == '-' {
			return nil, fmt.Errorf("an attribute is missing behind \"/\"")
		}
		s = &Expression{Op: Follow, Left: s, Text: p.rest[1:n]}
		if p.rest = p.rest[n:]; strings.HasPrefix(p.rest, "*") {
			s.Op, p.rest = FollowAll, p.rest[1:]
		}
	}
	return s, err
}

func (p *setParser) single(depth int) (*Expression, error) {
	switch c := p.peek(); {
	case c == '(':
		p.rest = p.rest[1:]
		s, err := p.expression(depth + 1)
		if err == nil && p.peek() != ')' {
			err = fmt.Errorf("a %q is missing", ')')
		}
		if err != nil {
			return nil, err
		}
		p.rest = p.rest[1:]
		return s, nil
	case c == '[':
		text, rest, found := strings.Cut(p.rest[1:], "]")
		if !found || strings.HasPrefix(strings.ToLower(text), "ldap:") {
			return nil, fmt.Errorf("%q is no value or DN in brackets", p.rest)
		}
		p.rest = rest
		return &Expression{Op: Literal, Text: text}, nil
	}
	n := 0
	for n < len(p.rest) && isWordByte(p.rest[n]) {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	switch strings.ToLower(word) {
	case "this":
		return &Expression{Op: This}, nil
	case "user":
		return &Expression{Op: User}, nil
	}
	return nil, fmt.Errorf("%q is none of this, user, [value], (set)", word+p.rest)
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ';' || c == '.'
}
