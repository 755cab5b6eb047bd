package snapshot

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

// history is what the cluster committed: the state after each index. An index that changed nothing stands for entries
// the state machine never sees.
type history struct {
	seed uint64
	// mu guards states.
	mu     sync.Mutex
	states []map[string]string
}

func newHistory(seed uint64) *history { return &history{seed: seed, states: []map[string]string{{}}} }

// at returns the state after index, the same on every node.
func (hi *history) at(index uint64) map[string]string {
	hi.mu.Lock()
	defer hi.mu.Unlock()
	for i := uint64(len(hi.states)); i <= index; i++ {
		next := maps.Clone(hi.states[i-1])
		for _, w := range hi.writes(i) {
			if w.value == "" {
				delete(next, w.key)
			} else {
				next[w.key] = w.value
			}
		}
		hi.states = append(hi.states, next)
	}
	return hi.states[index]
}

type write struct{ key, value string }

// silent tells whether the state machine never sees the entry.
func (hi *history) silent(index uint64) bool { return len(hi.writes(index)) == 0 }

func (hi *history) writes(index uint64) []write {
	rng := rand.New(rand.NewPCG(hi.seed, index))
	out := make([]write, rng.IntN(6))
	for i := range out {
		out[i].key = fmt.Sprintf("\x01key%03d", rng.IntN(200))
		if rng.IntN(4) > 0 {
			out[i].value = fmt.Sprintf("%d:%s", index, strings.Repeat("v", rng.IntN(300)))
		}
	}
	return out
}

func term(index uint64) uint64 { return 1 + index/50 }

// node is one holder with a model of what it must hold.
type node struct {
	t     testing.TB
	fs    vfs.FS
	hist  *history
	lock  sync.Mutex
	h     *Holder
	store *Store
	// index is where Raft stands on this node.
	index uint64
}

func config(fs vfs.FS, lock sync.Locker) Config {
	return Config{
		DataDir: "data", ApplyLock: lock,
		KV: pebblekv.Options{FS: fs, MemtableBytes: 64 << 10, CacheBytes: 1 << 20},
	}
}

func newNode(t testing.TB, fs vfs.FS, hist *history, step func(string)) *node {
	t.Helper()
	n := &node{t: t, fs: fs, hist: hist}
	c := config(fs, &n.lock)
	c.step = step
	h, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	n.h, n.store = h, NewStore(h)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := h.Meta()
	if err != nil {
		t.Fatal(err)
	}
	n.index, _ = m.Last()
	return n
}

func servers(n uint64) raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(fmt.Sprint("s", n)), Address: "here"}}}
}

// apply brings the node to index, some entries in one batch, as the state machine would.
func (n *node) apply(index uint64) {
	n.t.Helper()
	for n.index < index {
		first := n.index + 1
		last := min(index, first+uint64(rand.New(rand.NewPCG(n.hist.seed, n.index)).IntN(4)))
		n.lock.Lock()
		b := n.h.Current().NewBatch()
		var seen uint64
		for i := first; i <= last; i++ {
			if n.hist.silent(i) {
				continue
			}
			seen = i
			for _, w := range n.hist.writes(i) {
				if w.value == "" {
					n.must(b.Delete([]byte(w.key)))
				} else {
					n.must(b.Set([]byte(w.key), []byte(w.value)))
				}
			}
			if i%17 == 0 {
				n.must(WriteConfiguration(b, i, servers(i)))
			}
		}
		if seen > 0 {
			n.must(WriteApplied(b, seen, term(seen)))
			n.must(n.h.Current().Commit(b, false))
		}
		n.must(b.Close())
		n.lock.Unlock()
		n.index = last
	}
}

// persist takes a snapshot as Raft does.
func (n *node) persist() {
	n.t.Helper()
	snap, err := n.h.Snapshot()
	n.must(err)
	defer snap.Release()
	sink, err := n.store.Create(raft.SnapshotVersionMax, n.index, term(n.index), raft.Configuration{}, 0, nil)
	n.must(err)
	n.must(snap.Persist(sink))
	n.must(sink.Close())
}

