package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
)

const (
	restoredKey  = "\x01restored"
	restoredConf = 17
)

// stageAndRestore does what an operator's restore does, as raft.Restore calls for it: the state goes to index, above the log.
func (n *node) stageAndRestore(stream []byte, index uint64) error {
	staged, err := n.h.Stage(bytes.NewReader(stream), func(Header) error { return nil })
	if err != nil {
		return err
	}
	defer func() { n.must(staged.Close()) }()
	err = staged.Edit(func(s kv.Store) error {
		b := s.NewBatch()
		defer b.Close()
		return errors.Join(b.Set([]byte(restoredKey), []byte("yes")), s.Commit(b, false))
	})
	if err != nil {
		return err
	}
	sink, err := n.store.Create(raft.SnapshotVersionMax, index, term(index), servers(restoredConf), restoredConf, nil)
	if err != nil {
		return err
	}
	copied, err := io.Copy(sink, staged)
	if err != nil {
		n.must(sink.Cancel())
		return err
	}
	if copied != staged.Meta(0).Size {
		n.t.Fatalf("%d bytes were taken over, announced were %d", copied, staged.Meta(0).Size)
	}
	if err := sink.Close(); err != nil {
		return err
	}
	return n.restore(sink.ID())
}

// isRestored tells whether the node holds the restored state, and fails if what it holds is neither that nor of its history.
func (n *node) isRestored(what string, hist *history, from, index uint64) bool {
	n.t.Helper()
	hd := n.h.Acquire()
	got := contents(n.t, hd.Store)
	m, err := hd.meta()
	hd.Release()
	n.must(err)
	if got[restoredKey] == "" {
		n.check(what)
		return false
	}
	delete(got, restoredKey)
	if !maps.Equal(got, hist.at(from)) {
		n.t.Fatalf("%s: the restored state has %d keys, the snapshot's %d", what, len(got), len(hist.at(from)))
	}
	if at, t := m.Last(); at != index || t != term(index) || m.WitnessIndex != 0 {
		n.t.Fatalf("%s: the restored state stands at %d (term %d), witness %d; want %d (term %d)", what, at, t, m.WitnessIndex, index, term(index))
	}
	if m.ConfigurationIndex != restoredConf || len(m.Configuration.Servers) != 1 || m.Configuration.Servers[0].ID != servers(restoredConf).Servers[0].ID {
		n.t.Fatalf("%s: the restored state has configuration %d: %v", what, m.ConfigurationIndex, m.Configuration)
	}
	return true
}

// Power is cut at every step of an operator's restore: what starts again is all of the old state or all of the restored one.
func TestACrashAtAnyStepOfARestoreLeavesOldOrNew(t *testing.T) {
	t.Parallel()
	steps := []string{"transfer", "restore staged", "restore edited", "restore taken over", "restore repositioned", "sink received", "sink verified",
		"sink closed", "install begins", "new database named", "new database opened", "CURRENT.tmp written", "CURRENT renamed", "CURRENT synced",
		"swapped", "old database removed"}
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 2))
			hist := newHistory(seed)
			source := newNode(t, vfs.NewMem(), hist, nil)
			from := 50 + rng.Uint64N(200)
			source.apply(from)
			source.persist() // its witness must not come along
			_, stream := source.stream()
			old := 20 + rng.Uint64N(300)
			index := max(old, from) + 1
			mem := vfs.NewCrashableMem()
			seen := map[string]int{}
			committed := false
			armed := false
			var n *node
			crash := func(step string) {
				unsynced := []int{0, 100, rng.IntN(101)}[rng.IntN(3)]
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
				what := fmt.Sprintf("seed %d, crashed at %q with %d%% of unsynced data", seed, step, unsynced)
				again := &node{t: t, fs: clone, hist: hist}
				h, err := Open(config(clone, &again.lock))
				if err != nil {
					t.Fatalf("%s: does not start: %v", what, err)
				}
				again.h, again.store = h, NewStore(h)
				restored := again.isRestored(what, hist, from, index)
				if committed && !restored {
					t.Fatalf("%s: the restored state is lost", what)
				}
				if early := !committed && step != "CURRENT renamed"; early && restored {
					t.Fatalf("%s: the restored state is there already", what)
				}
				again.checkDir(what)
				if err := h.Close(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			n = newNode(t, mem, hist, func(step string) {
				if !armed {
					return
				}
				committed = committed || step == "CURRENT synced"
				seen[step]++
				// In its own goroutine, waited for: a failure ends that one, not the install it interrupts with its locks held.
				var wg sync.WaitGroup
				wg.Go(func() { crash(step) })
				wg.Wait()
			})
			n.apply(old)
			n.persist()
			armed = true
			if err := n.stageAndRestore(stream, index); err != nil {
				t.Fatal(err)
			}
			if !n.isRestored("restored", hist, from, index) {
				t.Fatal("the old state is still there")
			}
			n.checkDir("restored")
			for _, step := range steps[1:] {
				if seen[step] == 0 {
					t.Errorf("no crash at %q; crashes were at %v", step, seen)
				}
			}
			armed = false
		})
	}
}

