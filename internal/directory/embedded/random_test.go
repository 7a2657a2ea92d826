package embedded

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
)

// TestRandomChanges makes many changes and looks after them whether the
// indexes, which were changed along, are those that a new start builds, and
// whether searches that use them find what looking at every entry finds.
func TestRandomChanges(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			opt := options(t.TempDir())
			d, err := Open(context.Background(), opt)
			if err != nil {
				t.Fatal(err)
			}
			r := &randomizer{rand.New(rand.NewPCG(seed, 7)), d}
			for i := range 600 {
				r.step()
				if i%50 == 0 {
					r.compareSearches(t)
				}
			}
			r.compareSearches(t)
			before := d.snap.Load()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			compareSnapshots(t, before, open(t, opt).snap.Load())
		})
	}
}

// randomizer makes random changes and filters over few names, so that they meet.
type randomizer struct {
	*rand.Rand
	d *Directory
}

func (r *randomizer) word() string {
	words := []string{"ajay", "Banerjee", "biswajit", "Jürgen", "groß", "x", "of", "the linux for you", "Straße 7", "a b c", "ZZZ", "banjo-man"}
	return words[r.IntN(len(words))]
}

func (r *randomizer) dn() ldap.DN {
	base := "ou=addressbook,dc=example,dc=org"
	if r.IntN(4) == 0 {
		base = fmt.Sprintf("cn=n%d,%s", r.IntN(40), base)
	}
	return directorytest.DN(fmt.Sprintf("cn=n%d,%s", r.IntN(40), base))
}

// value returns an attribute and a value for it.
func (r *randomizer) value() (desc, value string) {
	switch r.IntN(9) {
	case 0:
		return "mail", fmt.Sprintf("m%d@example.org", r.IntN(60))
	case 1:
		return "telephoneNumber", fmt.Sprintf("+91 %d-%d", r.IntN(30), r.IntN(99))
	case 2:
		return "labeledURI", "http://Example.org/" + r.word()
	case 3:
		return "description", strings.Repeat(r.word()+" ", 1+r.IntN(200))
	case 4:
		return "sn;lang-de", r.word()
	case 5:
		return "mailNickname", r.word()
	case 6:
		return "mailQuotaSize", fmt.Sprint(r.IntN(100))
	case 7:
		return "manager", r.dn().String()
	}
	return "title", r.word() + " " + r.word()
}

// step makes one change, which may be refused.
func (r *randomizer) step() {
	ctx, who := context.Background(), directory.Local()
	switch r.IntN(6) {
	case 0:
		_ = r.d.Delete(ctx, who, r.dn())
	case 1:
		desc, value := r.value()
		op := []ldap.ChangeOp{ldap.ChangeAdd, ldap.ChangeReplace, ldap.ChangeDelete}[r.IntN(3)]
		_ = r.d.Modify(ctx, who, r.dn(), []ldap.Change{{Op: op, Attribute: ldap.NewAttribute(desc, value)}})
	case 2:
		_ = r.d.Rename(ctx, who, directory.Rename{DN: r.dn(), NewRDN: r.dn()[0], DeleteOld: r.IntN(2) == 0, Superior: r.dn().Parent()})
	default:
		e := &ldap.Entry{DN: r.dn(), Attributes: []ldap.Attribute{
			ldap.NewAttribute("objectClass", "inetOrgPerson", "expostPerson", "qmailUser"),
			ldap.NewAttribute("mail", fmt.Sprintf("m%d@example.org", r.IntN(60))), ldap.NewAttribute("sn", r.word())}}
		for range r.IntN(4) {
			desc, value := r.value()
			if e.Attribute(desc) == nil {
				e.Attributes = append(e.Attributes, ldap.NewAttribute(desc, value))
			}
		}
		_ = r.d.Add(ctx, who, e)
	}
}

// filter returns a random filter.
func (r *randomizer) filter(depth int) string {
	if depth > 0 && r.IntN(3) > 0 {
		op := []string{"&", "|", "!"}[r.IntN(3)]
		subs := r.filter(depth - 1)
		if op != "!" {
			for range r.IntN(3) {
				subs += r.filter(depth - 1)
			}
		}
		return "(" + op + subs + ")"
	}
	desc, value := r.value()
	value = value[:min(len(value), 12)]
	from := r.IntN(len(value))
	to := from + 1 + r.IntN(len(value)-from)
	switch r.IntN(9) {
	case 0:
		return fmt.Sprintf("(%s=%s*)", desc, value[:to])
	case 1:
		return fmt.Sprintf("(%s=*%s*)", desc, value[from:to])
	case 2:
		return fmt.Sprintf("(%s=*%s)", desc, value[from:])
	case 3:
		return fmt.Sprintf("(%s>=%s)", desc, value)
	case 4:
		return fmt.Sprintf("(%s<=%s)", desc, value)
	case 5:
		return fmt.Sprintf("(%s=*)", desc)
	case 6:
		return fmt.Sprintf("(name=*%s*)", value[from:to])
	case 7:
		return fmt.Sprintf("(objectClass=%s)", []string{"person", "inetOrgPerson", "organizationalUnit", "top", "nosuch"}[r.IntN(5)])
	}
	return fmt.Sprintf("(%s=%s)", desc, strings.ToUpper(value))
}

