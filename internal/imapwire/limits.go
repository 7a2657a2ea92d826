package imapwire

// Limits bound what one command may cost. They are fixed when a Decoder is
// made; a field that is zero means the default named beside it.
type Limits struct {
	Line    int   // bytes of a command outside its literals: 64 KiB
	Literal int64 // bytes of all literals of a command that are held in memory: 256 KiB
	Skip    int64 // bytes of unwanted literals that are read and dropped before the connection is given up: 64 MiB
	Depth   int   // nesting of parentheses, NOT and OR: 50
	List    int   // members of one list, ranges of one set: 16,384
}

// withDefaults returns l with its zero fields filled in.
func (l Limits) withDefaults() Limits {
	if l.Line <= 0 {
		l.Line = 64 << 10
	}
	if l.Literal <= 0 {
		l.Literal = 256 << 10
	}
	if l.Skip <= 0 {
		l.Skip = 64 << 20
	}
	if l.Depth <= 0 {
		l.Depth = 50
	}
	if l.List <= 0 {
		l.List = 16 << 10
	}
	return l
}