// stream reads a whole snapshot.
func (n *node) stream() (*raft.SnapshotMeta, []byte) {
	n.t.Helper()
	meta, rc, err := n.store.Open(liveID)
	n.must(err)
	defer rc.Close()
	b, err := io.ReadAll(rc)
	n.must(err)
	if int64(len(b)) != meta.Size {
		n.t.Fatalf("the stream has %d bytes, announced were %d", len(b), meta.Size)
	}
	return meta, b
}

// receive writes a stream as Raft does when another node sends it, and returns the id to restore.
func (n *node) receive(meta *raft.SnapshotMeta, r io.Reader) (string, error) {
	sink, err := n.store.Create(meta.Version, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	if err != nil {
		return "", err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{sink}, struct{ io.Reader }{r}, make([]byte, 4096)); err != nil {
		n.must(sink.Cancel())
		return "", err
	}
	if err := sink.Close(); err != nil {
		return "", err
	}
	return sink.ID(), nil
}

func (n *node) restore(id string) error {
	meta, rc, err := n.store.Open(id)
	if err != nil {
		return err
	}
	defer rc.Close()
	if err := n.h.Restore(rc); err != nil {
		return err
	}
	n.index = meta.Index
	return nil
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// contents reads everything that is not this package's.
func contents(t testing.TB, r kv.Reader) map[string]string {
	t.Helper()
	it, err := r.Iter([]byte{Prefix + 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	out := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		out[string(it.Key())] = string(v)
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return out
}

// check compares the database with the history at the index the database itself claims, and returns that index.
func (n *node) check(what string) uint64 {
	n.t.Helper()
	hd := n.h.Acquire()
	defer hd.Release()
	m, err := hd.meta()
	n.must(err)
	if got, want := contents(n.t, hd.Store), n.hist.at(m.Applied); !maps.Equal(got, want) {
		n.t.Fatalf("%s: %d keys at index %d differ from the history's %d", what, len(got), m.Applied, len(want))
	}
	index, _ := m.Last()
	for i := m.Applied + 1; i <= index; i++ {
		if !n.hist.silent(i) {
			n.t.Fatalf("%s: the snapshot index is %d, but entry %d is missing", what, index, i)
		}
	}
	if want := lastConfiguration(n.hist, m.Applied); m.ConfigurationIndex != want {
		n.t.Fatalf("%s: configuration %d at index %d, want %d", what, m.ConfigurationIndex, m.Applied, want)
	}
	if m.ConfigurationIndex > 0 && m.Configuration.Servers[0].ID != servers(m.ConfigurationIndex).Servers[0].ID {
		n.t.Fatalf("%s: configuration %d holds %v", what, m.ConfigurationIndex, m.Configuration)
	}
	return index
}

func lastConfiguration(hi *history, applied uint64) uint64 {
	for i := applied / 17 * 17; i > 0; i -= 17 {
		if !hi.silent(i) {
			return i
		}
	}
	return 0
}

// checkDir fails unless the state directory holds one database and nothing unfinished.
func (n *node) checkDir(what string) {
	n.t.Helper()
	names, err := n.fs.List("data/state")
	n.must(err)
	slices.Sort(names)
	b, err := readFile(n.fs, "data/state/CURRENT")
	n.must(err)
	want := []string{currentName, strings.TrimSpace(string(b))}
	for _, dir := range []string{incomingName, outgoingName} {
		if slices.Contains(names, dir) {
			left, err := n.fs.List("data/state/" + dir)
			n.must(err)
			if len(left) > 0 {
				n.t.Fatalf("%s: %s holds %q", what, dir, left)
			}
			want = append(want, dir)
		}
	}
	if !slices.Equal(names, want) {
		n.t.Fatalf("%s: the state directory holds %q, want %q", what, names, want)
	}
}

// seeds returns the seeds of the crash tests; SLUICE_CRASH_SEEDS sets how many.
func seeds(t *testing.T) []uint64 {
	n := 20
	if v := os.Getenv("SLUICE_CRASH_SEEDS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 {
			t.Fatalf("SLUICE_CRASH_SEEDS=%q is not a positive number", v)
		}
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}
