// Package slapdconf reads the configuration of an OpenLDAP, slapd.conf(5) of
// any age or the LDIF of its cn=config, and writes what of it matters here as
// keys of expost.toml. What has no counterpart is an Issue with its line.
package slapdconf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"expost/internal/directory/access"
)

// Config is what was found.
type Config struct {
	Suffix  []string
	RootDN  string
	RootPW  string   // hashed or in clear, as it stands there
	Schema  []string // files of definitions that are not built in
	Index   []string // "attributes kinds"
	Rules   []Rule
	AllowV2 bool
	Issues  []Issue
}

// Rule is one "access to".
type Rule struct {
	Place      string // file:line
	Scope      access.Scope
	DN         string // empty: every entry
	Regex      string // instead of DN
	Filter     string
	Attributes []string
	Value      string
	ValueRegex string
	By         []string
	Left       string // why the rule is left out; empty: it is not

	ended bool // by something that could not be taken
}

// Issue is a line that was not taken as it stands.
type Issue struct {
	Place string // file:line
	Text  string
}

// String returns the text with its place.
func (i Issue) String() string { return i.Place + ": " + i.Text }

// maxDepth is how deep files include others.
const maxDepth = 10

// Read reads a configuration from a file. Errors are those of reading it.
func Read(name string) (*Config, error) {
	r := &reader{}
	if err := r.file(name, 0); err != nil {
		return nil, err
	}
	r.finish()
	return &r.Config, nil
}

// reader gathers a Config.
type reader struct {
	Config
	ignored bool // the lines are of a database that holds no entries
}

// directive is one logical line.
type directive struct {
	place string
	words []string
}

func (r *reader) issue(d directive, format string, args ...any) {
	r.Issues = append(r.Issues, Issue{d.place, fmt.Sprintf(format, args...)})
}

// file reads a file of directives.
func (r *reader) file(name string, depth int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading a slapd configuration: %w", err)
	}
	if depth > maxDepth {
		return fmt.Errorf("reading a slapd configuration: %s is included too deep", name)
	}
	text := string(b)
	if IsLDIF(text) {
		text = fromLDIF(text)
	}
	for _, l := range logicalLines(text) {
		d := directive{place: fmt.Sprintf("%s:%d", filepath.Base(name), l.number)}
		if d.words, err = access.Words(l.text); err != nil {
			r.issue(d, "%v", err)
			continue
		}
		if err := r.take(d, name, depth); err != nil {
			return err
		}
	}
	return nil
}

// line is a logical line: one and those that continue it.
type line struct {
	number int
	text   string
}

func logicalLines(text string) []line {
	var lines []line
	for i, l := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		trimmed := strings.TrimSpace(l)
		switch {
		case trimmed == "" || l[0] == '#':
		case (l[0] == ' ' || l[0] == '\t') && len(lines) > 0:
			lines[len(lines)-1].text += " " + trimmed
		default:
			lines = append(lines, line{i + 1, trimmed})
		}
	}
	return lines
}

// take takes one directive.
func (r *reader) take(d directive, name string, depth int) error {
	keyword, args := strings.ToLower(d.words[0]), d.words[1:]
	if keyword == "database" {
		r.database(d, args)
		return nil
	}
	if r.ignored {
		return nil
	}
	if len(args) == 0 {
		args = []string{""}
	}
	switch keyword {
	case "include":
		return r.include(d, args[0], name, depth)
	case "suffix":
		r.Suffix = append(r.Suffix, strings.Join(args, " "))
	case "rootdn":
		r.RootDN = strings.Join(args, " ")
	case "rootpw":
		r.RootPW = args[0]
		if !strings.HasPrefix(args[0], "{") {
			r.issue(d, "rootpw is in clear text: here it is kept hashed")
		}
	case "access":
		r.access(d, args)
	case "index":
		r.index(d, args)
	case "allow":
		r.AllowV2 = r.AllowV2 || slices.Contains(args, "bind_v2")
	case "schemacheck":
		if strings.EqualFold(args[0], "off") {
			r.issue(d, "entries are always checked against the schema here: import names those that do not agree with it")
		}
	case "syncrepl":
		r.issue(d, "to go on as a copy of that server see [directory.copy]")
	case "tlscertificatefile", "tlscertificatekeyfile":
		r.issue(d, "the certificate belongs into [tls] cert and key: %s", args[0])
	case "overlay":
		r.issue(d, "overlay %s: %s", args[0], overlay(args[0]))
	case "referral":
		r.issue(d, "referral %s: make a referral object where it should hold", args[0])
	default:
		if !isOfNoUse(keyword) {
			r.issue(d, "%s has no counterpart here", keyword)
		}
	}
	return nil
}

