package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

const (
	// maxInFlight bounds the state entries between append and applied. While one is fsynced the next ones fill up.
	maxInFlight = 4
	// retryBackoff is the pause after raft or the leader refused a batch that may be tried again.
	retryBackoff = 10 * time.Millisecond
	// maxAhead bounds how far batch numbers run ahead of the oldest batch without an outcome. The state machine remembers
	// at least twice as many batches of a session, so whatever is tried again is still known there.
	maxAhead = 512
)

// proposer packs the commands that wait on this node into batches and appends them, in one Raft entry per round, when the
// node leads, or forwards them when another node does. Batches are numbered in a session, so that a batch whose outcome
// is unknown can be tried again: the state machine applies it once.
//
// Invariant: a call is in exactly one place: its lane's calls, a batch in a lane, or a batch in flight.
type proposer struct {
	cfg     *Config
	route   router
	bucket  *tokenBucket
	session command.SessionID

	wake chan struct{} // capacity 1
	quit chan struct{}
	done chan struct{}
	work sync.WaitGroup // one per entry or forwarded batch in flight

	mu       sync.Mutex // guards what follows
	closed   bool       // no new calls
	seq      uint64
	open     map[uint64]struct{} // numbers of own batches without an outcome
	state    lane
	bulk     lane
	waiting  int64 // bytes of calls not yet answered
	inFlight [2]int
	pause    time.Time // nothing is appended before
	idle     chan struct{}
}

// router says where batches go now.
type router interface {
	// leading returns the present term when this node may append, or nil.
	leading() *term
	// leader returns the known leader; ok is false when there is none.
	leader() (p Peer, self, ok bool)
	halted() error
	// trouble says what is known to keep this node from finding a leader, or "".
	trouble() string
	// stamp is the time of what a leader appends.
	stamp() time.Time
}

// lane is what waits with one priority.
type lane struct {
	calls   []*call
	batches []*batch // accepted from other nodes, or tried before
}

func (l *lane) empty() bool { return len(l.calls) == 0 && len(l.batches) == 0 }

// batch is a command.Batch with the calls or the node that wait for it.
type batch struct {
	command.Batch
	size      int
	bulk      bool
	epoch     uint64 // of leader-made commands; 0 otherwise
	calls     []*call
	foreign   chan foreignOutcome // capacity 1; nil for own batches
	uncertain bool                // an earlier attempt may have been applied
	begun     time.Time           // first forwarded then; zero when it was not
	expires   time.Time           // an uncertain batch is given up then
}

type foreignOutcome struct {
	result command.BatchResult
	index  uint64
	err    error
}

func newProposer(cfg *Config, route router) *proposer {
	p := &proposer{cfg: cfg, route: route, bucket: newTokenBucket(cfg.BulkBytesPerSecond), wake: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}), open: map[uint64]struct{}{}}
	_, _ = rand.Read(p.session[:]) // never fails
	return p
}

func (p *proposer) start() { go p.loop() }

func (p *proposer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *proposer) propose(ctx context.Context, commands [][]byte, bulk bool, epoch uint64) ([][]byte, uint64, error) {
	size := 0
	for _, c := range commands {
		size += len(c) + 4
	}
	limit := MaxCommandBytes
	if bulk {
		limit = MaxBulkBytes
	}
	switch {
	case len(commands) == 0:
		return nil, 0, notDone(errors.New("no commands given"))
	case size > limit:
		return nil, 0, notDone(fmt.Errorf("%w: %d bytes, at most %d in one call; split them", ErrTooLarge, size, limit))
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, notDone(err)
	}
	if err := p.route.halted(); err != nil {
		return nil, 0, notDone(err)
	}
	c := &call{commands: commands, size: size, epoch: epoch, arrived: time.Now(), done: make(chan outcome, 1)}
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return nil, 0, notDone(ErrStopped)
	case p.waiting+int64(size) > p.cfg.MaxWaitingBytes:
		p.mu.Unlock()
		return nil, 0, notDone(ErrOverloaded)
	}
	p.waiting += int64(size)
	l := &p.state
	if bulk {
		l = &p.bulk
	}
	l.calls = append(l.calls, c)
	p.mu.Unlock()
	p.poke()
	select {
	case o := <-c.done:
		return o.results, o.index, o.err
	case <-ctx.Done():
	}
	if c.abandon() {
		p.poke()
		return nil, 0, notDone(ctx.Err())
	}
	select {
	case o := <-c.done:
		return o.results, o.index, o.err
	default:
		return nil, 0, unknown(ctx.Err())
	}
}

