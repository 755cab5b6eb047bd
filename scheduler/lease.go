package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	expireBatch = 500
	// expireBytes bounds the reasons in one command, far below what a command may hold.
	expireBytes = 64 << 10
	// ownerInReason is how much of an owner's text, in bytes, a reason repeats.
	ownerInReason = 200
)

// Token fences a lease: it only grows.
type Token struct {
	Index   uint64
	Ordinal uint32
}

// HeldLease names a lease by its run and token.
type HeldLease struct {
	FlowRunID api.ID
	Token     Token
}

// LostLease says why a lease is no longer held.
type LostLease struct {
	FlowRunID api.ID
	Reason    string
}

// Renewed is the answer to a heartbeat.
type Renewed struct {
	Lost       []LostLease
	Cancelling []api.ID // still held, but somebody asked for their cancellation
}

// AgentPresence is when an agent was last heard from, and whether that is recent enough to expect more of it.
type AgentPresence struct {
	LastSeen time.Time
	Live     bool
	Asking   bool // a claim of it waits for work
}

// Presence is what the leader remembers of heartbeats. It is forgotten with the epoch.
type Presence struct {
	Agents  map[api.ID]AgentPresence
	Renewed map[api.ID]time.Time // by flow run: when its lease was last renewed
}

// leases keeps the deadlines of all leases in memory. Only their grant and expiry are replicated.
type leases struct {
	core *core

	mu     sync.Mutex // guards what follows
	byRun  map[api.ID]*lease
	agents map[api.ID]presence // exactly the registered ones
	wake   signal
}

// presence is what is known of one agent's signs of life.
type presence struct {
	seen  time.Time // when last heard from in this epoch, or zero
	since time.Time // seen, or when this leader began to listen
}

type lease struct {
	token      Token
	kind       row.Lease_Kind
	owner      string
	ttl        time.Duration
	deadline   time.Time
	renewed    time.Time // or granted
	cancelling bool
	expiring   bool // an expiry was proposed: whatever comes of it, the owner must stop
}

func newLeases(c *core) *leases {
	return &leases{core: c, byRun: map[api.ID]*lease{}, agents: map[api.ID]presence{}, wake: newSignal()}
}