// compareSearches searches with the indexes and without.
func (r *randomizer) compareSearches(t *testing.T) {
	t.Helper()
	s := r.d.snap.Load()
	for range 40 {
		text := r.filter(3)
		f, err := ldap.ParseFilter(text)
		if err != nil {
			continue
		}
		c := s.compile(f, &subject{root: true})
		m := matcher{snap: s, suffix: r.d.suffix}
		src, ok := s.candidates(c)
		if !ok {
			continue
		}
		list := slices.Collect(func(yield func(uint32) bool) { src.walk(0, yield) })
		if len(list) > src.size || src.inOrder && !slices.IsSorted(list) {
			t.Fatalf("%s: %d candidates of %d, in order: %v", text, len(list), src.size, src.inOrder)
		}
		slices.Sort(list)
		for n := range all(&s.nodes) {
			if _, found := slices.BinarySearch(list, n.id); !found && m.eval(c, n) == yes {
				t.Fatalf("%s: the indexes do not find %s", text, s.dn(n, r.d.suffix))
			}
		}
	}
}

// compareSnapshots fails where two snapshots or their indexes differ.
func compareSnapshots(t *testing.T, a, b *snapshot) {
	t.Helper()
	if a.count != b.count || a.suffix != b.suffix || a.lastID < b.lastID {
		t.Fatalf("%d entries, suffix %d, last %d became %d, %d, %d", a.count, a.suffix, a.lastID, b.count, b.suffix, b.lastID)
	}
	dump := func(s *snapshot) (nodes map[uint32]string, items []item, terms map[uint32][]uint32) {
		nodes, terms = map[uint32]string{}, map[uint32][]uint32{}
		for n := range all(&s.nodes) {
			nodes[n.id] = fmt.Sprintf("%d %q", n.parent, n.data)
		}
		s.index.ascend(item{}, func(it item) bool {
			items = append(items, it)
			return true
		})
		for term := range maxTerms {
			if p := s.terms.get(term); p != nil {
				terms[term] = ids(p)
				if len(terms[term]) != p.count {
					t.Errorf("term %d counts %d and has %d", term, p.count, len(terms[term]))
				}
			}
		}
		return nodes, items, terms
	}
	nodesA, itemsA, termsA := dump(a)
	nodesB, itemsB, termsB := dump(b)
	if !maps.Equal(nodesA, nodesB) {
		t.Error("the entries differ")
	}
	for _, s := range []*snapshot{a, b} {
		for i, it := range itemsA {
			if rank := s.index.rank(it); rank != i {
				t.Fatalf("item %d has the rank %d", i, rank)
			}
		}
	}
	if !slices.Equal(itemsA, itemsB) {
		t.Errorf("the sorted index differs: %d and %d items", len(itemsA), len(itemsB))
	}
	if !maps.EqualFunc(termsA, termsB, slices.Equal) {
		t.Errorf("the terms differ: %d and %d", len(termsA), len(termsB))
	}
}

// TestPostings compares the sets with a map, across the sizes where they change
// their form.
func TestPostings(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	want := map[uint32]bool{}
	var p, frozen *postings
	var frozenWant []uint32
	e := &edit{}
	for i := range 40_000 {
		id := uint32(r.IntN(9000)) + uint32(r.IntN(2))<<16
		if i > 25_000 && r.IntN(3) > 0 {
			p = p.remove(e, id)
			delete(want, id)
		} else {
			p = p.add(e, id)
			want[id] = true
		}
		if i == 20_000 {
			frozen, frozenWant, e = p, slices.Sorted(maps.Keys(want)), &edit{}
		}
	}
	if got := ids(p); !slices.Equal(got, slices.Sorted(maps.Keys(want))) || p.len() != len(want) {
		t.Errorf("%d ids, %d counted, want %d", len(got), p.len(), len(want))
	}
	if !slices.Equal(ids(frozen), frozenWant) {
		t.Error("a published set was changed")
	}
	for id := range want {
		if !p.contains(id) {
			t.Fatalf("%d is missing", id)
		}
		p = p.remove(e, id)
	}
	if p != nil {
		t.Error("an empty set is left")
	}
}

// TestIndex compares the tree with a sorted list.
func TestIndex(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	var x index
	var frozen index
	var frozenWant []item
	want := map[item]bool{}
	e := &edit{}
	for i := range 30_000 {
		it := item{fmt.Sprint(r.IntN(2000)), uint32(r.IntN(3)), uint32(r.IntN(4))}
		if r.IntN(3) == 0 || i > 25_000 {
			x.remove(e, it)
			delete(want, it)
		} else {
			x.insert(e, it)
			want[it] = true
		}
		if i == 15_000 {
			frozen, frozenWant, e = x, slices.SortedFunc(maps.Keys(want), item.compare), &edit{}
		}
	}
	all := func(x index) (list []item) {
		x.ascend(item{}, func(it item) bool {
			list = append(list, it)
			return true
		})
		return list
	}
	sorted := slices.SortedFunc(maps.Keys(want), item.compare)
	if !slices.Equal(all(x), sorted) {
		t.Error("the tree differs")
	}
	if !slices.Equal(all(frozen), frozenWant) {
		t.Error("a published tree was changed")
	}
	if built := buildIndex(sorted); !slices.Equal(all(built), sorted) {
		t.Error("the built tree differs")
	}
	for it := range want {
		x.remove(e, it)
	}
	if x.root != nil {
		t.Error("an empty tree has pages")
	}
}

// ids returns the ids of a set.
func ids(p *postings) []uint32 {
	return slices.Collect(func(yield func(uint32) bool) { p.walk(0, yield) })
}

// all yields the items of a vector.
func all[T any](v *vector[T]) iter.Seq[*T] {
	return func(yield func(*T) bool) { v.walk(0, yield) }
}
