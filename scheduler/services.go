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
	"github.com/sluice-dev/sluice/fsm/watch"
)

// Config of Services. View, Events and Clock must be set.
type Config struct {
	// View opens a view of everything this node has applied.
	View   func() (View, error)
	Events Events
	Clock  Clock
	// Elapsed is the monotonic clock: time since some moment. Jumps of Clock are found by it. nil: the system's.
	Elapsed func() time.Duration
	// LeaseTTL is how long a lease lives without being renewed; owners renew every third of it. Default 12 s.
	LeaseTTL time.Duration
	// Observer is told what happens; nil: nobody.
	Observer Observer
	// RetentionEvery is how often retention looks for what may go. Default one minute.
	RetentionEvery time.Duration
	// Deliver makes the attempts to deliver webhooks' messages; nil: they wait.
	Deliver Deliverer
	// ChooseRuns finds the runs of jobs; nil: a job with a filter fails.
	ChooseRuns RunChooser
	// Logger; nil discards.
	Logger *slog.Logger
}

// Services are the leader's services. They run from Start to Stop, once per epoch, and can be started again for the next.
type Services struct {
	cfg     Config
	session atomic.Pointer[session] // nil while this node does not lead

	mu     sync.Mutex // guards what follows
	cancel context.CancelFunc
	done   chan struct{}
	// refused is when, by Config.Elapsed, an epoch was refused for the clock; 0: never.
	refused time.Duration
}

