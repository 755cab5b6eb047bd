package state

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
)

func newStore(t *testing.T) kv.Store {
	t.Helper()
	s, err := pebblekv.Open("", pebblekv.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// change commits what fn does as one transaction.
func change(t *testing.T, s kv.Store, fn func(tx *Tx) error) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close()
	tx := NewTx(b)
	if err := errors.Join(fn(tx), tx.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(b, false); err != nil {
		t.Fatal(err)
	}
}

func number(i int) []byte { return fmt.Appendf(nil, "%016d", i) }

func TestKeysKeepTheOrderOfWhatTheyEncode(t *testing.T) {
	t.Parallel()
	texts := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00b", "a\x01", "ab", "b", "\xff"}
	for i := 1; i < len(texts); i++ {
		a, b := appendText(nil, texts[i-1]), appendText(nil, texts[i])
		if bytes.Compare(a, b) >= 0 || bytes.HasPrefix(b, a) {
			t.Errorf("%q is encoded %x, %q %x", texts[i-1], a, texts[i], b)
		}
	}
	times := []int64{-1 << 63, -1, 0, 1, 1_700_000_000_000_000, 1<<63 - 1}
	for i := 1; i < len(times); i++ {
		if bytes.Compare(appendTime(nil, times[i-1]), appendTime(nil, times[i])) >= 0 {
			t.Errorf("%d does not sort before %d", times[i-1], times[i])
		}
	}
	if after([]byte{0xFF, 0xFF}) != nil || !bytes.Equal(after([]byte{1, 0xFF}), []byte{2}) {
		t.Error("the end of a prefix is wrong")
	}
}

func TestAUniqueKeyBelongsToOneRow(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.NewFlow(&row.Flow{Id: number(1), Name: "a"}).Save() })
	change(t, s, func(tx *Tx) error {
		if err := tx.NewFlow(&row.Flow{Id: number(2), Name: "a"}).Save(); !errors.Is(err, ErrNotUnique) {
			return fmt.Errorf("a second row of the name: %w", err)
		}
		if err := tx.NewFlow(&row.Flow{Id: number(1), Name: "b"}).Save(); !errors.Is(err, ErrNotUnique) {
			return fmt.Errorf("a second row of the id: %w", err)
		}
		e, err := tx.EditFlow(number(1))
		if err != nil {
			return err
		}
		e.Row.Name = "c"
		return e.Save()
	})
	change(t, s, func(tx *Tx) error { return tx.NewFlow(&row.Flow{Id: number(2), Name: "a"}).Save() })
	v := NewView(s, 0, nil)
	if f, err := v.FlowByName("c"); err != nil || !bytes.Equal(f.GetId(), number(1)) {
		t.Fatalf("c is %v, %v", f, err)
	}
	if err := v.Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestTheHashDependsOnTheRowsAlone(t *testing.T) {
	t.Parallel()
	hash := func(order []int, detour bool) Hash {
		s := newStore(t)
		for _, i := range order {
			change(t, s, func(tx *Tx) error { return tx.NewFlow(&row.Flow{Id: number(i), Name: fmt.Sprint(i)}).Save() })
		}
		if detour {
			change(t, s, func(tx *Tx) error { return tx.NewFlow(&row.Flow{Id: number(99), Name: "gone"}).Save() })
			change(t, s, func(tx *Tx) error {
				e, err := tx.EditFlow(number(99))
				return errors.Join(err, e.Delete())
			})
		}
		h, err := NewView(s, 0, nil).Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	straight := hash([]int{1, 2, 3}, false)
	if straight != hash([]int{3, 1, 2}, true) {
		t.Fatal("the order of writes shows in the hash")
	}
	if straight == hash([]int{1, 2, 4}, false) {
		t.Fatal("other rows have the same hash")
	}
}

func TestVerifyFindsWhatIsDerivedWrongly(t *testing.T) {
	t.Parallel()
	for fact, damage := range map[string]func(kv.Batch) error{
		"a lost index key":  func(b kv.Batch) error { return b.Delete(appendText(indexKey(idxFlowName), "a")) },
		"a stray index key": func(b kv.Batch) error { return b.Set(appendText(indexKey(idxFlowName), "b"), []byte("x")) },
		"a stray counter": func(b kv.Batch) error {
			return b.Set(append(counterKey(countRunsByState), 1), binaryOne)
		},
		"a changed row": func(b kv.Batch) error {
			data, err := marshal.Marshal(&row.Flow{Id: number(1), Name: "a", Created: 7})
			return errors.Join(err, b.Set(appendID(prefix(kindRow, flows.number), number(1)), data))
		},
	} {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			change(t, s, func(tx *Tx) error { return tx.NewFlow(&row.Flow{Id: number(1), Name: "a"}).Save() })
			if err := NewView(s, 0, nil).Verify(); err != nil {
				t.Fatal(err)
			}
			b := s.NewBatch()
			defer b.Close()
			if err := errors.Join(damage(b), s.Commit(b, false)); err != nil {
				t.Fatal(err)
			}
			if NewView(s, 0, nil).Verify() == nil {
				t.Fatal("nothing was noticed")
			}
		})
	}
}

var binaryOne = []byte{0, 0, 0, 0, 0, 0, 0, 1}

// A newer binary declares an index that the stored state has never heard of.
func TestANewIndexIsBuiltInChunks(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	for i := range 100 {
		change(t, s, func(tx *Tx) error { return tx.NewFlow(&row.Flow{Id: number(i), Name: fmt.Sprint(i)}).Save() })
	}
	b := s.NewBatch()
	defer b.Close()
	under := indexKey(idxFlowName)
	if err := errors.Join(b.DeleteRange(under, after(under)), b.Delete(systemKey(sysIndex, idxFlowName)), s.Commit(b, false)); err != nil {
		t.Fatal(err)
	}
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	building, err := NewView(s, 0, nil).BuildingIndexes()
	if err != nil || !slices.Equal(building, []byte{idxFlowName}) {
		t.Fatalf("building are %v, %v", building, err)
	}
	for done, i := false, 100; !done; i++ {
		change(t, s, func(tx *Tx) (err error) {
			// Writes go on meanwhile: new rows, renamed rows, rows that go.
			if err := tx.NewFlow(&row.Flow{Id: number(i), Name: fmt.Sprint(i)}).Save(); err != nil {
				return err
			}
			e, err := tx.EditFlow(number(random.IntN(i)))
			if err != nil || e == nil {
				return err
			}
			if random.IntN(3) == 0 {
				return e.Delete()
			}
			e.Row.Name = fmt.Sprintf("renamed %d %d", i, random.IntN(1000))
			return e.Save()
		})
		change(t, s, func(tx *Tx) (err error) {
			done, err = tx.BuildIndex(idxFlowName, 7)
			return err
		})
	}
	v := NewView(s, 0, nil)
	if st, err := v.IndexState(idxFlowName); st != IndexReady || err != nil {
		t.Fatalf("the index is %c, %v", st, err)
	}
	if err := v.Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.setUint64(sysSchema, SchemaVersion+1) })
	if err := NewView(s, 0, nil).CheckSchema(); !errors.Is(err, ErrSchemaTooNew) {
		t.Fatalf("got %v", err)
	}
}
