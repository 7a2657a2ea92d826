package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path this module is imported by.
const module = "expost"

// file is a parsed Go file and the package folder it lies in, "internal/mail".
type file struct {
	dir, path string
	test      bool
	ast       *ast.File
}

// sources parses every Go file of the module.
func sources(t *testing.T) ([]file, *token.FileSet) {
	t.Helper()
	root, fset := filepath.Join("..", ".."), token.NewFileSet()
	var files []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && p != root && d.Name() != "..") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		files = append(files, file{filepath.ToSlash(filepath.Dir(rel)), filepath.ToSlash(rel), strings.HasSuffix(p, "_test.go"), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d files below %s", len(files), root)
	}
	return files, fset
}

// arrow forbids imports: packages whose folder matches from may not import
// those that match to, because of why.
type arrow struct {
	from, to []string
	why      string
}

var (
	servers = []string{"internal/smtpserver", "internal/imapserver", "internal/pop3server", "internal/ldapserver", "internal/httpserver"}
	wires   = []string{"internal/imapwire", "internal/ldapwire", "internal/ldap", "internal/ldif", "internal/schema"}
	engines = []string{"internal/store/sqlite", "internal/directory/embedded", "internal/migrate", "internal/queue", "internal/maillog"}
)

// arrows are the import rules of ARCHITECTURE.md.
func arrows() []arrow {
	return []arrow{
		{[]string{"internal/mail"}, []string{"internal/"}, "the vocabulary stands on nothing"},
		{[]string{"internal/message"}, []string{"internal/store", "internal/directory", "internal/imapwire"}, "a message knows neither store nor protocol"},
		{wires, append([]string{"internal/store", "internal/directory", "internal/delivery", "net", "net/http"}, servers...), "grammar knows neither sockets nor the store"},
		{[]string{"internal/store", "internal/blob", "internal/directory"}, append([]string{"internal/delivery", "internal/migrate", "internal/imapwire", "internal/ldapwire", "cmd/"}, servers...), "arrows point down"},
		{[]string{"internal/delivery"}, append([]string{"internal/migrate", "internal/imapwire"}, servers...), "arrows point down"},
		{[]string{"internal/migrate", "internal/gal"}, servers, "a migration speaks to the store, not to a protocol"},
	}
}

// matches tells whether path is one of the prefixes or lies below one. "net"
// stands for what opens sockets, not for net/url and net/netip.
func matches(path string, prefixes []string) bool {
	if path == "net/url" || path == "net/netip" {
		return false
	}
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return path == p || strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/")
	})
}

func imports(f file) []string {
	var out []string
	for _, i := range f.ast.Imports {
		out = append(out, strings.TrimPrefix(strings.Trim(i.Path.Value, `"`), module+"/"))
	}
	return out
}

func TestImportArrows(t *testing.T) {
	t.Parallel()
	files, _ := sources(t)
	for _, f := range files {
		if f.test {
			continue
		}
		for _, imp := range imports(f) {
			for _, a := range arrows() {
				if matches(f.dir, a.from) && matches(imp, a.to) && !matches(imp, []string{f.dir}) && !matches(f.dir, []string{imp}) {
					t.Errorf("%s imports %s: %s", f.path, imp, a.why)
				}
			}
			if matches(f.dir, servers) && matches(imp, servers) && !matches(imp, []string{f.dir}) {
				t.Errorf("%s imports %s: protocols do not import one another", f.path, imp)
			}
			if strings.HasPrefix(imp, "github.com/ncruces/go-sqlite3") && !matches(f.dir, engines) {
				t.Errorf("%s imports %s: only the engines know SQL", f.path, imp)
			}
		}
	}
}

// TestLibrariesStandAlone keeps the libraries of Exchange's formats importable
// by others: the standard library, golang.org/x and one another.
func TestLibrariesStandAlone(t *testing.T) {
	t.Parallel()
	files, _ := sources(t)
	libraries := []string{"pst", "mapi", "oab"}
	for _, f := range files {
		if f.test || !matches(f.dir, libraries) {
			continue
		}
		for _, imp := range imports(f) {
			first, _, _ := strings.Cut(imp, "/")
			if first == "internal" || strings.Contains(first, ".") && first != "golang.org" {
				t.Errorf("%s imports %s: a library takes the standard library and golang.org/x alone", f.path, imp)
			}
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	files, _ := sources(t)
	documented, all := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		all[f.dir] = true
		documented[f.dir] = documented[f.dir] || f.ast.Doc != nil
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, f.ast.Name.Name) {
			t.Errorf("%s: %s is not a noun of the field", f.path, f.ast.Name.Name)
		}
	}
	for dir := range all {
		if !documented[dir] {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// calls yields the "package.Function" calls of a file.
func calls(f file, yield func(name string, pos token.Pos)) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				yield(x.Name+"."+sel.Sel.Name, call.Pos())
			}
		}
		return true
	})
}

func TestNoRegistrationInInit(t *testing.T) {
	t.Parallel()
	files, fset := sources(t)
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: an init function; wire things in main", fset.Position(fn.Pos()))
			}
		}
	}
}

func TestServersDoNotPrint(t *testing.T) {
	t.Parallel()
	files, fset := sources(t)
	forbidden := []string{"fmt.Print", "fmt.Printf", "fmt.Println", "log.Print", "log.Printf", "log.Println", "log.Fatal", "os.Exit"}
	for _, f := range files {
		if f.test || !strings.HasPrefix(f.dir, "internal/") {
			continue
		}
		calls(f, func(name string, pos token.Pos) {
			if slices.Contains(forbidden, name) {
				t.Errorf("%s: %s in a library or server", fset.Position(pos), name)
			}
		})
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	t.Parallel()
	files, fset := sources(t)
	for _, f := range files {
		if !f.test {
			continue
		}
		calls(f, func(name string, pos token.Pos) {
			if name == "time.Sleep" {
				t.Errorf("%s: time.Sleep in a test; wait on a condition", fset.Position(pos))
			}
		})
	}
}

func TestMachinePathsAreAbsent(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"/work/", "/root/"} {
			if strings.Contains(string(b), bad) {
				t.Errorf("%s names %s, a path of somebody's machine", name, bad)
			}
		}
	}
}

func TestFunctionsFitAScreen(t *testing.T) {
	t.Parallel()
	files, fset := sources(t)
	for _, f := range files {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; lines > 150 {
				t.Errorf("%s: %s has %d lines, more than 150", fset.Position(fn.Pos()), fn.Name.Name, lines)
			}
			params := 0
			for _, p := range fn.Type.Params.List {
				params += max(1, len(p.Names))
			}
			if params > 6 {
				t.Errorf("%s: %s has %d parameters, more than 6", fset.Position(fn.Pos()), fn.Name.Name, params)
			}
		}
	}
}
