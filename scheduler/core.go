package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
)

const (
	// retryPause is how long a service waits after its commands or reads failed within a living epoch.
	retryPause = time.Second
	// unwelcomePause is how long it waits after the node refused its writes, which may go on for hours.
	unwelcomePause = 5 * time.Second
)

// core is what the services of one epoch share.
type core struct {
	epoch    Epoch
	open     func() (View, error)
	clock    Clock
	leaseTTL time.Duration
	latest   atomic.Int64 // µs; the newest time told; at first the state's own time
	observer Observer
	log      *slog.Logger
	jumps    *jumps

	mu        sync.Mutex                 // guards what follows
	unwelcome map[protoreflect.Name]bool // kinds of commands that the node refuses for now
}

// beat is how often owners renew their leases.
func (c *core) beat() time.Duration { return c.leaseTTL / 3 }

// now is the time in µs that commands will be stamped with, at least. It never goes back, neither behind the state's own
// time, when this leader's clock is behind the former one's, nor when the wall clock is set back: then it stands still.
func (c *core) now() int64 {
	for {
		last, now := c.latest.Load(), c.clock.Now().UnixMicro()
		if now <= last {
			return last
		}
		if c.latest.CompareAndSwap(last, now) {
			return now
		}
	}
}

func (c *core) view() (View, error) {
	v, err := c.open()
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	return v, nil
}

// propose orders commands under the epoch.
func (c *core) propose(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	for _, e := range commands {
		seed := api.NewID()
		e.Epoch, e.Seed, e.Actor = c.epoch.Index, seed[:], actor
	}
	results, index, err := c.epoch.Proposer.Propose(ctx, commands...)
	c.noteWelcome(commands[0], err)
	if err != nil {
		return nil, 0, err
	}
	if len(results) != len(commands) {
		return nil, 0, fmt.Errorf("%d results for %d commands", len(results), len(commands))
	}
	for _, r := range results {
		if r.Code == command.Result_STALE_EPOCH {
			return nil, 0, fmt.Errorf("%s", r.Message)
		}
	}
	return results, index, nil
}

// noteWelcome logs when the node begins to refuse a kind of command and when it accepts it again, not each time.
func (c *core) noteWelcome(e *command.Envelope, err error) {
	refused := errors.Is(err, ErrUnwelcome)
	if err != nil && !refused {
		return
	}
	m := e.ProtoReflect()
	kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("command")).Name()
	c.mu.Lock()
	before := c.unwelcome[kind]
	if refused {
		c.unwelcome[kind] = true
	} else {
		delete(c.unwelcome, kind)
	}
	c.mu.Unlock()
	switch {
	case refused && !before:
		c.log.Warn("commands of the leader's services are refused, trying again until they are not", "command", string(kind), "error", err)
	case !refused && before:
		c.log.Info("commands of the leader's services are accepted again", "command", string(kind))
	}
}

// actor is who the services' commands name as their author.
const actor = "scheduler"

// loop calls once, and again when wake is set or the time it returned has passed, until ctx ends. An error is logged and
// tried again: what failed for good ends the epoch from outside.
func (c *core) loop(ctx context.Context, wake signal, what string, once func(context.Context) (time.Duration, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-timer.C:
		}
		next, err := once(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrUnwelcome): // propose has logged it
			next = unwelcomePause
		case err != nil:
			c.log.Warn("leader service failed, trying again", "service", what, "error", err, "after", retryPause)
			next = retryPause
		}
		timer.Reset(next)
	}
}

// signal wakes one waiter; setting it twice wakes once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
