package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/scheduler"
)

const (
	// beatEvery is how often a follower sends the heartbeats that reached it to the leader.
	beatEvery = time.Second
	// beatLeases bounds the leases in one message, far below what a message may hold.
	beatLeases = 20_000
)

// beats merges the heartbeats that reach a follower: a message goes at once when none went for beatEvery; those that come
// meanwhile share the next one. So the leader gets one message a second from each follower, whatever the number of agents.
type beats struct {
	ask  func(ctx context.Context, all []renewal) ([]scheduler.Renewed, error)
	life context.Context

	mu   sync.Mutex // guards what follows
	next *beatRound
	last time.Time // when the last message was sent
	busy bool
	work sync.WaitGroup
}

type beatRound struct {
	all     []renewal
	leases  int
	full    chan struct{} // closed when it should not wait for more
	answers []scheduler.Renewed
	err     error
	done    chan struct{}
}

func (b *beats) send(ctx context.Context, r renewal) (scheduler.Renewed, error) {
	b.mu.Lock()
	if b.life.Err() != nil {
		b.mu.Unlock()
		return scheduler.Renewed{}, cluster.ErrStopped
	}
	if b.next == nil {
		b.next = &beatRound{full: make(chan struct{}), done: make(chan struct{})}
	}
	round := b.next
	place := len(round.all)
	round.all = append(round.all, r)
	before := round.leases
	if round.leases += len(r.Leases) + 1; before < beatLeases && round.leases >= beatLeases {
		close(round.full)
	}
	if !b.busy {
		b.busy = true
		b.work.Go(b.loop)
	}
	b.mu.Unlock()
	select {
	case <-round.done:
	case <-ctx.Done():
		return scheduler.Renewed{}, ctx.Err()
	}
	switch {
	case round.err != nil:
		return scheduler.Renewed{}, round.err
	case len(round.answers) != len(round.all):
		return scheduler.Renewed{}, fmt.Errorf("the leader answers %d of %d renewals", len(round.answers), len(round.all))
	}
	return round.answers[place], nil
}

// loop sends rounds until there is none to send.
func (b *beats) loop() {
	for {
		b.mu.Lock()
		round := b.next
		if round == nil {
			b.busy = false
			b.mu.Unlock()
			return
		}
		pause := time.Until(b.last.Add(beatEvery))
		b.mu.Unlock()
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-round.full:
			case <-b.life.Done():
			}
		}
		b.mu.Lock()
		b.next, b.last = nil, time.Now()
		b.mu.Unlock()
		round.answers, round.err = b.ask(b.life, round.all)
		close(round.done)
	}
}