// overlay says what becomes of an overlay.
func overlay(name string) string {
	switch strings.ToLower(name) {
	case "syncprov", "sssvlv", "unique", "refint":
		return "what it does is always on here, as far as there is need"
	}
	return "has no counterpart here"
}

// isOfNoUse tells directives that say how slapd runs, and not what it serves.
func isOfNoUse(keyword string) bool {
	switch keyword {
	case "pidfile", "argsfile", "loglevel", "logfile", "modulepath", "moduleload", "backend", "directory", "cachesize", "dbcachesize", "idlcachesize",
		"dncachesize", "cachefree", "checkpoint", "dbconfig", "dbnosync", "dbsync", "mode", "maxsize", "maxreaders", "envflags", "searchstack", "lastmod",
		"sizelimit", "timelimit", "threads", "tool-threads", "concurrency", "idletimeout", "sockbuf_max_incoming", "sockbuf_max_incoming_auth",
		"conn_max_pending", "conn_max_pending_auth", "password-hash", "ucdata-path", "tlscacertificatefile", "tlsciphersuite", "tlsverifyclient",
		"reverse-lookup", "monitoring", "gentlehup", "linear_index", "index_substr_if_minlen", "index_substr_if_maxlen", "disallow", "require",
		"attributetype", "objectclass", "objectidentifier", "syncprov-checkpoint", "syncprov-sessionlog", "defaultsearchbase", "serverid":
		return true
	}
	return false
}

// database begins the lines of a database.
func (r *reader) database(d directive, args []string) {
	kind := ""
	if len(args) > 0 {
		kind = strings.ToLower(args[0])
	}
	r.ignored = false
	switch kind {
	case "ldbm", "bdb", "hdb", "mdb":
	case "config", "monitor", "frontend":
		r.ignored = kind != "frontend"
	default:
		r.ignored = true
		r.issue(d, "a database of kind %q holds no entries of its own: its lines are left out", kind)
	}
}

// include reads another file, or notes it where it is one of definitions.
func (r *reader) include(d directive, name, from string, depth int) error {
	if isBuiltin(name) {
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(from), name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		r.issue(d, "%s cannot be read: where its definitions are needed, name it in directory.schema", name)
		return nil
	}
	if text := strings.ToLower(string(b)); strings.Contains(text, "attributetype") || strings.Contains(text, "objectclass") {
		r.Schema = append(r.Schema, name)
		return nil
	}
	return r.file(name, depth+1)
}

// isBuiltin tells whether the definitions of a file are built in.
func isBuiltin(name string) bool {
	base := strings.ToLower(filepath.Base(name))
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".schema"), ".ldif")
	return slices.Contains([]string{"core", "cosine", "inetorgperson", "nis", "misc", "qmail", "authldap", "courier", "mozilla", "mozillaorgperson"}, base)
}

// index takes "index attributes kinds".
func (r *reader) index(d directive, args []string) {
	if len(args) < 2 {
		r.issue(d, "an index without kinds is made by default here")
		return
	}
	kinds := map[string]string{"subinitial": "eq", "subany": "sub", "subfinal": "sub", "approx": "eq", "pres": "pres", "eq": "eq", "sub": "sub", "none": "none"}
	var out []string
	for kind := range strings.SplitSeq(strings.Join(args[1:], ","), ",") {
		k, ok := kinds[strings.ToLower(strings.TrimSpace(kind))]
		if ok && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	attributes := slices.DeleteFunc(strings.Split(args[0], ","), func(a string) bool {
		return slices.ContainsFunc([]string{"objectClass", "entryUUID", "entryCSN", "default", "dc"}, func(s string) bool { return strings.EqualFold(a, s) })
	})
	if len(attributes) > 0 && len(out) > 0 {
		r.Index = append(r.Index, strings.Join(attributes, ",")+" "+strings.Join(out, ","))
	}
}

// finish says what only the whole tells.
func (r *reader) finish() {
	at := func(format string, args ...any) {
		r.Issues = append(r.Issues, Issue{"the whole", fmt.Sprintf(format, args...)})
	}
	switch {
	case len(r.Suffix) == 0:
		at("there is no suffix")
	case len(r.Suffix) > 1:
		at("there are %d suffixes, and a directory here has one: %s is taken", len(r.Suffix), r.Suffix[0])
	}
	if len(r.Rules) == 0 {
		at("without access rules slapd lets everybody read everything, password hashes too; that is not taken over: anonymous clients read nothing here unless directory.anonymous names what")
	}
}
