package pebblekv_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

func open(t testing.TB, fs vfs.FS, dir string) *pebblekv.Store {
	t.Helper()
	s, err := pebblekv.Open(dir, pebblekv.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put commits key value pairs in one batch.
func put(t testing.TB, s kv.Store, pairs ...string) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close()
	for i := 0; i < len(pairs); i += 2 {
		if err := b.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(b, false); err != nil {
		t.Fatal(err)
	}
}

func dump(t testing.TB, r kv.Reader, lower, upper []byte) []string {
	t.Helper()
	it, err := r.Iter(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var out []string
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(it.Key())+"="+string(v))
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return out
}

func wantDump(t testing.TB, r kv.Reader, lower, upper []byte, want ...string) {
	t.Helper()
	if got := dump(t, r, lower, upper); !slices.Equal(got, want) {
		t.Errorf("range [%q, %q) holds %q, want %q", lower, upper, got, want)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s kv.Store)
	}{
		{"a key that is not there is ErrNotFound", func(t *testing.T, s kv.Store) {
			b, sn := s.NewBatch(), s.Snapshot()
			defer b.Close()
			defer sn.Close()
			for _, r := range []kv.Reader{s, b, sn} {
				if _, err := r.Get([]byte("k")); !errors.Is(err, kv.ErrNotFound) {
					t.Errorf("%T: got %v, want ErrNotFound", r, err)
				}
			}
		}},
		{"an empty value is not a missing one", func(t *testing.T, s kv.Store) {
			put(t, s, "k", "")
			if v, err := s.Get([]byte("k")); err != nil || v == nil || len(v) != 0 {
				t.Errorf("got %v, %v", v, err)
			}
		}},
		{"a value returned is the caller's", func(t *testing.T, s kv.Store) {
			put(t, s, "k", "one")
			v, err := s.Get([]byte("k"))
			if err != nil {
				t.Fatal(err)
			}
			copy(v, "xxx")
			wantDump(t, s, nil, nil, "k=one")
		}},
		{"a batch sees its own writes over the store", func(t *testing.T, s kv.Store) {
			put(t, s, "a", "1", "b", "2", "c", "3", "d", "4")
			b := s.NewBatch()
			defer b.Close()
			for _, err := range []error{
				b.Set([]byte("b"), []byte("two")), b.Delete([]byte("a")), b.DeleteRange([]byte("c"), []byte("e")),
				b.Set([]byte("d"), []byte("four")),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			wantDump(t, b, nil, nil, "b=two", "d=four")
			wantDump(t, s, nil, nil, "a=1", "b=2", "c=3", "d=4")
			if _, err := b.Get([]byte("c")); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("a key in a deleted range reads %v", err)
			}
			if b.Len() != 4 {
				t.Errorf("Len is %d after four writes", b.Len())
			}
			if err := s.Commit(b, true); err != nil {
				t.Fatal(err)
			}
			wantDump(t, s, nil, nil, "b=two", "d=four")
		}},
		{"a batch that is closed leaves nothing", func(t *testing.T, s kv.Store) {
			b := s.NewBatch()
			if err := b.Set([]byte("k"), nil); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			wantDump(t, s, nil, nil)
		}},
		{"a snapshot does not move", func(t *testing.T, s kv.Store) {
			put(t, s, "k", "1")
			sn := s.Snapshot()
			defer sn.Close()
			put(t, s, "k", "2", "l", "3")
			wantDump(t, sn, nil, nil, "k=1")
			wantDump(t, s, nil, nil, "k=2", "l=3")
		}},
		{"bounds are half open, empty ones unbounded", func(t *testing.T, s kv.Store) {
			put(t, s, "a", "1", "b", "2", "c", "3")
			wantDump(t, s, []byte("a"), []byte("c"), "a=1", "b=2")
			wantDump(t, s, []byte("b"), nil, "b=2", "c=3")
			wantDump(t, s, []byte{}, []byte("b"), "a=1")
			wantDump(t, s, []byte("b"), []byte("b"))
			wantDump(t, s, []byte("c"), []byte("a"))
		}},
		{"an iterator seeks and turns within its bounds", func(t *testing.T, s kv.Store) {
			put(t, s, "a", "1", "b", "2", "c", "3", "d", "4")
			it, err := s.Iter([]byte("b"), []byte("d"))
			if err != nil {
				t.Fatal(err)
			}
			defer it.Close()
			at := func(ok bool, want string) {
				t.Helper()
				if got := string(it.Key()); !ok || got != want {
					t.Errorf("at %q (%v), want %q", got, ok, want)
				}
			}
			at(it.Last(), "c")
			at(it.Prev(), "b")
			if it.Prev() {
				t.Error("went below the lower bound")
			}
			at(it.SeekGE([]byte("a")), "b")
			at(it.Next(), "c")
			if it.Next() {
				t.Error("went above the upper bound")
			}
			at(it.SeekLT([]byte("z")), "c")
			if it.SeekGE([]byte("d")) || it.SeekLT([]byte("b")) {
				t.Error("found a key outside the bounds")
			}
			if err := it.Error(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, open(t, vfs.NewMem(), "db"))
		})
	}
	t.Run("a checkpoint on disk is a complete store and stays as it was", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := open(t, nil, dir+"/db")
		put(t, s, "k", "1")
		if err := s.Checkpoint(dir + "/copy"); err != nil {
			t.Fatal(err)
		}
		put(t, s, "k", "2")
		if err := s.Checkpoint(dir + "/copy"); err == nil {
			t.Error("a checkpoint overwrote a directory")
		}
		wantDump(t, open(t, nil, dir+"/copy"), nil, nil, "k=1")
		if s.DiskUsage() == 0 || s.Metrics().Memtables == 0 {
			t.Errorf("no usage reported: %+v", s.Metrics())
		}
	})
	t.Run("a directory in use is refused", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		open(t, nil, dir)
		if s, err := pebblekv.Open(dir, pebblekv.Options{}); err == nil {
			s.Close()
			t.Error("opened twice")
		}
	})
	t.Run("a closed store refuses writes", func(t *testing.T) {
		t.Parallel()
		s := open(t, vfs.NewMem(), "db")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); !errors.Is(err, pebblekv.ErrClosed) {
			t.Errorf("Sync after Close: %v", err)
		}
	})
}