// rebuild takes all leases and agents from the state. Owners may have beaten to a former leader, so everyone gets a TTL and
// a beat from now.
func (l *leases) rebuild(v View) error {
	err := v.LeasedFlowRuns(func(r *row.FlowRun) (bool, error) {
		l.put(r, l.core.beat())
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the leases: %w", err)
	}
	err = v.EachAgent(func(a *row.Agent) (bool, error) {
		l.agents[id16(a.Id)] = presence{since: l.core.clock.Now()}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the agents: %w", err)
	}
	return nil
}

func (l *leases) observe(r *row.FlowRun, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if deleted || r.Lease == nil || r.Lease.Kind == row.Lease_NONE {
		delete(l.byRun, id16(r.Id))
		return
	}
	l.put(r, 0)
}

// put learns of a run's lease; a known one keeps its deadline. Holds mu, or comes before anyone else.
func (l *leases) put(r *row.FlowRun, extra time.Duration) *lease {
	id, token := id16(r.Id), Token{r.Lease.TokenIndex, r.Lease.TokenOrdinal}
	held := l.byRun[id]
	if held == nil || held.token != token {
		now := l.core.clock.Now()
		held = &lease{token: token, kind: r.Lease.Kind, owner: r.Lease.Owner, ttl: time.Duration(r.Lease.Ttl) * time.Microsecond, renewed: now}
		if held.ttl <= 0 {
			held.ttl = l.core.leaseTTL
		}
		held.deadline = now.Add(held.ttl + extra)
		l.byRun[id] = held
	}
	held.cancelling = r.State.GetName() == orchestration.NameCancelling
	return held
}

// changed follows that an agent said who it is, which is a sign of life, or that something about a known one was changed, which
// is not.
func (l *leases) changed(agentID api.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.agents[agentID]; !known {
		now := l.core.clock.Now()
		l.agents[agentID] = presence{seen: now, since: now}
	}
}

// seen counts as a sign of life of an agent. It reports whether the agent is known to be registered: nothing is remembered
// of others, or ids that somebody made up would fill the memory.
func (l *leases) seen(agentID api.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.agents[agentID]; !known {
		return false
	}
	now := l.core.clock.Now()
	l.agents[agentID] = presence{seen: now, since: now}
	return true
}

// beat counts as a sign of life of an agent that must be registered; nil is no agent.
func (l *leases) beat(agentID api.ID) error {
	if agentID.IsNil() || l.seen(agentID) {
		return nil
	}
	view, err := l.core.view() // perhaps its event is still on the way
	if err != nil {
		return err
	}
	defer view.Close()
	agent, err := view.Agent(agentID)
	if err != nil {
		return fmt.Errorf("read the agent: %w", err)
	}
	if agent == nil {
		return ErrUnknownAgent
	}
	return nil
}

// silent returns the agents that were not heard from for d.
func (l *leases) silent(d time.Duration) (ids []api.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.core.clock.Now()
	for id, p := range l.agents {
		if now.Sub(p.since) >= d {
			ids = append(ids, id)
		}
	}
	return ids
}

// forget drops an agent that was deleted.
func (l *leases) forget(agentID api.ID) {
	l.mu.Lock()
	delete(l.agents, agentID)
	l.mu.Unlock()
}

func (l *leases) renew(agentID api.ID, held []HeldLease) (Renewed, error) {
	if err := l.beat(agentID); err != nil {
		return Renewed{}, err
	}
	var answer Renewed
	var unknown []HeldLease
	l.mu.Lock()
	for _, h := range held {
		if known := l.byRun[h.FlowRunID]; known == nil || known.token != h.Token {
			unknown = append(unknown, h)
		} else {
			l.renewOne(h.FlowRunID, known, &answer)
		}
	}
	l.mu.Unlock()
	if len(unknown) == 0 {
		return answer, nil
	}
	// The events may lag behind: the state decides.
	view, err := l.core.view()
	if err != nil {
		return Renewed{}, err
	}
	defer view.Close()
	for _, h := range unknown {
		run, err := view.FlowRun(h.FlowRunID)
		if err != nil {
			return Renewed{}, fmt.Errorf("read the flow run of a lease: %w", err)
		}
		if reason := lostBecause(run, h.Token); reason != "" {
			answer.Lost = append(answer.Lost, LostLease{h.FlowRunID, reason})
			continue
		}
		l.mu.Lock()
		l.renewOne(h.FlowRunID, l.put(run, 0), &answer)
		l.mu.Unlock()
	}
	return answer, nil
}

// renewOne pushes a deadline out. Holds mu.
func (l *leases) renewOne(runID api.ID, known *lease, answer *Renewed) {
	now := l.core.clock.Now()
	if known.expiring {
		answer.Lost = append(answer.Lost, LostLease{runID, fmt.Sprintf("The lease expired: it was not renewed for %s.", roughly(now.Sub(known.renewed)))})
		return
	}
	known.renewed = now
	known.deadline = now.Add(known.ttl)
	if known.cancelling {
		answer.Cancelling = append(answer.Cancelling, runID)
	}
}

// lostBecause explains why a token is no longer a run's lease, "" when it still is.
func lostBecause(run *row.FlowRun, token Token) string {
	switch {
	case run == nil:
		return "The flow run was deleted."
	case run.Lease == nil:
		return "The lease on this flow run was lost: the run is " + run.State.GetName() + "."
	case run.Lease.TokenIndex != token.Index || run.Lease.TokenOrdinal != token.Ordinal:
		return "The lease on this flow run was lost: it is executed by " + shortOwner(run.Lease.Owner) + "."
	}
	return ""
}

func (l *leases) presence(flowRuns []api.ID) Presence {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.core.clock.Now()
	p := Presence{Agents: make(map[api.ID]AgentPresence, len(l.agents)), Renewed: map[api.ID]time.Time{}}
	for id, a := range l.agents {
		if !a.seen.IsZero() {
			p.Agents[id] = AgentPresence{LastSeen: a.seen, Live: now.Sub(a.seen) <= l.core.leaseTTL}
		}
	}
	for _, id := range flowRuns {
		if held := l.byRun[id]; held != nil {
			p.Renewed[id] = held.renewed
		}
	}
	return p
}

func (l *leases) run(ctx context.Context) error {
	return l.core.loop(ctx, l.wake, "expire leases", l.runOnce)
}

// runOnce expires what has passed its deadline. It looks once a second: exact enough, and it tells when this process itself
// stood still, because then the owners could not reach it, or when the clock jumped forward, as it does on a machine that was suspended.
func (l *leases) runOnce(ctx context.Context) (time.Duration, error) {
	if l.core.jumps.check() {
		l.grace()
	}
	batches := l.collect()
	for i, b := range batches {
		e := &command.Envelope{Command: &command.Envelope_ExpireLeases{ExpireLeases: b.command}}
		if _, _, err := l.core.propose(ctx, e); err != nil {
			l.mu.Lock()
			for _, b := range batches[i:] {
				for _, held := range b.leases {
					held.expiring = false
				}
			}
			l.mu.Unlock()
			return 0, fmt.Errorf("propose: %w", err)
		}
		for range b.leases {
			l.core.observer.LeaseExpired()
		}
	}
	return jumpCheck, nil
}

// grace gives every lease a TTL and a beat from now.
func (l *leases) grace() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.core.clock.Now()
	for _, held := range l.byRun {
		held.deadline = now.Add(held.ttl + l.core.beat())
	}
}

// expiry is one command of expired leases.
type expiry struct {
	command *command.ExpireLeases
	leases  []*lease
	bytes   int // of the reasons
}

// collect finds expired leases and packs them into commands, by number and by size: a command that is refused for its size
// would be refused for ever.
func (l *leases) collect() (batches []*expiry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.core.clock.Now()
	var last *expiry
	for id, held := range l.byRun {
		if held.expiring || now.Before(held.deadline) {
			continue
		}
		held.expiring = true
		reason := fmt.Sprintf("%s was last heard from %s ago", shortOwner(held.owner), roughly(now.Sub(held.renewed)))
		if last == nil || len(last.leases) >= expireBatch || last.bytes+len(reason) > expireBytes {
			last = &expiry{command: &command.ExpireLeases{}}
			batches = append(batches, last)
		}
		last.leases = append(last.leases, held)
		last.bytes += len(reason)
		last.command.Expired = append(last.command.Expired, &command.ExpireLeases_Expired{
			FlowRunId: id[:], TokenIndex: held.token.Index, TokenOrdinal: held.token.Ordinal, Reason: reason})
	}
	return batches
}

// shortOwner is an owner's text for a reason: whoever starts a lease chooses its owner's name, but not the size of what is
// written about it.
func shortOwner(owner string) string {
	if len(owner) <= ownerInReason {
		return owner
	}
	end := ownerInReason
	for !utf8.RuneStart(owner[end]) {
		end--
	}
	return owner[:end] + "…"
}

func roughly(d time.Duration) time.Duration { return d.Round(time.Second) }