// accept takes a batch that another node formed.
func (p *proposer) accept(ctx context.Context, cb command.Batch, bulk bool) (command.BatchResult, uint64, error) {
	if err := p.route.halted(); err != nil {
		return command.BatchResult{}, 0, notDone(err)
	}
	b := &batch{Batch: cb, bulk: bulk, foreign: make(chan foreignOutcome, 1)}
	for _, c := range cb.Commands {
		b.size += len(c) + 4
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return command.BatchResult{}, 0, notDone(ErrStopped)
	}
	if p.waiting+int64(b.size) > p.cfg.MaxWaitingBytes {
		p.mu.Unlock()
		return command.BatchResult{}, 0, notDone(ErrOverloaded)
	}
	p.waiting += int64(b.size)
	l := p.lane(bulk)
	l.batches = append(l.batches, b)
	p.mu.Unlock()
	p.poke()
	select {
	case o := <-b.foreign:
		return o.result, o.index, o.err
	case <-ctx.Done():
		return command.BatchResult{}, 0, unknown(ctx.Err())
	}
}

func (p *proposer) lane(bulk bool) *lane {
	if bulk {
		return &p.bulk
	}
	return &p.state
}

func (p *proposer) loop() {
	defer close(p.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := p.step()
		var after <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			after = timer.C
		}
		select {
		case <-p.wake:
		case <-after:
		case <-p.quit:
			return
		}
	}
}

// step sends off all that can go now. It returns when time alone may change that, 0 for never.
func (p *proposer) step() time.Duration {
	now := time.Now()
	if t := p.route.leading(); t != nil {
		return p.appendAll(t, now)
	}
	leader, self, known := p.route.leader()
	p.mu.Lock()
	p.failLeaderMade()
	p.mu.Unlock()
	if known && !self {
		if p.cfg.Forwarder == nil {
			p.failAll(fmt.Errorf("%w: node %s at %s leads and this node cannot forward to it", ErrNoLeader, leader.ID, leader.Addr))
			return 0
		}
		return p.forwardAll(leader, now)
	}
	return p.expire(now)
}

// appendAll packs entries while this node leads.
func (p *proposer) appendAll(t *term, now time.Time) time.Duration {
	for {
		p.mu.Lock()
		if wait := p.pause.Sub(now); wait > 0 {
			p.mu.Unlock()
			return wait
		}
		bulk := false
		var batches []*batch
		if p.inFlight[0] < maxInFlight {
			batches = p.take(&p.state, false, t.number, command.MaxEntryBytes)
		}
		if len(batches) == 0 && p.state.empty() && p.inFlight[1] == 0 && !p.bulk.empty() {
			if wait := p.bucket.wait(now); wait > 0 {
				p.mu.Unlock()
				return wait
			}
			bulk = true
			batches = p.take(&p.bulk, true, t.number, MaxBulkBytes)
			size := 0
			for _, b := range batches {
				size += b.size
			}
			p.bucket.spend(int64(size))
		}
		if len(batches) == 0 {
			p.mu.Unlock()
			return 0
		}
		p.begin(bulk)
		p.mu.Unlock()
		p.append(t, batches, bulk)
	}
}

// begin counts one more in flight. Holds mu.
func (p *proposer) begin(bulk bool) {
	p.inFlight[laneNumber(bulk)]++
	p.work.Add(1)
}

func laneNumber(bulk bool) int {
	if bulk {
		return 1
	}
	return 0
}

// finish undoes begin.
func (p *proposer) finish(bulk bool) {
	p.mu.Lock()
	p.inFlight[laneNumber(bulk)]--
	if p.idle != nil && p.inFlight == [2]int{} {
		close(p.idle)
		p.idle = nil
	}
	p.mu.Unlock()
	p.work.Done()
	p.poke()
}

