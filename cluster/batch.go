package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
)

// take removes from l what goes into one entry of about limit bytes: batches first, then calls, packed into one batch of
// ordinary and one of leader-made commands. Holds mu.
func (p *proposer) take(l *lane, bulk bool, term uint64, limit int) []*batch {
	var out []*batch
	size, n := 0, 0
	for _, b := range l.batches {
		if n > 0 && size+b.size > limit {
			break
		}
		size += b.size
		n++
	}
	if n > 0 {
		out = append(out, l.batches[:n]...)
		l.batches = shift(l.batches, n)
	}
	var ordinary, leaderMade *batch
	taken := 0
	calls := l.calls
	if p.tooFarAhead() {
		calls = nil
	}
	for _, c := range calls {
		if (len(out) > 0 || taken > 0) && size+c.size > limit {
			break
		}
		taken++
		into := &ordinary
		if c.epoch != 0 {
			if c.epoch != term {
				if c.take() {
					p.answer(c, outcome{err: notDone(ErrNotLeader)})
				} else {
					p.waiting -= int64(c.size)
				}
				continue
			}
			into = &leaderMade
		}
		if !c.take() {
			p.waiting -= int64(c.size)
			continue
		}
		if *into == nil {
			*into = p.newBatch(bulk, c.epoch)
		}
		b := *into
		b.calls = append(b.calls, c)
		b.Commands = append(b.Commands, c.commands...)
		b.size += c.size
		size += c.size
	}
	l.calls = shift(l.calls, taken)
	for _, b := range []*batch{ordinary, leaderMade} {
		if b != nil {
			out = append(out, b)
		}
	}
	return out
}

// takeOne is take for forwarding: one batch, no leader-made commands. Holds mu.
func (p *proposer) takeOne(l *lane, bulk bool, limit int) []*batch {
	if len(l.batches) > 0 {
		b := l.batches[0]
		l.batches = shift(l.batches, 1)
		return []*batch{b}
	}
	return p.take(l, bulk, 0, limit)
}

func (p *proposer) newBatch(bulk bool, epoch uint64) *batch {
	p.seq++
	p.open[p.seq] = struct{}{}
	return &batch{Batch: command.Batch{Session: p.session, Seq: p.seq}, bulk: bulk, epoch: epoch}
}

// tooFarAhead says whether a new batch must wait for the outcome of an old one. Holds mu.
func (p *proposer) tooFarAhead() bool {
	for seq := range p.open { // a handful
		if p.seq-seq >= maxAhead {
			return true
		}
	}
	return false
}

// shift drops the first n elements and lets go of the array when nothing is left.
func shift[T any](s []T, n int) []T {
	if n == len(s) {
		return nil
	}
	clear(s[:n])
	return s[n:]
}

// answer ends a call. Holds mu.
func (p *proposer) answer(c *call, o outcome) {
	p.waiting -= int64(c.size)
	c.done <- o
}