// New returns services that do not run yet.
func New(cfg Config) (*Services, error) {
	var problems []error
	if cfg.View == nil {
		problems = append(problems, errors.New("View is missing"))
	}
	if cfg.Events == nil {
		problems = append(problems, errors.New("Events is missing"))
	}
	if cfg.Clock == nil {
		problems = append(problems, errors.New("Clock is missing"))
	}
	if cfg.LeaseTTL < 0 {
		problems = append(problems, fmt.Errorf("LeaseTTL is %s, it must be positive", cfg.LeaseTTL))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("scheduler configuration: %w", err)
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = 12 * time.Second
	}
	if cfg.RetentionEvery <= 0 {
		cfg.RetentionEvery = time.Minute
	}
	if cfg.Elapsed == nil {
		began := time.Now()
		cfg.Elapsed = func() time.Duration { return time.Since(began) }
	}
	if cfg.Observer == nil {
		cfg.Observer = noObserver{}
	}
	if cfg.ChooseRuns == nil {
		cfg.ChooseRuns = func(context.Context, View, Wanted) (Choice, error) {
			return Choice{}, fmt.Errorf("%w: nothing here understands filters", ErrBadFilter)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Services{cfg: cfg}, nil
}

// Start begins an epoch: everything is rebuilt from the state before it returns. The epoch's command must be applied on this
// node. The services end with ctx or by Stop, whichever comes first; Stop must be called in any case. ErrClockBehind says that
// another node should lead.
func (s *Services) Start(ctx context.Context, epoch Epoch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done != nil {
		return errors.New("start scheduler: it runs already, stop it first")
	}
	if err := s.checkClock(); err != nil {
		return fmt.Errorf("start scheduler: %w", err)
	}
	first, err := s.begin(epoch)
	if err != nil {
		return fmt.Errorf("start scheduler: %w", err)
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.done = make(chan struct{})
	s.session.Store(first)
	go s.run(ctx, epoch, first, s.done)
	return nil
}

// Stop ends the epoch and waits until nothing of it runs. It is idempotent.
func (s *Services) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		return
	}
	s.cancel()
	<-s.done
	s.done, s.cancel = nil, nil
}

// Claim waits until something is granted to the demand or its wait has passed (no grants, no error). Repeating a claim id
// answers the same grants. Errors: ErrUnknownAgent, ErrEpochOver, those of the Proposer (the grants are then unknown: repeat
// the claim) and the context's.
func (s *Services) Claim(ctx context.Context, demand Demand) (Granted, error) {
	now := s.session.Load()
	if now == nil {
		return Granted{}, ErrEpochOver
	}
	return now.dispatcher.claim(ctx, demand)
}

// Renew counts as a sign of life of the leases and, unless its id is nil, of the agent. Errors: ErrUnknownAgent (nothing
// was renewed), ErrEpochOver.
func (s *Services) Renew(_ context.Context, agentID api.ID, leases []HeldLease) (Renewed, error) {
	now := s.session.Load()
	if now == nil {
		return Renewed{}, ErrEpochOver
	}
	return now.leases.renew(agentID, leases)
}

// Presence reports on all agents heard from in this epoch and on the leases of these flow runs.
func (s *Services) Presence(_ context.Context, flowRuns ...api.ID) (Presence, error) {
	now := s.session.Load()
	if now == nil {
		return Presence{}, ErrEpochOver
	}
	p := now.leases.presence(flowRuns)
	for id := range now.dispatcher.asking() {
		if seen, known := p.Agents[id]; known {
			seen.Asking = true
			p.Agents[id] = seen
		}
	}
	return p, nil
}

// Stats says how much waits, for metrics; nil while this node does not lead.
func (s *Services) Stats() *Stats {
	now := s.session.Load()
	if now == nil {
		return nil
	}
	all := now.dispatcher.stats()
	return &all
}

func (s *Services) run(ctx context.Context, epoch Epoch, now *session, done chan<- struct{}) {
	defer close(done)
	for {
		err := now.run(ctx)
		s.session.Store(nil)
		if ctx.Err() != nil {
			return
		}
		s.cfg.Logger.Warn("scheduler starts over within its epoch", "error", err)
		for now = nil; now == nil; {
			if now, err = s.begin(epoch); err != nil {
				s.cfg.Logger.Error("scheduler cannot start over, trying again", "error", err, "after", retryPause)
				select {
				case <-time.After(retryPause):
				case <-ctx.Done():
					return
				}
			}
		}
		s.session.Store(now)
	}
}

// session is everything that follows one subscription to the state's events, rebuilt when events were missed.
type session struct {
	core         *core
	events       *watch.Subscription
	from         uint64 // events up to this index are in what was rebuilt
	materializer *materializer
	dispatcher   *dispatcher
	leases       *leases
	late         *late
	deadlines    *deadlines
	purge        *purge
	retire       *retire
	retention    *retention
	webhooks     *webhooks
	jobs         *jobs
}

// begin rebuilds all services from the state as it is now.
func (s *Services) begin(epoch Epoch) (*session, error) {
	// Listening begins before the view is taken, so that nothing falls between them.
	events := s.cfg.Events.Subscribe(watch.TopicFlowRun | watch.TopicDeployment | watch.TopicWorkQueue | watch.TopicAgent | watch.TopicWebhook | watch.TopicJob)
	view, err := s.cfg.View()
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	if view.Index() < epoch.Index {
		return nil, fmt.Errorf("the epoch begins at index %d, but this node has applied only %d", epoch.Index, view.Index())
	}
	floor, err := view.LastTime()
	if err != nil {
		return nil, fmt.Errorf("read the state's time: %w", err)
	}
	c := &core{epoch: epoch, open: s.cfg.View, clock: s.cfg.Clock, leaseTTL: s.cfg.LeaseTTL, observer: s.cfg.Observer, log: s.cfg.Logger,
		unwelcome: map[protoreflect.Name]bool{}}
	c.jumps = newJumps(s.cfg, c.leaseTTL+c.beat())
	c.latest.Store(floor)
	now := &session{core: c, events: events, from: view.Index(), materializer: newMaterializer(c), leases: newLeases(c), late: newLate(c), deadlines: newDeadlines(c), purge: newPurge(c),
		retention: newRetention(c, s.cfg.RetentionEvery), webhooks: newWebhooks(c, s.cfg.Deliver), jobs: newJobs(c, s.cfg.ChooseRuns)}
	now.dispatcher, now.retire = newDispatcher(c, now.leases), newRetire(c, now.leases)
	c.jumps.moved = func() {
		now.materializer.wake.set()
		now.dispatcher.wake.set()
		now.late.wake.set()
		now.deadlines.wake.set()
	}
	return now, errors.Join(now.materializer.rebuild(view), now.leases.rebuild(view), now.dispatcher.rebuild(view), now.webhooks.rebuild(view))
}

// run serves until ctx ends or events were missed; then nothing of it runs any more.
func (n *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, service := range []func(context.Context) error{n.follow, n.materializer.run, n.dispatcher.run, n.leases.run, n.late.run, n.deadlines.run, n.purge.run, n.retire.run, n.retention.run, n.webhooks.run, n.jobs.run} {
		all.Go(func() { cancel(service(ctx)) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// follow hands the events of the state to the services.
func (n *session) follow(ctx context.Context) error {
	for {
		e, err := n.events.Next(ctx)
		if err != nil {
			return fmt.Errorf("follow the events: %w", err)
		}
		if e.Cursor.Index <= n.from {
			continue
		}
		switch e.Topic {
		case watch.TopicFlowRun:
			n.leases.observe(e.FlowRun, e.Deleted)
			n.dispatcher.observeRun(e.FlowRun, e.Deleted)
			n.late.observe(e.FlowRun, e.Deleted)
			n.deadlines.observe(e.FlowRun, e.Deleted)
			n.retention.observeRun(e.FlowRun, e.Deleted)
			if e.FlowRun.Lease != nil {
				n.purge.granted()
			}
		case watch.TopicDeployment:
			n.materializer.observe(e.Deployment, e.Deleted)
			n.dispatcher.observeDeployment(e.Deployment, e.Deleted)
			n.retention.observeDeployment(e.Deployment, e.Deleted)
			if e.Deleted {
				n.dispatcher.deploymentDeleted()
			}
		case watch.TopicWorkQueue:
			n.dispatcher.observeQueue(e.WorkQueue, e.Deleted)
		case watch.TopicJob:
			n.jobs.observe(e.Job)
		case watch.TopicWebhook:
			n.webhooks.observe(e.Webhook, e.Delivery, e.Deleted)
		case watch.TopicAgent:
			if e.Deleted {
				n.leases.forget(id16(e.Agent.Id))
				n.dispatcher.agentDeleted(id16(e.Agent.Id), e.Cursor.Index)
			} else {
				n.leases.changed(id16(e.Agent.Id))
				if e.Agent.Draining != 0 {
					n.dispatcher.agentDraining(id16(e.Agent.Id), e.Cursor.Index)
				}
			}
		}
	}
}
