package pst

import (
	"fmt"
	"math"
	"unicode/utf16"

	"expost/mapi"
)

// encode is the inverse of value: the bytes of a value in a file.
func encode(typ mapi.Type, v any) ([]byte, error) {
	if typ&mapi.MultiValued != 0 {
		return encodeMany(typ&^mapi.MultiValued, v)
	}
	switch v := v.(type) {
	case bool:
		if v {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case int16:
		return le.AppendUint16(nil, uint16(v)), nil
	case int32:
		return le.AppendUint32(nil, uint32(v)), nil
	case uint32:
		return le.AppendUint32(nil, v), nil
	case int64:
		return le.AppendUint64(nil, uint64(v)), nil
	case mapi.Time:
		return le.AppendUint64(nil, uint64(v)), nil
	case float32:
		return le.AppendUint32(nil, math.Float32bits(v)), nil
	case float64:
		return le.AppendUint64(nil, math.Float64bits(v)), nil
	case mapi.GUID:
		return v[:], nil
	case string:
		return wideBytes(v), nil
	case mapi.String8:
		return v, nil
	case []byte:
		return v, nil
	}
	return nil, fmt.Errorf("a value of type %#x cannot be a %T", typ, v)
}

// wideBytes returns text in UTF-16LE.
func wideBytes(s string) []byte {
	b := make([]byte, 0, 2*len(s))
	for _, r := range s {
		if r < 0x10000 {
			b = append(b, byte(r), byte(r>>8))
			continue
		}
		r1, r2 := utf16.EncodeRune(r)
		b = append(b, byte(r1), byte(r1>>8), byte(r2), byte(r2>>8))
	}
	return b
}

// encodeMany is the inverse of values ([MS-PST] 2.3.3.4).
func encodeMany(typ mapi.Type, v any) ([]byte, error) {
	var parts [][]byte
	var err error
	switch v := v.(type) {
	case []bool:
		parts, err = encodeAll(typ, v)
	case []int16:
		parts, err = encodeAll(typ, v)
	case []int32:
		parts, err = encodeAll(typ, v)
	case []uint32:
		parts, err = encodeAll(typ, v)
	case []int64:
		parts, err = encodeAll(typ, v)
	case []float32:
		parts, err = encodeAll(typ, v)
	case []float64:
		parts, err = encodeAll(typ, v)
	case []mapi.Time:
		parts, err = encodeAll(typ, v)
	case []mapi.GUID:
		parts, err = encodeAll(typ, v)
	case []string:
		parts, err = encodeAll(typ, v)
	case []mapi.String8:
		parts, err = encodeAll(typ, v)
	case [][]byte:
		parts = v
	default:
		return nil, fmt.Errorf("a multi-valued property of type %#x cannot be a %T", typ, v)
	}
	if err != nil {
		return nil, err
	}
	var b, data []byte
	if fixed(typ) == 0 {
		b = le.AppendUint32(nil, uint32(len(parts)))
	}
	for _, p := range parts {
		if fixed(typ) == 0 {
			b = le.AppendUint32(b, uint32(4+4*len(parts)+len(data)))
		}
		data = append(data, p...)
	}
	return append(b, data...), nil
}

func encodeAll[T any](typ mapi.Type, list []T) ([][]byte, error) {
	out := make([][]byte, len(list))
	for i, v := range list {
		b, err := encode(typ, v)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}
