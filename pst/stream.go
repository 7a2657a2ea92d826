package pst

import (
	"bytes"
	"slices"

	"expost/mapi"
)

// stream is a property's bytes; all returns a copy of them.
type stream interface {
	mapi.Stream
	all() ([]byte, error)
}

// memory is a stream of bytes that are in memory.
type memory struct {
	*bytes.Reader
	b []byte
}

func newMemory(b []byte) memory { return memory{bytes.NewReader(b), b} }

func (m memory) all() ([]byte, error) { return slices.Clone(m.b), nil }