// seeds returns the seeds of the crash tests; SLUICE_CRASH_SEEDS sets how many.
func seeds(t *testing.T) []int64 {
	n := 20
	if v := os.Getenv("SLUICE_CRASH_SEEDS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 {
			t.Fatalf("SLUICE_CRASH_SEEDS=%q is not a positive number", v)
		}
	}
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i + 1)
	}
	return out
}

// After a power cut the store holds a prefix of the commits, at least up to the last sync.
func TestAPowerCutLeavesAPrefixOfTheCommits(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 0))
			fs := vfs.NewCrashableMem()
			// A small memtable puts flushes and compactions among the commits.
			s, err := pebblekv.Open("db", pebblekv.Options{FS: fs, MemtableBytes: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			steps, synced := 100+rng.IntN(200), 0
			states := []map[string]string{{}}
			for i := 1; i <= steps; i++ {
				next := map[string]string{}
				for k, v := range states[i-1] {
					next[k] = v
				}
				b := s.NewBatch()
				for range 1 + rng.IntN(20) {
					k := fmt.Sprintf("k%03d", rng.IntN(300))
					if rng.IntN(4) == 0 {
						delete(next, k)
						err = b.Delete([]byte(k))
					} else {
						next[k] = fmt.Sprintf("%d-%0*d", i, rng.IntN(200), 0)
						err = b.Set([]byte(k), []byte(next[k]))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				next["step"] = strconv.Itoa(i)
				if err := b.Set([]byte("step"), []byte(next["step"])); err != nil {
					t.Fatal(err)
				}
				sync, how := rng.IntN(30) == 0, rng.IntN(3)
				if err := s.Commit(b, sync && how == 0); err != nil {
					t.Fatal(err)
				}
				b.Close()
				if sync {
					synced = i
					switch how {
					case 1:
						err = s.Sync()
					case 2:
						nothing := s.NewBatch()
						err = s.Commit(nothing, true)
						nothing.Close()
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				states = append(states, next)
			}
			after := open(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), "db")
			got := map[string]string{}
			it, err := after.Iter(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer it.Close()
			for ok := it.First(); ok; ok = it.Next() {
				v, err := it.Value()
				if err != nil {
					t.Fatal(err)
				}
				got[string(it.Key())] = string(v)
			}
			if err := it.Error(); err != nil {
				t.Fatal(err)
			}
			at, _ := strconv.Atoi(got["step"])
			if at < synced {
				t.Fatalf("seed %d: store is at step %d, step %d was synced", seed, at, synced)
			}
			want := states[at]
			if len(got) != len(want) {
				t.Fatalf("seed %d: step %d has %d keys, want %d", seed, at, len(got), len(want))
			}
			for k, v := range want {
				if got[k] != v {
					t.Fatalf("seed %d: step %d: %s is %q, want %q", seed, at, k, got[k], v)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, nil, b.TempDir())
	value := bytes.Repeat([]byte("v"), 200)
	const keys = 20000
	for i := 0; i < keys; i += 100 {
		batch := s.NewBatch()
		for j := range 100 {
			if err := batch.Set(fmt.Appendf(nil, "key-%08d", i+j), value); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Commit(batch, false); err != nil {
			b.Fatal(err)
		}
		batch.Close()
	}
	rng := rand.New(rand.NewPCG(uint64(1), 0))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(fmt.Appendf(nil, "key-%08d", rng.IntN(keys))); err != nil {
			b.Fatal(err)
		}
	}
}

// 26 puts are what one run's whole life writes.
func BenchmarkCommitOf26Puts(b *testing.B) {
	s := open(b, nil, b.TempDir())
	value := bytes.Repeat([]byte("v"), 200)
	rng := rand.New(rand.NewPCG(uint64(1), 0))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		batch := s.NewBatch()
		for range 26 {
			n++
			if err := batch.Set(fmt.Appendf(nil, "%04x-%08d", rng.IntN(1<<16), n), value); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Commit(batch, false); err != nil {
			b.Fatal(err)
		}
		batch.Close()
	}
}
