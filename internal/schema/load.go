package schema

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Load returns the built-in schema extended by files as OpenLDAP has them:
// .schema, and .ldif of cn=config. What is built in already keeps its
// definition, so files may be named that are.
func Load(files []string) (*Schema, error) {
	if len(files) == 0 {
		return Builtin(), nil
	}
	sources := append([]source(nil), Builtin().sources...)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading a schema file: %w", err)
		}
		text := string(b)
		if strings.EqualFold(filepath.Ext(name), ".ldif") {
			if text, err = fromLDIF(text); err != nil {
				return nil, fmt.Errorf("reading schema %s: %w", name, err)
			}
		}
		sources = append(sources, source{name, text})
	}
	return build(sources)
}

// fromLDIF turns LDIF into the format of .schema files, line by line.
func fromLDIF(text string) (string, error) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	var out strings.Builder
	for i := 0; i < len(lines); {
		line, next := lines[i], i+1
		for ; next < len(lines) && strings.HasPrefix(lines[next], " "); next++ {
			line += lines[next][1:] // folded anywhere
		}
		definition, err := ldifDefinition(line)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", i+1, err)
		}
		out.WriteString(definition)
		out.WriteString(strings.Repeat("\n", next-i)) // so that errors name the line
		i = next
	}
	return out.String(), nil
}

// ldifDefinition returns the definition of a line, or "" where it has none.
func ldifDefinition(line string) (string, error) {
	key, value, found := strings.Cut(line, ":")
	keyword := strings.TrimPrefix(strings.ToLower(key), "olc")
	switch keyword {
	case "attributetypes", "objectclasses", "objectidentifier":
	default:
		found = false
	}
	if !found {
		return "", nil
	}
	if encoded, ok := strings.CutPrefix(value, ":"); ok {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil {
			return "", err
		}
		value = string(b)
	}
	value = strings.Join(strings.Fields(value), " ")
	if strings.HasPrefix(value, "{") { // the place among its siblings
		if _, rest, ok := strings.Cut(value, "}"); ok {
			value = strings.TrimSpace(rest)
		}
	}
	return keyword + " " + value, nil
}
