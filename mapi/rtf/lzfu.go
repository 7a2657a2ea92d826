package rtf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// MaxSize bounds what Decompress yields, in bytes.
const MaxSize = 256 << 20

const (
	lzfu     = 0x75465A4C // "LZFu"
	mela     = 0x414C454D // "MELA"
	dictSize = 4096
)

// dictionary is what the window holds at first ([MS-OXRTFCP] 2.1.2.1).
const dictionary = "{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript " +
	"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par " +
	"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"

// ErrCRC says that compressed RTF has another checksum than it claims.
var ErrCRC = errors.New("compressed RTF has a wrong checksum")

// Decompress returns the RTF of a PidTagRtfCompressed ([MS-OXRTFCP]). With an
// error it returns what could be read before the damage.
func Decompress(b []byte) ([]byte, error) {
	if len(b) < 16 {
		return nil, fmt.Errorf("compressed RTF of %d bytes has no header", len(b))
	}
	size := int64(binary.LittleEndian.Uint32(b)) + 4
	raw := int64(binary.LittleEndian.Uint32(b[4:]))
	kind := binary.LittleEndian.Uint32(b[8:])
	crc := binary.LittleEndian.Uint32(b[12:])
	if size >= 16 && size < int64(len(b)) {
		b = b[:size]
	}
	data := b[16:]
	switch kind {
	case mela:
		return data[:min(raw, int64(len(data)))], nil
	case lzfu:
	default:
		return nil, fmt.Errorf("compressed RTF of unknown kind %#08x", kind)
	}
	out, err := inflate(data, min(raw, MaxSize))
	if err == nil && ^crc32.Update(^uint32(0), crc32.IEEETable, data) != crc {
		err = ErrCRC
	}
	return out, err
}

// inflate unpacks the runs of [MS-OXRTFCP] 2.2. A byte of data gives less than
// nine of output, so the output is bounded by the input.
func inflate(data []byte, limit int64) ([]byte, error) {
	var window [dictSize]byte
	at := copy(window[:], dictionary)
	out := make([]byte, 0, min(limit, int64(len(data))*9))
	emit := func(c byte) {
		out = append(out, c)
		window[at] = c
		at = (at + 1) % dictSize
	}
	for i := 0; i < len(data); {
		control := data[i]
		i++
		for bit := 0; bit < 8; bit, control = bit+1, control>>1 {
			if control&1 == 0 {
				if i >= len(data) {
					return out, end(out, limit)
				}
				emit(data[i])
				i++
				continue
			}
			if i+2 > len(data) {
				return out, end(out, limit)
			}
			ref := int(data[i])<<8 | int(data[i+1])
			i += 2
			from, n := ref>>4, ref&15+2
			if from == at {
				return out, nil
			}
			for ; n > 0; n-- {
				emit(window[from])
				from = (from + 1) % dictSize
			}
		}
		if int64(len(out)) > limit+dictSize {
			return out[:limit], errors.New("compressed RTF is longer than it claims")
		}
	}
	return out, end(out, limit)
}

func end(out []byte, size int64) error {
	if int64(len(out)) < size {
		return fmt.Errorf("compressed RTF ends after %d of %d bytes", len(out), size)
	}
	return nil
}
