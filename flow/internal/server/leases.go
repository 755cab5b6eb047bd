package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// keeper holds leases on flow runs that no agent gave this process, and renews them. Through an outage it goes on trying: what ends a
// lease is the server's word, never a missing answer.
type keeper struct {
	client *client.Client
	owner  string

	mu    sync.Mutex
	held  map[api.ID]*lease
	every time.Duration
	work  sync.WaitGroup
	end   context.CancelFunc // nil while nothing is held
}

type lease struct {
	token string
	ended func(error)
}

// renewEvery is how often leases are renewed when the server does not ask for more.
const renewEvery = 4 * time.Second

func newKeeper(c *client.Client, owner string) *keeper {
	return &keeper{client: c, owner: owner, held: map[api.ID]*lease{}, every: renewEvery}
}

func (k *keeper) take(ctx context.Context, run api.ID, ended func(error)) (string, func(), error) {
	answer, err := k.client.LeaseFlowRun(ctx, run, k.owner)
	if err != nil {
		return "", nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[run] = &lease{answer.Token, ended}
	if asked := answer.RenewSeconds.Std(); asked > 0 {
		k.every = min(k.every, asked)
	}
	if k.end == nil {
		ctx, end := context.WithCancel(context.Background())
		k.end = end
		k.work.Go(func() { k.renew(ctx) })
	}
	return answer.Token, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.held, run)
	}, nil
}

func (k *keeper) stop() {
	k.mu.Lock()
	if k.end != nil {
		k.end()
	}
	k.mu.Unlock()
	k.work.Wait()
}

func (k *keeper) renew(ctx context.Context) {
	for {
		k.mu.Lock()
		every := k.every
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		k.mu.Lock()
		beat, asked := api.Heartbeat{}, map[api.ID]*lease{}
		for run, l := range k.held {
			beat.Leases = append(beat.Leases, api.HeldLease{FlowRunID: run, Token: l.token})
			asked[run] = l
		}
		k.mu.Unlock()
		if len(asked) == 0 {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, every)
		answer, err := k.client.RenewLeases(bounded, beat)
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && api.IsNotFound(err) {
				for run, l := range asked {
					k.over(run, l, engine.ErrLeaseLost)
				}
			}
			continue
		}
		for _, lost := range answer.Lost {
			k.over(lost.FlowRunID, asked[lost.FlowRunID], engine.ErrLeaseLost)
		}
		for _, run := range answer.Cancelling {
			if l := asked[run]; l != nil {
				l.ended(engine.ErrCancelled) // the lease is needed to report it
			}
		}
	}
}

// over ends a lease, unless the run has ended by itself meanwhile.
func (k *keeper) over(run api.ID, l *lease, why error) {
	k.mu.Lock()
	current := l != nil && k.held[run] == l
	if current {
		delete(k.held, run)
	}
	k.mu.Unlock()
	if current {
		l.ended(why)
	}
}
