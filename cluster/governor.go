package cluster

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// transferFactor raises the log's budget while a snapshot is sent, so that the receiver finds the log it needs afterwards.
const transferFactor = 8

// settleLimit bounds how long the log stays long for a receiver that does not catch up after its transfer.
const settleLimit = 5 * time.Minute

// governor bounds the Raft log by bytes; raft itself counts entries only. It acts after every eighth of the budget that
// was appended.
//
// While a snapshot is sent, and afterwards until its receiver has what the log held when the transfer ended, the log is bounded by
// its raised bytes alone. Else the receiver finds the log compacted, by raft's own count of entries or by the bytes of an ordinary
// day, beyond the snapshot it has just installed, and fetches another one, for ever when the writes go on.
type governor struct {
	n       *Node
	grown   chan struct{} // capacity 1
	mu      sync.Mutex    // guards what follows
	since   int64         // bytes appended since the last check
	holders int           // who needs a longer log: snapshot transfers running, and others
	sending int           // snapshot transfers running
	sent    uint64        // and ended
	settle  uint64        // the log's last index when the last transfer ended; 0 when all members have it
	until   time.Time     // settle is given up then
}

func newGovernor(n *Node) *governor { return &governor{n: n, grown: make(chan struct{}, 1)} }

// appended is called for every append.
func (g *governor) appended(bytes int) {
	g.mu.Lock()
	g.since += int64(bytes)
	check := g.since >= g.n.cfg.LogBytes/8
	if check {
		g.since = 0
	}
	g.mu.Unlock()
	if check {
		g.poke()
	}
}

func (g *governor) poke() {
	select {
	case g.grown <- struct{}{}:
	default:
	}
}

// budget is how many bytes and entries the log may have now.
func (g *governor) budget() (bytes int64, entries uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holders > 0 || g.settle > 0 && time.Now().Before(g.until) {
		return g.n.cfg.LogBytes * transferFactor, math.MaxUint64
	}
	return g.n.cfg.LogBytes, g.n.cfg.TrailingLogs
}

// transfers counts the snapshots that are being sent and those that were.
func (g *governor) transfers() (sending int, sent uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sending, g.sent
}

// transfer is hold for a snapshot that is being sent.
func (g *governor) transfer() (ended func()) {
	release := g.hold()
	g.mu.Lock()
	g.sending++
	g.mu.Unlock()
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.sending--
		g.sent++
		g.mu.Unlock()
		release()
	})
}

// hold raises the budget until release was called and the members have caught up. When it returns, nothing that is appended from now on
// is compacted but by the raised budget.
func (g *governor) hold() (release func()) {
	g.mu.Lock()
	g.holders++
	g.mu.Unlock()
	if r := g.n.run.Load(); r != nil {
		g.retain(r)
	}
	return sync.OnceFunc(func() {
		last, err := g.n.store.LastIndex()
		g.mu.Lock()
		g.holders--
		if err == nil {
			g.settle, g.until = last, time.Now().Add(settleLimit)
		}
		g.mu.Unlock()
		g.poke()
	})
}

// reached tells that every member that answers has the log up to index.
func (g *governor) reached(index uint64) {
	g.mu.Lock()
	done := g.settle > 0 && g.holders == 0 && (index >= g.settle || time.Now().After(g.until))
	if done {
		g.settle = 0
	}
	g.mu.Unlock()
	if done {
		g.poke()
	}
}

func (g *governor) loop(ctx context.Context) {
	for {
		select {
		case <-g.grown:
			g.check(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// retain tells raft how many entries to keep when it compacts: what fits into half of the budget, which it returns. The other half is
// what accumulates until then.
func (g *governor) retain(r *run) (budget int64) {
	budget, entries := g.budget()
	trailing := min(entries, max(1, g.n.store.TrailingWithin(budget/2)))
	rc := r.raft.ReloadableConfig()
	if rc.TrailingLogs != trailing {
		rc.TrailingLogs = trailing
		if err := r.raft.ReloadConfig(rc); err != nil {
			g.n.log.Warn("trailing log could not be set", "entries", trailing, "error", err)
		}
	}
	return budget
}

// check compacts when the budget is exceeded.
func (g *governor) check(ctx context.Context) {
	r := g.n.run.Load()
	if r == nil {
		return
	}
	budget := g.retain(r)
	if g.n.store.Bytes() <= budget*7/8 || g.n.machine.halted() != nil {
		return
	}
	if err := r.wait(ctx, r.raft.Snapshot()); err != nil && ctx.Err() == nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
		g.n.log.Warn("raft log could not be compacted", "bytes", g.n.store.Bytes(), "error", err)
	}
}

// snapshots is the snapshot store given to raft. Opening the live snapshot begins a transfer to a follower, opening any
// other one installs it here.
type snapshots struct {
	raft.SnapshotStore
	governor *governor
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	live, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	if len(live) == 0 || live[0].ID != id {
		return s.SnapshotStore.Open(id)
	}
	release := s.governor.transfer()
	meta, rc, err := s.SnapshotStore.Open(id)
	if err != nil {
		release()
		return nil, nil, err
	}
	return meta, &heldReader{rc, release}, nil
}

type heldReader struct {
	io.ReadCloser
	release func()
}

func (h *heldReader) Close() error {
	defer h.release()
	return h.ReadCloser.Close()
}

// WrappedReadCloser implements raft.ReadCloserWrapper.
func (h *heldReader) WrappedReadCloser() io.ReadCloser { return h.ReadCloser }
