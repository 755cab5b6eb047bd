package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
)

// silentLeader is a leader that takes every request and answers none.
type silentLeader struct{ asked atomic.Int32 }

func (s *silentLeader) leading() *term             { return nil }
func (s *silentLeader) leader() (Peer, bool, bool) { return Peer{ID: "leader"}, false, true }
func (s *silentLeader) halted() error              { return nil }
func (s *silentLeader) trouble() string            { return "" }
func (s *silentLeader) stamp() time.Time           { return time.Now() }
func (s *silentLeader) ForwardReadIndex(ctx context.Context, _ Peer) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (s *silentLeader) ForwardBatch(ctx context.Context, _ Peer, _ command.Batch, _ bool) (command.BatchResult, uint64, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return command.BatchResult{}, 0, unknown(ctx.Err())
}

func TestAWriteIsHeldOnceForALeaderThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	leader := &silentLeader{}
	cfg := Config{Forwarder: leader, LeaderHold: 200 * time.Millisecond}
	cfg.defaults()
	p := newProposer(&cfg, leader)
	p.start()
	defer p.stop(context.Background())
	_, _, err := p.propose(testContext(t), [][]byte{[]byte("word")}, false, 0)
	if !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("the caller is told %v", err)
	}
	if n := leader.asked.Load(); n != 1 {
		t.Errorf("the leader was asked %d times, each for as long as a caller may wait", n)
	}
}
