package server

import (
	"context"
	"errors"
	"maps"
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
	taken chan struct{}      // capacity 1: a lease was taken
}

type lease struct {
	token string
	ended func(error)
}

// renewEvery is how often leases are renewed when the server does not ask for more.
const renewEvery = 4 * time.Second

func newKeeper(c *client.Client, owner string) *keeper {
	return &keeper{client: c, owner: owner, held: map[api.ID]*lease{}, every: renewEvery, taken: make(chan struct{}, 1)}
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
	select {
	case k.taken <- struct{}{}:
	default:
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

// renewPause is the least time between two renewals, renewSlack what a server that has one wait may take on top.
const (
	renewPause = 20 * time.Millisecond
	renewSlack = 5 * time.Second
)

// renew keeps the leases alive. The server holds each renewal while there is nothing to tell, so what is cancelled is known at once.
func (k *keeper) renew(ctx context.Context) {
	known := map[api.ID]*lease{} // those that were told to end
	for ctx.Err() == nil {
		k.mu.Lock()
		every := k.every
		beat, asked := api.Heartbeat{WaitSeconds: api.Duration(every)}, map[api.ID]*lease{}
		for run, l := range k.held {
			beat.Leases = append(beat.Leases, api.HeldLease{FlowRunID: run, Token: l.token, Cancelling: known[run] == l})
			asked[run] = l
		}
		k.mu.Unlock()
		began, told := time.Now(), false
		if len(asked) > 0 {
			told = k.renewOnce(ctx, beat, asked, known)
		}
		maps.DeleteFunc(known, func(run api.ID, l *lease) bool { return asked[run] != l })
		pause := renewPause
		if !told { // it may have come back at once
			pause = max(pause, every-time.Since(began))
		}
		select {
		case <-ctx.Done():
		case <-k.taken:
		case <-time.After(pause):
		}
	}
}

// renewOnce renews the leases that are asked for, and reports whether the server had something to tell.
func (k *keeper) renewOnce(ctx context.Context, beat api.Heartbeat, asked, known map[api.ID]*lease) (told bool) {
	bounded, cancel := context.WithTimeout(ctx, beat.WaitSeconds.Std()+renewSlack)
	defer cancel()
	answer, err := k.client.RenewLeases(bounded, beat)
	if err != nil {
		if !errors.Is(err, context.DeadlineExceeded) && api.IsNotFound(err) {
			for run, l := range asked {
				k.over(run, l, engine.ErrLeaseLost)
			}
		}
		return false
	}
	for _, lost := range answer.Lost {
		told = true
		k.over(lost.FlowRunID, asked[lost.FlowRunID], engine.ErrLeaseLost)
	}
	for _, run := range answer.Cancelling {
		if l := asked[run]; l != nil && known[run] != l {
			told, known[run] = true, l
			l.ended(engine.ErrCancelled) // the lease is needed to report it
		}
	}
	return told
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
