package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Deliverer makes one attempt to deliver a message. Calls come from several goroutines.
type Deliverer interface {
	Deliver(ctx context.Context, w *row.Webhook, d *row.Delivery) Attempt
}

// Attempt is what came of one.
type Attempt struct {
	Delivered bool
	Gone      bool // the receiver says that it wants no more
	Code      int  // of the response, 0: none
	Error     string
	Took      time.Duration
	After     time.Duration // the least wait that the receiver asked for
}

const (
	// deliverAtOnce is how many messages of one webhook are under way; one after a few failures in a row.
	deliverAtOnce = 8
	// troubled is after how many failures in a row a receiver is only probed.
	troubled = 5
	// mostProbePause is the longest pause between two probes.
	mostProbePause = 5 * time.Minute
	// settleLinger is how long an outcome waits for others, to be recorded with them.
	settleLinger = 20 * time.Millisecond
	settleBatch  = 200
)

// retryPauses are the waits after the first failed attempt, the second and so on: a bit more than a day. Then a message is given up.
var retryPauses = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour,
	8 * time.Hour, 10 * time.Hour}

// webhooks delivers what the state machine put into the outbox. Messages about one run go in order; a receiver that does not answer
// holds up nobody else's.
type webhooks struct {
	core     *core
	deliver  Deliverer // nil: nothing is delivered
	outcomes chan settled

	mu      sync.Mutex // guards what follows
	hooks   map[api.ID]*hook
	started func(*hook) // starts a hook's worker; nil before run
}

// hook is one webhook with its part of the outbox.
type hook struct {
	row     *row.Webhook
	waiting []*row.Delivery // by place
	busy    map[place]bool  // under way, or their outcome is being recorded
	deleted bool
	wake    signal
	// failures in a row, and until when the receiver is left alone for that; the worker's own.
	failures int
	rests    time.Time
}

type place struct {
	index   uint64
	ordinal uint32
}

func placeOf(d *row.Delivery) place { return place{d.Index, d.Ordinal} }

// settled is an attempt that is to be recorded.
type settled struct {
	hook    *hook
	message *row.Delivery
	outcome *command.SettleDeliveries_Outcome
}

func newWebhooks(c *core, deliver Deliverer) *webhooks {
	return &webhooks{core: c, deliver: deliver, outcomes: make(chan settled, settleBatch), hooks: map[api.ID]*hook{}}
}

