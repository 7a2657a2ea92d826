package pst_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"expost/mapi"
	"expost/pst"
)

// fixtureDir is where sample files lie beside the module.
const fixtureDir = "../../shared/fixtures/pst"

// fixtures returns the paths of all sample files, or skips the test.
func fixtures(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fixtureDir, "*.[op]st"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no sample files in ../shared/fixtures/pst")
	}
	return files
}

// fixture reads a sample file, or skips the test.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtureDir, name))
	if os.IsNotExist(err) {
		t.Skipf("no sample file %s in ../shared/fixtures/pst", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens a file that is in memory; reports are counted.
func open(b []byte, opt pst.Options) (*pst.File, error) {
	return pst.Open(bytes.NewReader(b), int64(len(b)), opt)
}

// tally is what a walk through a file has met.
type tally struct {
	folders, messages, associated  int
	recipients, attachments, embed int
	properties                     int
	bytes                          int64
	errs                           []error
}

// walk reads everything in a file. What it reads is told to see, if that is not
// nil: an item's id and a value.
func walk(f *pst.File, see func(item uint32, tag mapi.Tag, value any)) *tally {
	w := &tally{}
	for d, err := range f.Folders() {
		if err != nil {
			w.errs = append(w.errs, err)
			continue
		}
		w.folders++
		w.values(d.ID(), d.Properties(), see)
		for m, err := range d.Messages() {
			if w.item(m, err, see) {
				w.messages++
			}
		}
		for m, err := range d.Associated() {
			if w.item(m, err, see) {
				w.associated++
			}
		}
	}
	return w
}

func (w *tally) item(m *pst.Message, err error, see func(uint32, mapi.Tag, any)) bool {
	if err != nil {
		w.errs = append(w.errs, err)
		return false
	}
	w.message(m.ID(), m, see, 0)
	return true
}

func (w *tally) message(id uint32, m mapi.Message, see func(uint32, mapi.Tag, any), depth int) {
	w.values(id, m, see)
	for r, err := range m.Recipients() {
		if err != nil {
			w.errs = append(w.errs, err)
			continue
		}
		w.recipients++
		w.values(id, r, see)
	}
	for a, err := range m.Attachments() {
		if err != nil {
			w.errs = append(w.errs, err)
			continue
		}
		w.attachments++
		w.values(id, a, see)
		e, ok, err := a.Message()
		switch {
		case err != nil:
			w.errs = append(w.errs, err)
		case ok && depth < 20:
			w.embed++
			w.message(id, e, see, depth+1)
		}
	}
}

func (w *tally) values(id uint32, p mapi.Properties, see func(uint32, mapi.Tag, any)) {
	for tag := range p.Tags() {
		w.properties++
		v, _, err := p.Value(tag)
		if err != nil {
			w.errs = append(w.errs, err)
			continue
		}
		switch v := v.(type) {
		case string:
			w.bytes += int64(2 * len(v))
		case []byte:
			w.bytes += int64(len(v))
		default:
			w.bytes += 8
		}
		if see != nil {
			see(id, tag, v)
		}
	}
}

// damagedFixtures are those of the sample files that are damaged, and how.
var damagedFixtures = map[string]string{
	"aspose-email__AddingBulkMessagesWithImprovedPerformance.pst": "line ends were rewritten in it: the root of its tree of blocks is garbage",
}

func TestFixturesOpen(t *testing.T) {
	t.Parallel()
	for _, path := range fixtures(t) {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var reports []error
			f, err := open(fixture(t, name), pst.Options{Report: func(err error) { reports = append(reports, err) }})
			if err != nil {
				t.Fatal(err)
			}
			w := walk(f, nil)
			_, bad := damagedFixtures[name]
			if bad != (len(w.errs)+len(reports) > 0) {
				t.Errorf("damaged: %v; errors %v, reports %v", bad, w.errs, reports)
			}
			for _, err := range w.errs {
				if _, ok := err.(*pst.Damage); !ok {
					t.Errorf("error without a place: %v", err)
				}
			}
			if w.folders < 4 {
				t.Errorf("%d folders", w.folders)
			}
		})
	}
}
