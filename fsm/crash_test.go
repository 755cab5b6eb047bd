package fsm

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/state"
)

// After a crash the store is some prefix of what was committed, for commits are not synced. Replaying the log from where
// the store says it stands must lead to exactly the state of a machine that never crashed.
func TestAfterACrashTheLogLeadsToTheSameState(t *testing.T) {
	t.Parallel()
	n := 20
	if s := os.Getenv("SLUICE_CRASH_SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = rand.Uint64()
	}
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		all = seeds(t)
	}
	for _, seed := range all {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			crashAndReplay(t, seed)
		})
	}
}

func crashAndReplay(t *testing.T, seed uint64) {
	s := newScript(t, seed)
	for range 150 {
		s.step()
	}
	want, err := s.m.view().Hash()
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewCrashableMem()
	open := func() *machine {
		store, err := pebblekv.Open("db", pebblekv.Options{FS: fs, MemtableBytes: 64 << 10, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return openMachine(t, store)
	}
	m := open()
	for crashes := 0; ; {
		rest := entriesAfter(s.logs, m.fsm.AppliedIndex())
		if len(rest) == 0 {
			break
		}
		size := min(1+s.random.IntN(8), len(rest))
		m.fsm.ApplyBatch(rest[:size])
		switch s.random.IntN(12) {
		case 0:
			if err := m.store.Sync(); err != nil {
				t.Fatal(err)
			}
		case 1, 2:
			if crashes++; crashes <= 10 {
				fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: s.random.IntN(101), RNG: s.random})
				before := m.fsm.AppliedIndex()
				m = open()
				if m.fsm.AppliedIndex() > before {
					t.Fatalf("after the crash the store stands at %d, before it at %d", m.fsm.AppliedIndex(), before)
				}
				if err := m.view().Verify(); err != nil {
					t.Fatalf("after the crash: %v", err)
				}
			}
		}
	}
	got, err := m.view().Hash()
	if err != nil || got != want || got == (state.Hash{}) {
		t.Fatalf("the hash is %s, without crashes %s (%v)", got, want, err)
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}

// entriesAfter returns the entries after the index.
func entriesAfter(logs []*raft.Log, index uint64) []*raft.Log {
	for i, l := range logs {
		if l.Index > index {
			return logs[i:]
		}
	}
	return nil
}
