package slapdconf

import (
	"encoding/base64"
	"strings"
)

// IsLDIF tells whether a text is LDIF and not directives.
func IsLDIF(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.ToLower(strings.TrimSpace(line))
		if line == "" || line[0] == '#' {
			continue
		}
		return strings.HasPrefix(line, "dn:") || strings.HasPrefix(line, "version:")
	}
	return false
}

// fromLDIF turns the LDIF of cn=config into directives, each on the line of its
// attribute. What is in schema entries is left out: slapcat -n 0 writes the
// built-in definitions there.
func fromLDIF(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	var out strings.Builder
	for i := 0; i < len(lines); {
		line, next := lines[i], i+1
		for ; next < len(lines) && strings.HasPrefix(lines[next], " "); next++ {
			line += lines[next][1:]
		}
		out.WriteString(configLine(line))
		out.WriteString(strings.Repeat("\n", next-i))
		i = next
	}
	return out.String()
}

// configLine returns the directive of a line of cn=config, or "".
func configLine(line string) string {
	key, value, found := strings.Cut(line, ":")
	if !found {
		return ""
	}
	if encoded, ok := strings.CutPrefix(value, ":"); ok {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil {
			return ""
		}
		value = strings.ReplaceAll(string(b), "\n", " ")
	}
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, "{") && strings.IndexByte(value, '}') <= 4 && len(value) > 1 && value[1] >= '0' && value[1] <= '9' {
		_, value, _ = strings.Cut(value, "}")
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
	switch strings.ToLower(key) {
	case "olcsuffix":
		return "suffix " + quoted
	case "olcrootdn":
		return "rootdn " + quoted
	case "olcrootpw":
		return "rootpw " + quoted
	case "olcaccess":
		return "access " + value
	case "olcdbindex":
		return "index " + value
	case "dn":
		if kind, ok := strings.CutPrefix(strings.ToLower(value), "olcdatabase="); ok {
			kind, _, _ = strings.Cut(kind, ",")
			return "database " + kind[strings.IndexByte(kind, '}')+1:]
		}
	case "olcoverlay":
		return "overlay " + value
	case "olcallows":
		return "allow " + value
	case "olcsyncrepl":
		return "syncrepl " + quoted
	}
	return ""
}

// IsConfig tells whether LDIF is that of cn=config.
func IsConfig(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.ToLower(strings.TrimSpace(line))
		if rest, ok := strings.CutPrefix(line, "dn:"); ok {
			return strings.HasSuffix(strings.TrimSpace(rest), "cn=config")
		}
	}
	return false
}
