package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fullFrom fails every write of a file system with ENOSPC from one on, counted from when it is armed.
type fullFrom struct {
	armed atomic.Bool
	left  atomic.Int64
	hit   atomic.Bool
}

func (f *fullFrom) String() string { return "full disk" }

func (f *fullFrom) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo,
		errorfs.OpRename, errorfs.OpMkdirAll, errorfs.OpLink, errorfs.OpReuseForWrite:
	default:
		return nil
	}
	if !f.armed.Load() || f.left.Add(-1) >= 0 {
		return nil
	}
	f.hit.Store(true)
	return syscall.ENOSPC
}

// Every write of receiving, installing and sending fails in turn. The node must say so, keep a state of the history, and
// start again from its disk.
func TestADiskThatFillsAtAnyWrite(t *testing.T) {
	t.Parallel()
	hist := newHistory(20)
	leader := newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(300)
	meta, stream := leader.stream()
	for name, do := range map[string]func(n *node) error{
		"receiving and installing": func(n *node) error {
			id, err := n.receive(meta, bytes.NewReader(stream))
			if err != nil {
				return err
			}
			return n.restore(id)
		},
		"sending": func(n *node) error {
			_, rc, err := n.store.Open(liveID)
			if err != nil {
				return err
			}
			return rc.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := int64(0); ; at++ {
				what := fmt.Sprintf("full at write %d", at)
				mem := vfs.NewMem()
				disk := &fullFrom{}
				n := &node{t: t, fs: errorfs.Wrap(mem, disk), hist: hist}
				h, err := Open(config(n.fs, &n.lock))
				n.must(err)
				n.h, n.store = h, NewStore(h)
				n.apply(100)
				n.persist()
				disk.left.Store(at)
				disk.armed.Store(true)
				err = do(n)
				disk.armed.Store(false)
				if !disk.hit.Load() {
					n.must(err)
					n.must(h.Close())
					if at < 5 {
						t.Fatalf("only %d writes were seen", at)
					}
					return
				}
				installed := n.check(what) == meta.Index
				switch {
				case errors.Is(err, ErrUnsettled):
					if _, err := h.Snapshot(); !errors.Is(err, ErrUnsettled) {
						t.Errorf("%s: Snapshot of an unsettled node says %v", what, err)
					}
				case err != nil && !errors.Is(err, syscall.ENOSPC):
					t.Errorf("%s: the error is %q, which does not name the disk", what, err)
				case err != nil && installed:
					t.Errorf("%s: installed and failed with %q", what, err)
				}
				n.must(h.Close())
				again := newNode(t, mem, hist, nil)
				switch got := again.check(what + ", restarted"); {
				case got < 100:
					t.Errorf("%s: stands at %d after a restart", what, got)
				case err != nil && !errors.Is(err, ErrUnsettled) && got == meta.Index:
					t.Errorf("%s: failed with %q and is installed after a restart", what, err)
				}
				again.checkDir(what)
				// With space again, everything works.
				again.must(do(again))
			}
		})
	}
}
