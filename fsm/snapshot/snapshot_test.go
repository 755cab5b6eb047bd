package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
)

func TestTheStoreListsTheDatabaseThatIsOpen(t *testing.T) {
	t.Parallel()
	n := newNode(t, vfs.NewMem(), newHistory(1), nil)
	metas, err := n.store.List()
	n.must(err)
	if len(metas) != 0 {
		t.Fatalf("a new database is listed as %+v", metas[0])
	}
	if _, _, err := n.store.Open(liveID); err == nil {
		t.Fatal("a new database can be sent")
	}
	n.apply(100)
	m, err := n.h.Meta()
	n.must(err)
	metas, err = n.store.List()
	n.must(err)
	if len(metas) != 1 {
		t.Fatalf("%d snapshots are listed", len(metas))
	}
	got := metas[0]
	if got.ID != liveID || got.Index != m.Applied || got.Term != term(m.Applied) ||
		got.ConfigurationIndex != m.ConfigurationIndex || len(got.Configuration.Servers) != 1 {
		t.Errorf("listed %+v, the database stands at %+v", got, m)
	}
}

func TestPersistNeverMovesTheAppliedIndex(t *testing.T) {
	t.Parallel()
	n := newNode(t, vfs.NewMem(), newHistory(1), nil)
	n.apply(20)
	before, err := n.h.Meta()
	n.must(err)
	conf := servers(999)
	take := func(index uint64, confIndex uint64) error {
		snap, err := n.h.Snapshot()
		n.must(err)
		defer snap.Release()
		sink, err := n.store.Create(raft.SnapshotVersionMax, index, 7, conf, confIndex, nil)
		n.must(err)
		if err := snap.Persist(sink); err != nil {
			return err
		}
		if sink.ID() != liveID {
			t.Errorf("a local snapshot has the id %q", sink.ID())
		}
		return sink.Close()
	}
	n.must(take(30, 25))
	m, err := n.h.Meta()
	n.must(err)
	if m.Applied != before.Applied || m.AppliedTerm != before.AppliedTerm {
		t.Errorf("applied went from %d to %d", before.Applied, m.Applied)
	}
	if index, term := m.Last(); index != 30 || term != 7 {
		t.Errorf("stands at %d (term %d), want 30 (term 7)", index, term)
	}
	if m.ConfigurationIndex != 25 || m.Configuration.Servers[0].ID != conf.Servers[0].ID {
		t.Errorf("configuration is %+v of %d, want what Raft committed", m.Configuration, m.ConfigurationIndex)
	}
	n.must(take(22, 5))
	if m, err = n.h.Meta(); err != nil || m.WitnessIndex != 30 {
		t.Errorf("an older snapshot moved the witness to %d, %v", m.WitnessIndex, err)
	}
}

func TestAPersistThatAnInstallOvertookIsRefused(t *testing.T) {
	t.Parallel()
	hist := newHistory(3)
	leader, n := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(80)
	n.apply(20)
	snap, err := n.h.Snapshot()
	n.must(err)
	release := sync.OnceFunc(snap.Release)
	defer release()
	sink, err := n.store.Create(raft.SnapshotVersionMax, 20, 1, raft.Configuration{}, 0, nil)
	n.must(err)
	meta, stream := leader.stream()
	id, err := n.receive(meta, bytes.NewReader(stream))
	n.must(err)
	n.must(n.restore(id))
	if err := snap.Persist(sink); err == nil {
		t.Error("a database that is not current any more was persisted")
	}
	n.must(sink.Cancel())
	release()
	n.checkDir("released")
}

