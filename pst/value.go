package pst

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"expost/mapi"
)

// fixed returns the size of a fixed-size type, and 0 for the others
// ([MS-OXCDATA] 2.11.1).
func fixed(t mapi.Type) int {
	switch t {
	case mapi.TypeBool:
		return 1
	case mapi.TypeInt16:
		return 2
	case mapi.TypeInt32, mapi.TypeFloat32, mapi.TypeError:
		return 4
	case mapi.TypeFloat64, mapi.TypeCurrency, mapi.TypeAppTime, mapi.TypeInt64, mapi.TypeTime:
		return 8
	case mapi.TypeGUID:
		return 16
	}
	return 0
}

// value makes a value of a type from its bytes, which it may keep.
func value(t mapi.Type, b []byte) (any, error) {
	if t&mapi.MultiValued != 0 {
		return values(t&^mapi.MultiValued, b)
	}
	if n := fixed(t); len(b) < n {
		return nil, fmt.Errorf("a value of type %#x has %d of %d bytes", t, len(b), n)
	}
	switch t {
	case mapi.TypeBool:
		return b[0] != 0, nil
	case mapi.TypeInt16:
		return int16(le.Uint16(b)), nil
	case mapi.TypeInt32:
		return int32(le.Uint32(b)), nil
	case mapi.TypeError:
		return le.Uint32(b), nil
	case mapi.TypeFloat32:
		return math.Float32frombits(le.Uint32(b)), nil
	case mapi.TypeFloat64, mapi.TypeAppTime:
		return math.Float64frombits(le.Uint64(b)), nil
	case mapi.TypeCurrency, mapi.TypeInt64:
		return int64(le.Uint64(b)), nil
	case mapi.TypeTime:
		return mapi.Time(le.Uint64(b)), nil
	case mapi.TypeGUID:
		return mapi.GUID(b[:16]), nil
	case mapi.TypeString:
		return utf16String(b), nil
	case mapi.TypeString8:
		return mapi.String8(trimNUL(b)), nil
	case mapi.TypeObject:
		return nil, nil
	}
	return b, nil
}

// utf16String decodes UTF-16LE. Writers of before 2003 end strings with NUL.
func utf16String(b []byte) string {
	n := len(b) / 2
	for n > 0 && b[2*n-2] == 0 && b[2*n-1] == 0 {
		n--
	}
	ascii := 0
	for ascii < n && b[2*ascii+1] == 0 && b[2*ascii] < utf8.RuneSelf {
		ascii++
	}
	var out strings.Builder
	if ascii == n {
		out.Grow(n)
	} else {
		out.Grow(n + n/8)
	}
	var chunk [512]byte
	for i := 0; i < ascii; {
		k := 0
		for ; k < len(chunk) && i < ascii; k, i = k+1, i+1 {
			chunk[k] = b[2*i]
		}
		out.Write(chunk[:k])
	}
	for i := ascii; i < n; i++ {
		lo, hi := b[2*i], b[2*i+1]
		if hi == 0 && lo < utf8.RuneSelf {
			out.WriteByte(lo)
			continue
		}
		r := rune(lo) | rune(hi)<<8
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if i+1 < n {
				low = rune(b[2*i+2]) | rune(b[2*i+3])<<8
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i++
			}
		}
		out.WriteRune(r)
	}
	return out.String()
}

func trimNUL(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// values makes the slice of a multi-valued property ([MS-PST] 2.3.3.4).
func values(t mapi.Type, b []byte) (any, error) {
	parts, err := split(t, b)
	if err != nil {
		return nil, err
	}
	switch t {
	case mapi.TypeBool:
		return collect[bool](t, parts)
	case mapi.TypeInt16:
		return collect[int16](t, parts)
	case mapi.TypeInt32:
		return collect[int32](t, parts)
	case mapi.TypeError:
		return collect[uint32](t, parts)
	case mapi.TypeFloat32:
		return collect[float32](t, parts)
	case mapi.TypeFloat64, mapi.TypeAppTime:
		return collect[float64](t, parts)
	case mapi.TypeCurrency, mapi.TypeInt64:
		return collect[int64](t, parts)
	case mapi.TypeTime:
		return collect[mapi.Time](t, parts)
	case mapi.TypeGUID:
		return collect[mapi.GUID](t, parts)
	case mapi.TypeString:
		return collect[string](t, parts)
	case mapi.TypeString8:
		return collect[mapi.String8](t, parts)
	}
	return parts, nil
}

func collect[T any](t mapi.Type, parts [][]byte) ([]T, error) {
	out := make([]T, len(parts))
	for i, p := range parts {
		v, err := value(t, p)
		if err != nil {
			return nil, err
		}
		out[i] = v.(T)
	}
	return out, nil
}

// split cuts a multi-valued property into its values: those of fixed size lie
// one after another, the others behind their number and offsets.
func split(t mapi.Type, b []byte) ([][]byte, error) {
	var parts [][]byte
	if n := fixed(t); n > 0 {
		for ; len(b) >= n; b = b[n:] {
			parts = append(parts, b[:n:n])
		}
		return parts, nil
	}
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("a multi-valued property has %d bytes", len(b))
	}
	n := int64(le.Uint32(b))
	if 4+4*n > int64(len(b)) {
		return nil, fmt.Errorf("a multi-valued property of %d bytes claims %d values", len(b), n)
	}
	for i := range int(n) {
		from, to := int64(le.Uint32(b[4+4*i:])), int64(len(b))
		if i+1 < int(n) {
			to = int64(le.Uint32(b[8+4*i:]))
		}
		if from < 4+4*n || from > to || to > int64(len(b)) {
			return nil, fmt.Errorf("value %d of a multi-valued property is from %d to %d of %d bytes", i, from, to, len(b))
		}
		parts = append(parts, b[from:to:to])
	}
	return parts, nil
}
