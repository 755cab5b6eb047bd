package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/state"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/scheduler"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/webhook"
)

// services runs what only the leader does and stands before it for the API.
type services struct {
	node      *Node
	scheduler *scheduler.Services
	// serving is closed once this node, as the leader, has begun to hand out work.
	serving     chan struct{}
	servingOnce sync.Once
	beats       *beats
	sender      *webhook.Sender
	end         context.CancelFunc
}

func newServices(n *Node, registry prometheus.Registerer) (*services, error) {
	metrics := newSchedulerMetrics()
	sender := webhook.NewSender(n.config.Version, n.config.WebhookAllowPrivate)
	s, err := scheduler.New(scheduler.Config{
		View:   func() (scheduler.View, error) { return n.fsm.View() },
		Events: n.fsm.Events(), Clock: n.config.Clock, LeaseTTL: n.config.LeaseTTL, Observer: metrics, Logger: n.log,
		RetentionEvery: n.config.Retention.Every, Deliver: deliverer{n, sender},
		ChooseRuns: chooseRuns,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the scheduler: %w", err)
	}
	metrics.stats = s.Stats
	registry.MustRegister(metrics)
	all := &services{node: n, sender: sender, scheduler: s, serving: make(chan struct{})}
	life, end := context.WithCancel(context.Background())
	all.end = end
	all.beats = &beats{life: life, ask: func(ctx context.Context, renewals []renewal) (answers []scheduler.Renewed, err error) {
		err = all.ask(ctx, methodRenew, func() any { return renewals }, &answers)
		return answers, err
	}}
	return all, nil
}

// stop ends what the services do for this node's clients; the leader's services end with the epoch.
func (s *services) stop() {
	s.beats.mu.Lock()
	s.end()
	s.beats.mu.Unlock()
	s.beats.work.Wait()
	s.sender.Close()
}

// chooseRuns lets the API's filters choose the runs of jobs.
func chooseRuns(ctx context.Context, view scheduler.View, w scheduler.Wanted) (scheduler.Choice, error) {
	whole, ok := view.(*state.View)
	if !ok {
		return scheduler.Choice{}, fmt.Errorf("choose runs from a %T", view)
	}
	found, err := httpapi.ChooseRuns(ctx, whole, w.Filter, w.After, w.CreatedBefore, w.Most, w.Rows)
	if errors.Is(err, httpapi.ErrBadFilter) {
		err = fmt.Errorf("%w: %w", scheduler.ErrBadFilter, err)
	}
	return scheduler.Choice{Runs: found.Runs, To: found.To[:], LookedAt: found.LookedAt, Done: found.Done}, err
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// lead implements cluster.Config.Lead: it runs the leader's services until the epoch ends.
func (s *services) lead(ctx context.Context, epoch cluster.Epoch) error {
	if err := s.storeBlockSpecs(ctx, epoch); err != nil {
		return err
	}
	if err := s.storeRetention(ctx, epoch); err != nil {
		return err
	}
	if err := s.buildIndexes(ctx, epoch); err != nil {
		return err
	}
	if err := s.firstToken(ctx, epoch); err != nil {
		return err
	}
	if err := s.scheduler.Start(ctx, scheduler.Epoch{Index: epoch.Index, Proposer: s.proposer(epoch)}); err != nil {
		return err
	}
	s.servingOnce.Do(func() { close(s.serving) })
	var both sync.WaitGroup // until the epoch ends
	both.Go(func() { s.node.secrets.sealClear(ctx, epoch, s.proposer(epoch)) })
	s.tidyAccess(ctx, epoch)
	both.Wait()
	s.scheduler.Stop()
	return nil
}

func (s *services) proposer(epoch cluster.Epoch) epochProposer {
	return epochProposer{s.node.cluster, s.node.disk, epoch}
}

// indexChunk is how many rows one command indexes: a few milliseconds of applying.
const indexChunk = 2000

// buildIndexes fills the indexes that the state's former binaries did not know.
func (s *services) buildIndexes(ctx context.Context, epoch cluster.Epoch) error {
	view, err := s.node.fsm.View()
	if err != nil {
		return fmt.Errorf("look for indexes to build: %w", err)
	}
	building, err := view.BuildingIndexes()
	if err = errors.Join(err, view.Close()); err != nil {
		return fmt.Errorf("look for indexes to build: %w", err)
	}
	for _, number := range building {
		for done := false; !done; {
			seed := api.NewID()
			results, _, err := s.proposer(epoch).Propose(ctx, &command.Envelope{Actor: "server", Epoch: epoch.Index, Seed: seed[:],
				Command: &command.Envelope_BuildIndex{BuildIndex: &command.BuildIndex{Index: uint32(number), Limit: indexChunk}}})
			if errors.Is(err, scheduler.ErrUnwelcome) {
				if err := s.waitForRoom(ctx, err); err != nil {
					return fmt.Errorf("build index %d: %w", number, err)
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("build index %d: %w", number, err)
			}
			done = results[0].Created
		}
	}
	return nil
}

// waitForRoom returns when the disk has room for writes that were refused. Giving the leadership up would not help a node
// that is alone, and would be tried in a circle.
func (s *services) waitForRoom(ctx context.Context, refused error) error {
	s.node.log.Warn("an index cannot be built yet, waiting", "error", refused)
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	for s.node.disk.admit(diskNoWrites) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// storeBlockSpecs makes the cluster know the kinds of storage this version knows.
func (s *services) storeBlockSpecs(ctx context.Context, epoch cluster.Epoch) error {
	if _, _, err := s.proposer(epoch).Propose(ctx, blockSpecs(epoch)...); err != nil {
		return fmt.Errorf("store the known block specs: %w", err)
	}
	return nil
}

// storeRetention gives a new cluster its first rules of retention.
func (s *services) storeRetention(ctx context.Context, epoch cluster.Epoch) error {
	first, seed := s.node.config.Retention, api.NewID()
	runs, logs := first.RunsMaxAge.Microseconds(), first.LogsMaxAge.Microseconds()
	_, _, err := s.proposer(epoch).Propose(ctx, &command.Envelope{Actor: "server", Epoch: epoch.Index, Seed: seed[:], Command: &command.Envelope_SetRetention{
		SetRetention: &command.SetRetention{IfAbsent: true, RunsMaxAge: &runs, LogsMaxAge: &logs}}})
	if err != nil {
		return fmt.Errorf("store the first rules of retention: %w", err)
	}
	return nil
}

func blockSpecs(epoch cluster.Epoch) (commands []*command.Envelope) {
	kind := storage.SpecType
	for _, spec := range storage.Specs {
		id, seed := api.NewID(), api.NewID()
		commands = append(commands, &command.Envelope{Actor: "server", Epoch: epoch.Index, Seed: seed[:], Command: &command.Envelope_CreateBlockSpec{
			CreateBlockSpec: &command.CreateBlockSpec{Id: id[:], Name: spec.Kind, Version: storage.SpecVersion, Type: &kind, FieldsJson: []byte(spec.Fields), IfAbsent: true}}})
	}
	return commands
}

// epochProposer proposes on behalf of one reign and never forwards.
type epochProposer struct {
	cluster *cluster.Node
	disk    *diskGuard
	epoch   cluster.Epoch
}

func (p epochProposer) Propose(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	if err := p.admit(commands); err != nil {
		return nil, 0, err
	}
	send := func(ctx context.Context, encoded [][]byte) ([][]byte, uint64, error) {
		return p.cluster.ProposeAsLeader(ctx, p.epoch, encoded)
	}
	return propose(ctx, p.cluster, send, commands)
}

// admit refuses what the disk has no room for. Ending leases, naming late runs and what begins an epoch go on to the last: they are
// small, and without them a cluster could not be led. So does retention nearly: what it writes is small beside what it makes room for.
func (p epochProposer) admit(commands []*command.Envelope) error {
	kind := diskNever
	for _, c := range commands {
		switch c.Command.(type) {
		case *command.Envelope_ScheduleRuns:
			kind = min(kind, diskNoNew)
		case *command.Envelope_ExpireLeases, *command.Envelope_MarkLate, *command.Envelope_CreateBlockSpec, *command.Envelope_SetRetention,
			*command.Envelope_NoteRetentionTime:
		case *command.Envelope_Prune, *command.Envelope_PruneCache:
			kind = min(kind, diskNoRoom)
		default:
			kind = min(kind, diskNoWrites)
		}
	}
	if err := p.disk.admit(kind); err != nil {
		return fmt.Errorf("%w: %w", scheduler.ErrUnwelcome, err)
	}
	return nil
}

// Claim implements httpapi.Claims.
func (s *services) Claim(ctx context.Context, d httpapi.Demand) (httpapi.Granted, error) {
	granted, err := s.claim(ctx, scheduler.Demand(d))
	if err != nil {
		return httpapi.Granted{}, schedulerError(err)
	}
	return httpapi.Granted(granted), nil
}

// Renew implements httpapi.Claims.
func (s *services) Renew(ctx context.Context, agentID api.ID, held []httpapi.HeldLease) (httpapi.Renewed, error) {
	leases := make([]scheduler.HeldLease, len(held))
	for i, l := range held {
		leases[i] = scheduler.HeldLease{FlowRunID: l.FlowRunID, Token: scheduler.Token(l.Token)}
	}
	renewed, err := s.renew(ctx, agentID, leases)
	if err != nil {
		return httpapi.Renewed{}, schedulerError(err)
	}
	answer := httpapi.Renewed{Cancelling: renewed.Cancelling}
	for _, l := range renewed.Lost {
		answer.Lost = append(answer.Lost, httpapi.LostLease(l))
	}
	return answer, nil
}

// Presence implements httpapi.Claims.
func (s *services) Presence(ctx context.Context, flowRuns ...api.ID) (httpapi.Presence, error) {
	p, err := s.presence(ctx, flowRuns)
	if err != nil {
		return httpapi.Presence{}, schedulerError(err)
	}
	answer := httpapi.Presence{Agents: map[api.ID]httpapi.AgentPresence{}, Renewed: p.Renewed}
	for id, a := range p.Agents {
		answer.Agents[id] = httpapi.AgentPresence(a)
	}
	return answer, nil
}

// schedulerError says in the API's words why the leader's services did not answer.
func schedulerError(err error) error {
	switch {
	case errors.Is(err, scheduler.ErrUnknownAgent):
		return &api.Error{Kind: api.KindNotFound, Message: "Agent not found", Hint: "register the agent again: POST /api/agents/"}
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, scheduler.ErrEpochOver), errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrNotLeader), errors.Is(err, cluster.ErrStopped),
		errors.Is(err, context.DeadlineExceeded):
		return &api.Error{Kind: api.KindUnavailable, Message: "no leader hands out work now", Hint: "repeat the request"}
	default:
		return err
	}
}