func TestReadersFinishOnTheDatabaseTheyBegan(t *testing.T) {
	t.Parallel()
	hist := newHistory(4)
	leader, n := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(300)
	n.apply(100)
	var told kv.Store
	n.h.OnInstall(func(s kv.Store) {
		if n.lock.TryLock() {
			t.Error("installed without the apply lock")
		}
		told = s
	})
	hd := n.h.Acquire()
	release := sync.OnceFunc(hd.Release)
	defer release()
	before := contents(t, hd.Store)
	it, err := hd.Store.Iter([]byte{Prefix + 1}, nil)
	n.must(err)
	it.First()
	meta, stream := leader.stream()
	id, err := n.receive(meta, bytes.NewReader(stream))
	n.must(err)
	n.must(n.restore(id))
	if told == nil || told != n.h.Current() {
		t.Error("OnInstall was not called with the new database")
	}
	n.check("installed")
	seen := 0
	for ok := it.First(); ok; ok = it.Next() {
		if before[string(it.Key())] == "" {
			t.Errorf("the reader sees a new key %q", it.Key())
		}
		seen++
	}
	if seen != len(before) || !maps.Equal(contents(t, hd.Store), before) {
		t.Errorf("the reader sees %d keys, began with %d", seen, len(before))
	}
	n.must(it.Close())
	if _, err := n.fs.Stat("data/state/db-1"); err != nil {
		t.Errorf("the database of a reader is gone: %v", err)
	}
	release()
	n.checkDir("released")
	if _, err := n.fs.Stat("data/state/db-1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old database stays: %v", err)
	}
}

func TestASnapshotIsOfTheMomentItWasOpened(t *testing.T) {
	t.Parallel()
	hist := newHistory(5)
	leader, n := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(120)
	meta, rc, err := leader.store.Open(liveID)
	leader.must(err)
	if leader.store.Transfers() != 1 {
		t.Errorf("%d transfers while one is open", leader.store.Transfers())
	}
	// Enough to rewrite every file of the database meanwhile.
	leader.apply(2000)
	leader.persist()
	id, err := n.receive(meta, rc)
	n.must(err)
	n.must(rc.Close())
	n.must(n.restore(id))
	if got := n.check("received"); got != meta.Index {
		t.Errorf("received index %d, opened at %d", got, meta.Index)
	}
	if leader.store.Transfers() != 0 {
		t.Error("a closed transfer counts")
	}
	leader.checkDir("sent")
}

func TestAStreamNobodyReadsIsGivenUp(t *testing.T) {
	t.Parallel()
	n := &node{t: t, fs: vfs.NewMem(), hist: newHistory(6)}
	c := config(n.fs, &n.lock)
	c.StreamIdle = time.Millisecond
	closed := make(chan struct{})
	c.step = func(name string) {
		if name == "stream closed" {
			close(closed)
		}
	}
	h, err := Open(c)
	n.must(err)
	n.h, n.store = h, NewStore(h)
	defer h.Close()
	n.apply(50)
	_, rc, err := n.store.Open(liveID)
	n.must(err)
	<-closed
	if n.store.Transfers() != 0 {
		t.Error("the stream still counts")
	}
	if _, err := rc.Read(make([]byte, 1)); !errors.Is(err, errSendClosed) {
		t.Errorf("read says %v", err)
	}
	n.must(rc.Close())
}

func TestCloseEndsStreamsAndIsIdempotent(t *testing.T) {
	t.Parallel()
	n := newNode(t, vfs.NewMem(), newHistory(7), nil)
	n.apply(50)
	_, rc, err := n.store.Open(liveID)
	n.must(err)
	n.must(n.h.Close())
	n.must(n.h.Close())
	if _, err := io.ReadAll(rc); err == nil {
		t.Error("a stream outlives the database")
	}
	again := newNode(t, n.fs, n.hist, nil)
	again.check("reopened")
	if again.index < 45 {
		t.Errorf("a clean stop lost entries: stands at %d", again.index)
	}
}