// deliver hands each call of b its part of the results.
func (p *proposer) deliver(b *batch, r command.BatchResult, index uint64) {
	if len(r.Results) != len(b.Commands) {
		p.fail([]*batch{b}, unknown(errBadResponse))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.foreign != nil {
		p.waiting -= int64(b.size)
		b.foreign <- foreignOutcome{result: r, index: index}
		return
	}
	delete(p.open, b.Seq)
	for _, c := range b.calls {
		n := len(c.commands)
		p.answer(c, outcome{results: r.Results[:n:n], index: index})
		r.Results = r.Results[n:]
	}
}

// failed decides what becomes of batches whose attempt ended with err: what was certainly not appended waits again, what
// may have been is tried again under its number, and the rest fails.
func (p *proposer) failed(batches []*batch, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	known := classify(err)
	if errors.Is(err, ErrNotDone) { // from a remote leader
		known = refused
		if errors.Is(err, ErrNotLeader) || errors.Is(err, ErrNoLeader) || errors.Is(err, ErrStopped) {
			known = notAppended
		}
	}
	for i := len(batches) - 1; i >= 0; i-- { // backwards, because each goes to the front
		b := batches[i]
		if known == maybeAppended && !b.uncertain {
			b.uncertain, b.expires = true, now.Add(p.cfg.LeaderHold)
			if !b.begun.IsZero() {
				// A leader that did not answer for so long has used up what its callers wait for one.
				b.expires = b.begun.Add(p.cfg.LeaderHold)
			}
		}
		l := p.lane(b.bulk)
		switch {
		case b.foreign != nil && known == notAppended:
			// The node that formed it tries again, here or at the next leader.
			p.failBatch(b, notDone(fmt.Errorf("%w: %w", ErrNotLeader, err)))
		case p.closed, b.foreign != nil, b.epoch != 0, known == refused:
			p.failBatch(b, err)
		case b.uncertain && !now.Before(b.expires):
			p.failBatch(b, err)
		case b.uncertain:
			l.batches = append([]*batch{b}, l.batches...)
			p.pause = now.Add(retryBackoff)
		default:
			p.requeue(l, b, err, now)
			p.pause = now.Add(retryBackoff)
		}
	}
}

// requeue makes the calls of a batch that was certainly not appended wait again. Holds mu.
func (p *proposer) requeue(l *lane, b *batch, err error, now time.Time) {
	delete(p.open, b.Seq)
	var again []*call
	for _, c := range b.calls {
		switch {
		case now.Sub(c.arrived) >= p.cfg.LeaderHold:
			p.answer(c, outcome{err: notDone(err)})
		case c.release():
			again = append(again, c)
		default:
			p.waiting -= int64(c.size)
		}
	}
	l.calls = append(again, l.calls...)
}

// fail ends batches with err.
func (p *proposer) fail(batches []*batch, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range batches {
		p.failBatch(b, err)
	}
}

// failBatch ends b; what err says about certainty counts only if no earlier attempt may have been applied. Holds mu.
func (p *proposer) failBatch(b *batch, err error) {
	switch {
	case b.uncertain || errors.Is(err, ErrUnknownOutcome):
		err = unknown(err)
	case b.foreign != nil && classify(err) == maybeAppended && !errors.Is(err, ErrNotDone):
		err = unknown(err)
	default:
		err = notDone(err)
	}
	if b.foreign != nil {
		p.waiting -= int64(b.size)
		b.foreign <- foreignOutcome{err: err}
		return
	}
	delete(p.open, b.Seq)
	for _, c := range b.calls {
		p.answer(c, outcome{err: err})
	}
}

// failForeign refuses batches accepted for an append that this node can no longer do. Holds mu.
func (p *proposer) failForeign() {
	for _, l := range []*lane{&p.state, &p.bulk} {
		keep := l.batches[:0]
		for _, b := range l.batches {
			if b.foreign == nil {
				keep = append(keep, b)
				continue
			}
			p.failBatch(b, notDone(ErrNotLeader))
		}
		clear(l.batches[len(keep):])
		l.batches = keep
	}
}

// failLeaderMade refuses leader-made commands of an epoch that is over. Holds mu.
func (p *proposer) failLeaderMade() {
	keep := p.state.calls[:0]
	for _, c := range p.state.calls {
		switch {
		case c.epoch == 0:
			keep = append(keep, c)
		case c.take():
			p.answer(c, outcome{err: notDone(ErrNotLeader)})
		default:
			p.waiting -= int64(c.size)
		}
	}
	clear(p.state.calls[len(keep):])
	p.state.calls = keep
}

// failAll ends everything that waits and is not in flight.
func (p *proposer) failAll(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range []*lane{&p.state, &p.bulk} {
		for _, c := range l.calls {
			if c.take() {
				p.answer(c, outcome{err: notDone(err)})
			} else {
				p.waiting -= int64(c.size)
			}
		}
		for _, b := range l.batches {
			p.failBatch(b, notDone(err))
		}
		*l = lane{}
	}
}