// Every write of a restore fails in turn: the old state stays, or the restored one is there, and the node can try again.
func TestADiskThatFillsDuringARestore(t *testing.T) {
	t.Parallel()
	hist := newHistory(21)
	source := newNode(t, vfs.NewMem(), hist, nil)
	source.apply(150)
	_, stream := source.stream()
	const index = 301
	for at := int64(0); ; at++ {
		what := fmt.Sprintf("full at write %d", at)
		mem, disk := vfs.NewMem(), &fullFrom{}
		n := newNode(t, errorfs.Wrap(mem, disk), hist, nil)
		n.apply(300)
		n.persist()
		disk.left.Store(at)
		disk.armed.Store(true)
		err := n.stageAndRestore(stream, index)
		disk.armed.Store(false)
		restored := n.isRestored(what, hist, 150, index)
		if !disk.hit.Load() {
			n.must(err)
			if at < 10 || !restored {
				t.Fatalf("only %d writes were seen; restored: %t", at, restored)
			}
			return
		}
		switch {
		case errors.Is(err, ErrUnsettled):
			continue
		case err == nil && !restored, err != nil && restored:
			t.Errorf("%s: error %v, restored: %t", what, err, restored)
		case err != nil && !errors.Is(err, syscall.ENOSPC):
			t.Errorf("%s: the error is %q, which does not name the disk", what, err)
		}
		if err != nil {
			n.must(n.stageAndRestore(stream, index))
			if !n.isRestored(what+", again", hist, 150, index) {
				t.Errorf("%s: not restored with space", what)
			}
		}
	}
}

func TestABadSnapshotIsNotStaged(t *testing.T) {
	t.Parallel()
	hist := newHistory(22)
	source, n := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	source.apply(100)
	n.apply(30)
	_, stream := source.stream()
	refuse := errors.New("not this one")
	flipped := bytes.Clone(stream)
	flipped[len(flipped)*2/3] ^= 1
	newer := bytes.Clone(stream)
	newer[len(magic)+3] = formatVersion + 1
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"cut short":               {stream[:len(stream)-1], ErrCorrupt},
		"cut in the middle":       {stream[:len(stream)/2], ErrCorrupt},
		"empty":                   {nil, ErrCorrupt},
		"changed on its way":      {flipped, ErrCorrupt},
		"of a newer version":      {newer, ErrNewer},
		"something else":          {[]byte(strings.Repeat("not a snapshot", 100)), ErrForeign},
		"refused by its header":   {stream, refuse},
		"with something after it": {append(bytes.Clone(stream), 1), ErrCorrupt},
	} {
		_, err := n.h.Stage(bytes.NewReader(c.stream), func(h Header) error {
			if c.want == refuse { //nolint:errorlint // the very one
				return refuse
			}
			return nil
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if h, err := Check(bytes.NewReader(c.stream)); c.want != refuse && !errors.Is(err, c.want) { //nolint:errorlint // the very one
			t.Errorf("%s: Check says %v of %+v, want %v", name, err, h, c.want)
		}
	}
	n.check("untouched")
	n.checkDir("untouched")
	h, err := Check(bytes.NewReader(stream))
	if m, merr := source.h.Meta(); err != nil || merr != nil || h.Bytes != int64(len(stream)) || h.Index != m.Applied {
		t.Errorf("Check says %+v, %v", h, err)
	}
}

func TestAStagedSnapshotIsRestoredOnce(t *testing.T) {
	t.Parallel()
	hist := newHistory(23)
	source, n := newNode(t, vfs.NewMem(), hist, nil), newNode(t, vfs.NewMem(), hist, nil)
	source.apply(100)
	n.apply(30)
	_, stream := source.stream()
	staged, err := n.h.Stage(bytes.NewReader(stream), func(Header) error { return nil })
	n.must(err)
	sink := func(h *node) raft.SnapshotSink {
		s, err := h.store.Create(raft.SnapshotVersionMax, 200, 3, servers(1), 1, nil)
		h.must(err)
		return s
	}
	if _, err := io.Copy(sink(source), staged); err == nil {
		t.Error("another node took it over")
	}
	given := sink(n)
	_, err = io.Copy(given, staged)
	n.must(err)
	if _, err := io.Copy(sink(n), staged); err == nil {
		t.Error("it was taken over twice")
	}
	if err := staged.Edit(func(kv.Store) error { return nil }); err == nil {
		t.Error("it is edited after it was taken over")
	}
	n.must(given.Cancel())
	n.must(staged.Close())
	n.checkDir("cancelled")
	n.check("cancelled")
}