func TestRestoreTakesOnlyWhatThisNodeReceived(t *testing.T) {
	t.Parallel()
	hist := newHistory(8)
	n, other := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	n.apply(30)
	other.apply(40)
	if err := n.h.Restore(io.NopCloser(strings.NewReader("x"))); err == nil {
		t.Error("restored from a plain reader")
	}
	_, rc, err := other.store.Open(liveID)
	n.must(err)
	defer rc.Close()
	if err := n.h.Restore(rc); err == nil {
		t.Error("restored from another node's database")
	}
	_, own, err := n.store.Open(liveID)
	n.must(err)
	defer own.Close()
	n.must(n.h.Restore(own))
	n.apply(60)
	if err := n.h.Restore(own); err == nil {
		t.Error("restored from a snapshot older than the state")
	}
	if _, _, err := n.store.Open("nothing"); err == nil {
		t.Error("opened a snapshot that does not exist")
	}
	n.check("untouched")
}

// edit changes the manifest of a stream, with a right checksum.
func edit(t *testing.T, stream []byte, f func(*manifest)) []byte {
	t.Helper()
	size := int(binary.BigEndian.Uint32(stream[len(magic)+4:]))
	var m manifest
	if err := json.Unmarshal(stream[prefixSize:prefixSize+size], &m); err != nil {
		t.Fatal(err)
	}
	f(&m)
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]byte{}, stream[:len(magic)+4]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body, castagnoli))
	return append(append(out, body...), stream[prefixSize+size:]...)
}

func TestABadStreamIsRefusedAndTouchesNothing(t *testing.T) {
	t.Parallel()
	hist := newHistory(9)
	leader := newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(400)
	meta, good := leader.stream()
	rng := rand.New(rand.NewPCG(9, 9))
	other := *meta
	other.Index++
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1 << rng.IntN(8)
		return b
	}
	type bad struct {
		name   string
		meta   *raft.SnapshotMeta
		stream []byte
		want   error
	}
	cases := []bad{
		{"empty", meta, nil, nil},
		{"something else", meta, bytes.Repeat([]byte("not a snapshot "), 100), ErrForeign},
		{"a newer stream format", meta, func() []byte {
			b := bytes.Clone(good)
			binary.BigEndian.PutUint32(b[len(magic):], formatVersion+1)
			return b
		}(), ErrNewer},
		{"tables of a newer format", meta, edit(t, good, func(m *manifest) { m.PebbleFormat = 9999 }), ErrNewer},
		{"another index than announced", &other, good, nil},
		{"a manifest that lies about the index", &other, edit(t, good, func(m *manifest) { m.Index++ }), ErrCorrupt},
		{"a name that leaves the directory", meta, edit(t, good, func(m *manifest) { m.Files[0].Name = "../x" }), ErrCorrupt},
		{"a name twice", meta, edit(t, good, func(m *manifest) { m.Files[0].Name = m.Files[1].Name }), ErrCorrupt},
		{"a negative size", meta, edit(t, good, func(m *manifest) { m.Files[0].Size = -1 }), ErrCorrupt},
		{"a file too few", meta, edit(t, good, func(m *manifest) { m.Files = m.Files[1:] }), ErrCorrupt},
		{"a manifest without files", meta, append(edit(t, good[:prefixSize+int(binary.BigEndian.Uint32(good[len(magic)+4:]))],
			func(m *manifest) { m.Files = nil }), endMagic...), ErrCorrupt},
		{"bytes after the end", meta, append(bytes.Clone(good), 'x'), ErrCorrupt},
		{"a huge manifest", meta, func() []byte {
			b := bytes.Clone(good)
			binary.BigEndian.PutUint32(b[len(magic)+4:], 1<<31)
			return b
		}(), ErrCorrupt},
	}
	for range 30 {
		cases = append(cases, bad{"cut short", meta, good[:rng.IntN(len(good)-1)+1], ErrCorrupt})
		cases = append(cases, bad{"one bit flipped", meta, flipped(rng.IntN(len(good))), nil})
	}
	for at := range prefixSize {
		cases = append(cases, bad{"one bit of the head flipped", meta, flipped(at), nil})
	}
	n := newNode(t, vfs.NewMem(), hist, nil)
	n.apply(100)
	for _, c := range cases {
		id, err := n.receive(c.meta, bytes.NewReader(c.stream))
		if err == nil {
			t.Errorf("%s: received as %s", c.name, id)
		}
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: refused with %q, want %q", c.name, err, c.want)
		}
		if got := n.check(c.name); got < 95 {
			t.Errorf("%s: state went back to %d", c.name, got)
		}
		n.checkDir(c.name)
	}
	id, err := n.receive(meta, bytes.NewReader(good))
	n.must(err)
	n.must(n.restore(id))
	n.check("a good stream afterwards")
}

