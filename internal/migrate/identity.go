package migrate

import (
	"bytes"
	"crypto/sha256"
	"strings"
)

// Identity stands for a message by its header: the Message-ID where it has one,
// else Date, From, To and Subject. Servers that make messages anew (Exchange),
// and tools that add a header line, leave it as it was; so it finds the copies of
// earlier tools where no hash of bytes would. The zero Identity is that of a
// message whose header says nothing.
type Identity [16]byte

// IdentityOf returns the identity of the message that starts with these bytes.
func IdentityOf(start []byte) Identity {
	id, _ := identityOf(start)
	return id
}

// identityOf returns the Message-ID too.
func identityOf(start []byte) (id Identity, messageID string) {
	found := likenessFields(start)
	text := strings.Join(strings.Fields(found["message-id"]), "")
	if text == "" {
		for _, key := range []string{"date", "from", "to", "subject"} {
			text += strings.Join(strings.Fields(found[key]), " ") + "\x00"
		}
		if len(strings.Trim(text, "\x00")) == 0 {
			return Identity{}, ""
		}
	}
	sum := sha256.Sum256([]byte(text))
	return Identity(sum[:16]), strings.TrimSpace(found["message-id"])
}

// likenessOf returns what a message is recognised by in another folder of the
// same source: all that Identity may look at at once, because nobody looks at
// its bytes again. The zero Identity is like none.
func likenessOf(header []byte) Identity {
	found := likenessFields(header)
	if len(found) == 0 {
		return Identity{}
	}
	var text strings.Builder
	for _, key := range []string{"message-id", "date", "from", "to", "subject"} {
		text.WriteString(strings.Join(strings.Fields(found[key]), " ") + "\x00")
	}
	sum := sha256.Sum256([]byte(text.String()))
	return Identity(sum[:16])
}

// likenessOfEmail returns the same for a message that the source itself says is
// the one with this EMAILID.
func likenessOfEmail(id string) Identity {
	sum := sha256.Sum256([]byte("EMAILID " + id))
	return Identity(sum[:16])
}

// likenessFields returns the values of Message-ID, Date, From, To and Subject, by
// their names in lower case; of fields that are there twice the first.
func likenessFields(start []byte) map[string]string {
	found := map[string]string{}
	var name string
	for len(start) > 0 {
		line := start
		if i := bytes.IndexByte(start, '\n'); i >= 0 {
			line, start = start[:i], start[i+1:]
		} else {
			start = nil
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if name != "" {
				found[name] += " " + string(line)
			}
			continue
		}
		field, value, ok := bytes.Cut(line, []byte(":"))
		name = ""
		if !ok || len(field) > 12 {
			continue
		}
		switch key := strings.ToLower(string(bytes.TrimSpace(field))); key {
		case "message-id", "date", "from", "to", "subject":
			if _, twice := found[key]; !twice {
				name = key
				found[key] = string(value)
			}
		}
	}
	return found
}