// append writes one entry; the goroutine it starts delivers the results.
func (p *proposer) append(t *term, batches []*batch, bulk bool) {
	e := command.Entry{Stamp: p.route.stamp().UnixMicro(), Batches: make([]command.Batch, len(batches))}
	size, commands := 16, 0
	for i, b := range batches {
		e.Batches[i] = b.Batch
		size += b.size + 32
		commands += len(b.Commands)
	}
	data := command.AppendEntry(make([]byte, 0, size), e)
	start := time.Now()
	f := t.run.raft.ApplyLog(raft.Log{Data: data}, 0)
	go func() {
		defer p.finish(bulk)
		if err := t.run.wait(context.Background(), f); err != nil {
			p.failed(batches, err)
			return
		}
		if p.cfg.Observer != nil {
			p.cfg.Observer.Commit(time.Since(start), commands, len(data))
		}
		r, ok := f.Response().(*command.EntryResult)
		switch {
		case !ok:
			p.fail(batches, unknown(errBadResponse))
		case r.Err != nil:
			// Committed: applied as soon as this node, or another one, can.
			p.fail(batches, unknown(fmt.Errorf("%w: %w", ErrHalted, r.Err)))
		case len(r.Batches) != len(batches):
			p.fail(batches, unknown(errBadResponse))
		default:
			for i, b := range batches {
				p.deliver(b, r.Batches[i], f.Index())
			}
		}
	}()
}

// forwardAll sends what waits to the leader, batch by batch.
func (p *proposer) forwardAll(leader Peer, now time.Time) time.Duration {
	for {
		p.mu.Lock()
		if wait := p.pause.Sub(now); wait > 0 {
			p.mu.Unlock()
			return wait
		}
		p.failForeign()
		bulk := false
		var batches []*batch
		if p.inFlight[0] < maxInFlight {
			batches = p.takeOne(&p.state, false, command.MaxEntryBytes)
		}
		if len(batches) == 0 && p.state.empty() && p.inFlight[1] == 0 {
			bulk = true
			batches = p.takeOne(&p.bulk, true, MaxBulkBytes)
		}
		if len(batches) == 0 {
			p.mu.Unlock()
			return 0
		}
		p.begin(bulk)
		p.mu.Unlock()
		if b := batches[0]; b.begun.IsZero() {
			b.begun = time.Now()
		}
		go func() {
			defer p.finish(bulk)
			b := batches[0]
			ctx, cancel := context.WithTimeout(context.Background(), p.cfg.LeaderHold)
			defer cancel()
			r, index, err := p.cfg.Forwarder.ForwardBatch(ctx, leader, b.Batch, bulk)
			if err == nil {
				p.deliver(b, r, index)
				return
			}
			p.failed(batches, err)
		}()
	}
}

// expire fails what has waited too long for a leader.
func (p *proposer) expire(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failForeign()
	next := time.Duration(0)
	later := func(at time.Time) {
		if d := at.Sub(now); next == 0 || d < next {
			next = d
		}
	}
	for _, l := range []*lane{&p.state, &p.bulk} {
		calls := l.calls[:0]
		for _, c := range l.calls {
			switch at := c.arrived.Add(p.cfg.LeaderHold); {
			case c.abandoned():
				p.waiting -= int64(c.size)
			case !now.Before(at):
				p.answer(c, outcome{err: notDone(p.noLeader())})
			default:
				later(at)
				calls = append(calls, c)
			}
		}
		clear(l.calls[len(calls):])
		l.calls = calls
		batches := l.batches[:0]
		for _, b := range l.batches {
			if now.Before(b.expires) {
				later(b.expires)
				batches = append(batches, b)
				continue
			}
			p.failBatch(b, p.noLeader())
		}
		clear(l.batches[len(batches):])
		l.batches = batches
	}
	return next
}

func (p *proposer) noLeader() error {
	if why := p.route.trouble(); why != "" {
		return fmt.Errorf("%w within %s: %s", ErrNoLeader, p.cfg.LeaderHold, why)
	}
	return fmt.Errorf("%w within %s", ErrNoLeader, p.cfg.LeaderHold)
}

// refuse refuses all calls, present and future.
func (p *proposer) refuse() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.failAll(ErrStopped)
}

// stop refuses new calls, waits for entries in flight until ctx ends, fails what still waits and ends the loop.
func (p *proposer) stop(ctx context.Context) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.done
		return
	}
	p.closed = true
	p.mu.Unlock()
	p.failAll(ErrStopped)
	p.quiesce(ctx)
	close(p.quit)
	<-p.done
	p.failAll(ErrStopped)
}

// quiesce waits until nothing is in flight or ctx ends.
func (p *proposer) quiesce(ctx context.Context) {
	p.mu.Lock()
	if p.inFlight == [2]int{} {
		p.mu.Unlock()
		return
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