func TestACancelledTransferLeavesNothing(t *testing.T) {
	t.Parallel()
	hist := newHistory(10)
	leader, n := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(200)
	meta, stream := leader.stream()
	sink, err := n.store.Create(meta.Version, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	n.must(err)
	_, err = sink.Write(stream[:len(stream)/2])
	n.must(err)
	n.must(sink.Cancel())
	n.must(sink.Close())
	n.checkDir("cancelled")
	// Received and never opened: the next one replaces it.
	for range 2 {
		_, err := n.receive(meta, bytes.NewReader(stream))
		n.must(err)
	}
	left, err := n.fs.List("data/state/incoming")
	n.must(err)
	if len(left) != 1 {
		t.Errorf("incoming holds %q", left)
	}
	n.must(n.h.Close())
	newNode(t, n.fs, hist, nil).checkDir("restarted")
}

func TestADamagedStateDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(fs vfs.FS) error
		want   string
	}{
		"CURRENT is gone": {
			func(fs vfs.FS) error { return fs.Remove("data/state/CURRENT") }, "CURRENT is missing although there is data in db-1",
		},
		"CURRENT is garbage": {
			func(fs vfs.FS) error { return writeFile(fs, "data/state/CURRENT", []byte("../../etc\n")) }, "which is no database",
		},
		"the database is gone": {
			func(fs vfs.FS) error { return fs.RemoveAll("data/state/db-1") }, "cannot be opened",
		},
		"the database is empty": {
			func(fs vfs.FS) error {
				return errors.Join(fs.RemoveAll("data/state/db-1"), fs.MkdirAll("data/state/db-1", dirMode))
			}, "db-1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			n := newNode(t, fs, newHistory(11), nil)
			n.apply(20)
			n.must(n.h.Close())
			n.must(c.damage(fs))
			before := fs.String()
			h, err := Open(config(fs, &n.lock))
			if err == nil {
				h.Close()
				t.Fatal("started on a damaged directory")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("says %q, want %q in it", err, c.want)
			}
			if strings.Count(fs.String(), ".sst") != strings.Count(before, ".sst") ||
				strings.Count(fs.String(), ".log") != strings.Count(before, ".log") {
				t.Errorf("the refusal changed files:\n%s\nbefore:\n%s", fs, before)
			}
		})
	}
}

func TestARealDirectoryWorksTheSame(t *testing.T) {
	t.Parallel()
	hist := newHistory(12)
	open := func(dir string) *node {
		n := &node{t: t, fs: vfs.Default, hist: hist}
		c := config(vfs.Default, &n.lock)
		c.DataDir = dir
		h, err := Open(c)
		n.must(err)
		n.h, n.store = h, NewStore(h)
		m, err := h.Meta()
		n.must(err)
		n.index, _ = m.Last()
		return n
	}
	a, b := open(t.TempDir()), open(t.TempDir())
	a.apply(500)
	b.apply(100)
	a.persist()
	meta, stream := a.stream()
	id, err := b.receive(meta, bytes.NewReader(stream))
	b.must(err)
	b.must(b.restore(id))
	b.check("installed")
	b.apply(600)
	dir := b.h.c.DataDir
	b.must(b.h.Close())
	a.must(a.h.Close())
	b = open(dir)
	b.check("restarted")
	b.must(b.h.Close())
	entries, err := os.ReadDir(dir + "/state")
	b.must(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != 2 || names[0] != currentName {
		t.Errorf("the directory holds %q, want CURRENT and one database", names)
	}
}