func (w *webhooks) rebuild(v View) error {
	if w.deliver == nil {
		return nil
	}
	err := v.EachWebhook(func(r *row.Webhook) (bool, error) {
		h := &hook{row: r, busy: map[place]bool{}, wake: newSignal()}
		w.hooks[id16(r.Id)] = h
		return true, v.WaitingDeliveries(id16(r.Id), func(d *row.Delivery) (bool, error) {
			h.waiting = append(h.waiting, d)
			return true, nil
		})
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	return nil
}

// observe follows a change of a webhook, or of its outbox.
func (w *webhooks) observe(r *row.Webhook, d *row.Delivery, deleted bool) {
	if w.deliver == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if d != nil {
		h := w.hooks[id16(d.WebhookId)]
		if h == nil {
			return
		}
		at := slices.IndexFunc(h.waiting, func(x *row.Delivery) bool { return placeOf(x) == placeOf(d) })
		switch {
		case deleted && at >= 0:
			h.waiting = slices.Delete(h.waiting, at, at+1)
		case deleted:
		case at >= 0:
			h.waiting[at] = d
		default:
			next, _ := slices.BinarySearchFunc(h.waiting, d, func(x, y *row.Delivery) int {
				if x.Index != y.Index {
					return compare(x.Index, y.Index)
				}
				return compare(uint64(x.Ordinal), uint64(y.Ordinal))
			})
			h.waiting = slices.Insert(h.waiting, next, d)
		}
		h.wake.set()
		return
	}
	id := id16(r.Id)
	h := w.hooks[id]
	switch {
	case deleted && h != nil:
		h.deleted = true
		delete(w.hooks, id)
	case deleted:
		return
	case h == nil:
		h = &hook{row: r, busy: map[place]bool{}, wake: newSignal()}
		w.hooks[id] = h
		if w.started != nil {
			w.started(h)
		}
	default:
		h.row = r
		h.failures, h.rests = 0, time.Time{} // the address may be another one
	}
	h.wake.set()
}

func compare(x, y uint64) int {
	if x < y {
		return -1
	}
	return 1
}

func (w *webhooks) run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	if w.deliver == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	w.mu.Lock()
	w.started = func(h *hook) { workers.Go(func() { w.serve(ctx, h) }) }
	for _, h := range w.hooks {
		w.started(h)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.started = nil
		w.mu.Unlock()
	}()
	return w.settle(ctx)
}

// serve delivers to one webhook until it is deleted.
func (w *webhooks) serve(ctx context.Context, h *hook) {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.mu.Lock()
		if h.deleted {
			w.mu.Unlock()
			return
		}
		picked, pause := w.pick(h)
		hookRow := h.row
		w.mu.Unlock()
		for _, d := range picked {
			attempts.Go(func() { w.attempt(ctx, h, hookRow, d) })
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// pick chooses what is delivered now, and says how long nothing else is due. Holds mu.
func (w *webhooks) pick(h *hook) (picked []*row.Delivery, pause time.Duration) {
	pause = time.Hour
	now := w.core.clock.Now()
	if h.row.Paused {
		return nil, pause
	}
	room := deliverAtOnce
	if h.failures >= troubled {
		room = 1
		if rest := h.rests.Sub(now); rest > 0 {
			return nil, rest
		}
	}
	room -= len(h.busy)
	earlier := map[api.ID]bool{} // runs of which an earlier message waits
	for _, d := range h.waiting {
		if room <= 0 {
			break
		}
		run := id16(d.GetFlowRun().GetId())
		if earlier[run] && !run.IsNil() {
			continue
		}
		earlier[run] = true
		if h.busy[placeOf(d)] {
			continue
		}
		if wait := time.UnixMicro(d.NextAttempt).Sub(now); wait > 0 {
			// The clocks of two leaders differ: no wait is longer than the longest pause.
			pause = min(pause, wait, retryPauses[len(retryPauses)-1])
			continue
		}
		h.busy[placeOf(d)] = true
		picked = append(picked, d)
		room--
	}
	return picked, pause
}

// attempt delivers one message and has the outcome recorded.
func (w *webhooks) attempt(ctx context.Context, h *hook, hookRow *row.Webhook, d *row.Delivery) {
	a := w.deliver.Deliver(ctx, hookRow, d)
	if ctx.Err() != nil {
		return // the next leader delivers it, perhaps once more
	}
	o := &command.SettleDeliveries_Outcome{WebhookId: d.WebhookId, Index: d.Index, Ordinal: d.Ordinal, Attempts: d.Attempts + 1, Delivered: a.Delivered,
		ResponseCode: int32(a.Code), Error: a.Error, Duration: a.Took.Microseconds()}
	w.mu.Lock()
	switch {
	case a.Delivered:
		h.failures, h.rests = 0, time.Time{}
	case a.Gone:
		o.GiveUp, o.Pause = true, "the receiver answered 410: it wants no more messages"
	default:
		h.failures++
		if past := h.failures - troubled; past >= 0 {
			h.rests = w.core.clock.Now().Add(jittered(min(mostProbePause, 5*time.Second<<min(past, 10))))
		}
	}
	w.mu.Unlock()
	if !a.Delivered && !o.GiveUp {
		n := int(d.Attempts)
		o.GiveUp = n >= len(retryPauses) || d.Test
		if !o.GiveUp {
			o.NextAttempt = w.core.clock.Now().Add(max(a.After, jittered(retryPauses[n]))).UnixMicro()
		}
	}
	outcome := DeliveryDone
	switch {
	case a.Delivered:
	case o.GiveUp:
		outcome = DeliveryGivenUp
	default:
		outcome = DeliveryFailed
	}
	w.core.observer.WebhookAttempt(outcome, a.Took)
	select {
	case w.outcomes <- settled{h, d, o}:
	case <-ctx.Done():
	}
}

// Outcomes of attempts, for metrics.
const (
	DeliveryDone    = "delivered"
	DeliveryFailed  = "failed"
	DeliveryGivenUp = "given_up"
)

// AllDeliveryOutcomes are all of them.
var AllDeliveryOutcomes = []string{DeliveryDone, DeliveryFailed, DeliveryGivenUp}

// jittered is about d: receivers that many wait for are not met by all at once.
func jittered(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }

// settle records outcomes, many by one command.
func (w *webhooks) settle(ctx context.Context) error {
	for {
		var batch []settled
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-w.outcomes:
			batch = append(batch, s)
		}
		linger := time.NewTimer(settleLinger)
	collect:
		for len(batch) < settleBatch {
			select {
			case s := <-w.outcomes:
				batch = append(batch, s)
			case <-linger.C:
				break collect
			case <-ctx.Done():
				break collect
			}
		}
		linger.Stop()
		c := &command.SettleDeliveries{}
		for _, s := range batch {
			c.Outcomes = append(c.Outcomes, s.outcome)
		}
		for {
			_, _, err := w.core.propose(ctx, &command.Envelope{Command: &command.Envelope_SettleDeliveries{SettleDeliveries: c}})
			if err == nil {
				break
			}
			pause := retryPause
			if errors.Is(err, ErrUnwelcome) {
				pause = unwelcomePause
			} else if ctx.Err() == nil {
				w.core.log.Warn("outcomes of deliveries cannot be recorded, trying again", "error", err, "after", pause)
			}
			if err := rest(ctx, pause); err != nil {
				return err
			}
		}
		w.recorded(batch)
	}
}

// recorded follows what the state now says.
func (w *webhooks) recorded(batch []settled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range batch {
		h, at := s.hook, placeOf(s.message)
		delete(h.busy, at)
		i := slices.IndexFunc(h.waiting, func(x *row.Delivery) bool { return placeOf(x) == at })
		switch {
		case i < 0:
		case s.outcome.Delivered || s.outcome.GiveUp:
			h.waiting = slices.Delete(h.waiting, i, i+1)
		default:
			next := &row.Delivery{WebhookId: s.message.WebhookId, Index: s.message.Index, Ordinal: s.message.Ordinal, Id: s.message.Id, Created: s.message.Created,
				Attempts: s.outcome.Attempts, NextAttempt: s.outcome.NextAttempt, Test: s.message.Test, FlowRun: s.message.FlowRun}
			h.waiting[i] = next
		}
		h.wake.set()
	}
}
