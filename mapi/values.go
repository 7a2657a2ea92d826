package mapi

import (
	"encoding/binary"
	"math"
)

// Fixed decodes a property value of fixed size, as files lay it out, little-
// endian. It returns nil for other types and for bytes that are too few.
func Fixed(typ Type, b []byte) any {
	if n := FixedSize(typ); n == 0 || len(b) < n {
		return nil
	}
	le := binary.LittleEndian
	switch typ {
	case TypeInt16:
		return int16(le.Uint16(b))
	case TypeInt32:
		return int32(le.Uint32(b))
	case TypeFloat32:
		return math.Float32frombits(le.Uint32(b))
	case TypeFloat64, TypeAppTime:
		return math.Float64frombits(le.Uint64(b))
	case TypeCurrency, TypeInt64:
		return int64(le.Uint64(b))
	case TypeError:
		return le.Uint32(b)
	case TypeBool:
		return b[0] != 0
	case TypeTime:
		return Time(le.Uint64(b))
	case TypeGUID:
		return GUID(b[:16])
	}
	return nil
}

// FixedSize returns the bytes that a value of the type has, 0 where that differs.
func FixedSize(typ Type) int {
	switch typ {
	case TypeInt16, TypeBool:
		return 2
	case TypeInt32, TypeFloat32, TypeError:
		return 4
	case TypeFloat64, TypeAppTime, TypeCurrency, TypeInt64, TypeTime:
		return 8
	case TypeGUID:
		return 16
	}
	return 0
}

// Slice makes the slice of a multi-valued property of its values, whose Go types
// are those of the type; others are left out.
func Slice(typ Type, values []any) any {
	switch typ &^ MultiValued {
	case TypeInt16:
		return slice[int16](values)
	case TypeInt32:
		return slice[int32](values)
	case TypeFloat32:
		return slice[float32](values)
	case TypeFloat64, TypeAppTime:
		return slice[float64](values)
	case TypeCurrency, TypeInt64:
		return slice[int64](values)
	case TypeBool:
		return slice[bool](values)
	case TypeTime:
		return slice[Time](values)
	case TypeGUID:
		return slice[GUID](values)
	case TypeString:
		return slice[string](values)
	case TypeString8:
		return slice[String8](values)
	case TypeBinary:
		return slice[[]byte](values)
	}
	return nil
}

func slice[T any](values []any) []T {
	out := make([]T, 0, len(values))
	for _, v := range values {
		if t, ok := v.(T); ok {
			out = append(out, t)
		}
	}
	return out
}
