package agent

import (
	"context"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// API is what an agent asks of the server; *client.Client has it. Its calls may
// return at the first failure: the agent itself repeats what is worth repeating.
type API interface {
	RegisterAgent(ctx context.Context, agent api.AgentRegister) (*api.AgentRegistered, error)
	DeleteAgent(ctx context.Context, id api.ID) error
	Claim(ctx context.Context, agent api.ID, claim api.Claim) (*api.Claimed, error)
	Heartbeat(ctx context.Context, agent api.ID, beat api.Heartbeat) (*api.HeartbeatAnswer, error)
	FlowRun(ctx context.Context, id api.ID) (*api.FlowRun, error)
	SetFlowRunState(ctx context.Context, id api.ID, state api.SetState, lease string) (*api.OrchestrationResult, error)
	CreateLogs(ctx context.Context, producer api.ID, sequence uint64, logs []api.LogCreate) error
	storage.Source // code of flows that are programs
}

// Clock tells the time; tests turn it by hand.
type Clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// passing reports whether a failure may be gone when the call is repeated.
func passing(err error) bool {
	switch api.KindOf(err) {
	case api.KindUnavailable, api.KindUnknownOutcome, api.KindUnreachable, api.KindInternal:
		return true
	}
	return false
}

// backoff is the growing pause between repetitions of a failing call.
type backoff struct {
	clock Clock
	next  time.Duration
}

const (
	firstPause = 100 * time.Millisecond
	// An agent notices within this time that the server is back.
	longestPause = 2 * time.Second
)

// pause waits before the next repetition, or answers why it should not come.
func (b *backoff) pause(ctx context.Context) error {
	b.next = min(max(2*b.next, firstPause), longestPause)
	select {
	case <-b.clock.After(b.next):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
