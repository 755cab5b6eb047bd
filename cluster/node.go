// Package cluster runs one node of a Raft cluster: the log, the transport, gossip, leadership and the two ways in,
// Propose and ReadIndex. Commands are bytes to it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/cluster/logstore"
)

// Node is one member of the cluster. A stopped node cannot be started again; make a new one.
type Node struct {
	cfg Config
	log *slog.Logger
	id  string

	machine  *machine
	snaps    *snapshots
	governor *governor
	proposer *proposer
	reader   *reader
	former   *former
	changed  signal // fires when the known leader, the epoch or the halt changes

	// up is set when what follows is in place; before, only Start touches it.
	up     atomic.Bool
	store  *logstore.Store
	port   *link.Port // nil with Config.Transport, as the next two
	client *link.Client
	tcp    *raft.NetworkTransport
	trans  transport
	// arriving is the goroutine that passes messages to raft, from before its first run until after its last.
	arriving    sync.WaitGroup
	endArrivals chan struct{}
	gossip      *gossip
	suspect     chan struct{} // capacity 1: raft must restart from disk
	deposed     chan struct{} // capacity 1: this node must not lead any more
	learned     chan struct{} // capacity 1: the cluster id is known now

	run  atomic.Pointer[run]  // nil while raft is not running
	gate atomic.Pointer[term] // set in a term whose epoch command is applied here
	// views is what the reconciler of the present epoch last saw.
	views atomic.Pointer[[]MemberView]

	life      context.Context // of supervisor, governor and leadLoop
	endLife   context.CancelFunc
	workers   sync.WaitGroup
	joined    atomic.Bool              // the cluster id is persisted
	restoring atomic.Bool              // raft is restoring an operator's snapshot
	raising   atomic.Uint64            // highest cluster version this node has proposed
	outdated  atomic.Pointer[error]    // why this node cannot take part in its cluster's version
	agreed    atomic.Pointer[verdict]  // on the leader: what the members' states have in common
	diverged  atomic.Pointer[string]   // how this node's state differs from the others'
	crew      atomic.Pointer[crewList] // on the leader: how the members were when it last looked
	leaving   atomic.Bool              // Leave was called: the node must not join again by itself
	changing  sync.Mutex               // held while the configuration is changed
	stopped   atomic.Bool
	restarts  atomic.Uint64
	reigns    reigns
	met       acquaintances
	fitness   fitness
	problem   atomic.Value // string: what keeps raft from running or the node from joining

	startOnce, stopOnce sync.Once
	started             bool
	stopErr             error
	stopDone            chan struct{}
}

// New checks cfg and makes a node for the open state machine sm. Nothing runs before Start.
func New(cfg Config, sm StateMachine, log *slog.Logger) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cluster configuration: %w", err)
	}
	if sm == nil {
		return nil, errors.New("cluster configuration: the state machine is missing")
	}
	cfg.defaults()
	n := &Node{cfg: cfg, id: cfg.DataDir.NodeID(), suspect: make(chan struct{}, 1), deposed: make(chan struct{}, 1), learned: make(chan struct{}, 1), stopDone: make(chan struct{})}
	n.log = log.With("node", n.id)
	n.machine = newMachine(sm, n.stateRestored, n.stateApplied)
	n.machine.observer = n.cfg.Observer
	n.governor = newGovernor(n)
	n.snaps = &snapshots{cfg.Snapshots, n.governor}
	n.proposer = newProposer(&n.cfg, n)
	if n.cfg.Forwarder == nil && n.cfg.Transport == nil {
		n.cfg.Forwarder = overPort{n}
	}
	n.reader = newReader(n)
	n.former = newFormer(n)
	n.life, n.endLife = context.WithCancel(context.Background())
	n.endArrivals = make(chan struct{})
	return n, nil
}

// Start opens the log, makes it fit the state, founds a cluster when Config says so and there is none, and joins in. It
// returns when raft runs; WaitLeader waits for more. After an error the node holds nothing. ctx bounds Start only.
func (n *Node) Start(ctx context.Context) error {
	err := errors.New("node was started before")
	n.startOnce.Do(func() { err = n.start(ctx) })
	return err
}

func (n *Node) start(ctx context.Context) (err error) {
	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		n.endLife()
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	// First, so that calls which came before Start wait for a leader like all others.
	n.proposer.start()
	undo = append(undo, func() error { n.proposer.stop(context.Background()); return nil })
	if err := n.learnClusterID(); err != nil {
		return err
	}
	n.store, err = logstore.Open(logstore.Options{
		Dir: n.cfg.DataDir.Path(), Backend: n.cfg.LogBackend, WriteTimeout: n.cfg.WriteTimeout, Logger: n.log,
		OnAppend: n.appended, OnSuspect: func(string) { n.suspectLog() }, OnPurged: n.checkStaleMemory,
	})
	if err != nil {
		return err
	}
	undo = append(undo, n.store.Close)
	t := n.cfg.Transport
	if t == nil {
		n.port, err = link.Listen(link.Config{Bind: n.cfg.InternalAddr, Advertise: n.cfg.InternalAdvertise, TLS: n.cfg.TLS,
			Self: n.identity, Admit: n.admit, Logger: n.log.With("part", "internal port")})
		if err != nil {
			return err
		}
		undo = append(undo, n.port.Close)
		n.client = link.NewClient(n.port, wireErrors)
		undo = append(undo, func() error { n.client.Close(); return nil })
		n.tcp = raftOver(n.port.Stream(), addressBook{n}, newHLogger(n.log, "raft-net"))
		undo = append(undo, func() error { n.tcp.CloseStreams(); return n.tcp.Close() })
		t = n.tcp
	}
	if n.trans, err = keepOpen(t, n.unfit, n); err != nil {
		return err
	}
	n.arriving.Go(func() { n.trans.arrivals.loop(n.endArrivals) })
	undo = append(undo, func() error { close(n.endArrivals); n.arriving.Wait(); return nil })
	if err := n.bootstrap(); err != nil {
		return err
	}
	// Gossip runs before raft, so that raft finds the addresses it has heard.
	if n.cfg.GossipAddr != "" {
		if n.gossip, err = startGossip(n.cfg.GossipAddr, n.cfg.ClusterName, n.cfg.gossipKeys(), n.advertisedIP(), n.self, n.log.With("part", "gossip")); err != nil {
			return err
		}
		undo = append(undo, func() error { return n.gossip.stop(time.Second) })
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n.up.Store(true)
	undo = append(undo, func() error { n.up.Store(false); return nil })
	if n.port != nil {
		n.port.Serve(link.NewServer(n.handlers(), wireErrors, n.log.With("part", "internal port")))
	}
	if err := n.startRun(); err != nil {
		return err
	}
	if n.port != nil {
		n.workers.Go(func() { n.former.loop(n.life) })
	}
	n.workers.Go(func() { n.supervise(n.life) })
	n.workers.Go(func() { n.governor.loop(n.life) })
	if n.gossip != nil && n.cfg.GossipKeys != nil {
		n.workers.Go(func() { n.gossip.keepKeys(n.life, n.cfg.GossipKeys) })
	}
	n.governor.poke()
	n.started = true
	return nil
}

// bootstrap writes the first configuration when neither log nor state have any history.
func (n *Node) bootstrap() error {
	index, _, err := position(n.cfg.Snapshots)
	if err != nil {
		return err
	}
	stable := n.store.Direct()
	has, err := raft.HasExistingState(n.store, stable, n.cfg.Snapshots)
	if err != nil {
		return fmt.Errorf("look for raft state: %w", err)
	}
	if has || index > 0 {
		return nil
	}
	voters := n.cfg.Voters
	if len(voters) == 0 {
		switch {
		case len(n.cfg.Join) > 0:
			return nil // the former sees to it
		case n.cfg.BootstrapExpect != 1:
			return fmt.Errorf("data directory %s holds no cluster and none may be founded or joined: start with --bootstrap-expect 1, or name other nodes with --join", n.cfg.DataDir.Path())
		}
		voters = []raft.Server{{ID: raft.ServerID(n.id), Address: n.trans.LocalAddr()}}
	}
	rc := n.cfg.raftConfig(raft.ServerID(n.id), newHLogger(n.log, "raft"))
	if err := raft.BootstrapCluster(rc, n.store, stable, n.cfg.Snapshots, n.trans, raft.Configuration{Servers: voters}); err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	n.log.Info("founded a new cluster", "voters", len(voters))
	return nil
}

// handlers answers other nodes.
func (n *Node) handlers() map[string]link.Handler {
	here := func(serve Serve) link.Handler {
		return func(ctx context.Context, _ string, body []byte) ([]byte, error) { return serve(ctx, body) }
	}
	all := map[string]link.Handler{methodBatch: n.serveBatch, methodReadIndex: n.serveReadIndex, methodHello: n.serveHello, methodPledge: n.servePledge,
		methodRelease: n.serveRelease, methodJoin: n.serveJoin, methodRemove: here(n.removeHere), methodTransfer: here(n.transferHere)}
	for method, serve := range n.cfg.Serve {
		all[applicationPrefix+method] = here(serve)
	}
	return all
}

// identity is how this node introduces itself. Raft is talked only with the one cluster to which this node belongs or is promised.
func (n *Node) identity(kind link.Kind) link.Identity {
	id := link.Identity{Cluster: n.cfg.ClusterName, ClusterID: n.cfg.DataDir.ClusterID(), NodeID: n.id,
		MinVersion: n.cfg.Versions.Min, MaxVersion: n.cfg.Versions.Max}
	if kind == link.Raft {
		id.ClusterID = n.cfg.DataDir.allegiance()
	}
	return id
}

// admit refuses Raft with a node of which it is not certain that it means the same cluster.
func (n *Node) admit(kind link.Kind, peer link.Identity) error {
	if kind != link.Raft || peer.NodeID == n.id || len(n.cfg.Voters) > 0 {
		return nil
	}
	for id, cluster := range map[string]string{n.id: n.cfg.DataDir.allegiance(), peer.NodeID: peer.ClusterID} {
		if cluster == "" {
			return fmt.Errorf("node %s belongs to no cluster yet", id)
		}
	}
	// A node that missed the raise must not meet entries that it cannot apply.
	return checkMember("node "+peer.NodeID, "", versions(peer), n.machine.inner.ClusterVersion())
}

// advertisedIP is the address that this node should tell others, "" when that is not known as a number.
func (n *Node) advertisedIP() string {
	if n.port == nil {
		return ""
	}
	host, _, _ := net.SplitHostPort(n.port.Advertised())
	if net.ParseIP(host) == nil {
		return ""
	}
	return host
}

// appended is the log store's report of one durable append.
func (n *Node) appended(d time.Duration, entries, bytes int) {
	n.governor.appended(bytes)
	if n.cfg.Observer != nil {
		n.cfg.Observer.StoreLogs(d, entries, bytes)
	}
}

// self is what this node gossips.
func (n *Node) self() Member {
	return Member{ID: n.id, Cluster: n.cfg.DataDir.ClusterID(), RaftAddr: string(n.trans.LocalAddr()),
		HTTPAddr: n.cfg.HTTPAddr, Version: n.cfg.Version, MinVersion: n.cfg.Versions.Min, MaxVersion: n.cfg.Versions.Max}
}

// learnClusterID persists the cluster id as soon as the state has one.
func (n *Node) learnClusterID() error {
	id := n.machine.inner.ClusterID()
	if id == "" {
		return nil
	}
	if err := n.cfg.DataDir.join(id); err != nil {
		return err
	}
	n.joined.Store(true)
	return nil
}

// stateApplied runs on raft's apply goroutine after every batch.
func (n *Node) stateApplied() {
	if n.joined.Load() {
		return
	}
	if err := n.learnClusterID(); err != nil {
		n.log.Error("cluster id could not be stored", "error", err)
		n.problem.Store(err.Error())
		return
	}
	if n.joined.Load() {
		select {
		case n.learned <- struct{}{}:
		default:
		}
	}
}

// Stop hands leadership over if it can, finishes what is in flight and closes everything Start opened. It blocks until
// all is done; ctx bounds only the handing over. Idempotent.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() {
		defer close(n.stopDone)
		n.stopErr = n.stop(ctx)
	})
	<-n.stopDone
	return n.stopErr
}

func (n *Node) stop(ctx context.Context) error {
	n.startOnce.Do(func() {}) // a node that never started cannot start any more
	n.stopped.Store(true)
	if !n.started {
		n.endLife()
		n.proposer.refuse()
		return nil
	}
	var errs []error
	polite, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()

	// Nothing new, and callers with an entry in flight get their answer while raft can still give it. An isolated leader
	// gives it when its lease ends, so this is worth a moment even to an impatient caller.
	flight, land := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	n.proposer.stop(flight)
	land()
	n.changed.fire()
	// Leader services end before the transfer: two leaders must never both run them.
	n.endLife()
	n.workers.Wait() // the supervisor cannot restart raft any more
	r := n.run.Load()
	if r != nil {
		<-r.leadDone
		// A successor takes over at once instead of after an election timeout.
		if polite.Err() == nil && r.raft.State() == raft.Leader && !r.soleVoter(n.id) {
			if err := n.handOver(polite, r); err != nil {
				n.log.Warn("leadership was not handed over", "error", err)
			}
		}
	}
	// The others forget this node's addresses now rather than after suspicion.
	if n.gossip != nil {
		if err := n.gossip.stop(time.Second); err != nil {
			errs = append(errs, err)
		}
	}
	// Raft uses transport and log, so it goes first; the log last, because everything writes to it.
	if r != nil {
		r.shutdown()
		n.run.Store(nil)
	}
	close(n.endArrivals)
	n.arriving.Wait()
	n.reader.rounds.stop()
	n.proposer.work.Wait()
	if n.tcp != nil {
		n.client.Close()
		n.tcp.CloseStreams()
		if err := n.tcp.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close transport: %w", err))
		}
		if err := n.port.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := n.store.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close raft log: %w", err))
	}
	return errors.Join(errs...)
}

// transferTries is how often a stopping leader tries to hand over: its first choice may just have gone too.
const transferTries = 3

// ID is this node's id.
func (n *Node) ID() string { return n.id }

// Propose has the commands applied, in order and in one piece, on whichever node leads, and returns their results and
// the index at which they are visible. The error is ErrNotDone or ErrUnknownOutcome, wrapping the cause. Commands that
// wait together share one log entry. An internal retry never applies them twice.
func (n *Node) Propose(ctx context.Context, commands [][]byte) ([][]byte, uint64, error) {
	return n.proposer.propose(ctx, commands, false, 0)
}

// ProposeBulk is Propose for logs and stored values, at most MaxBulkBytes a call: it goes only when no Propose waits, one
// entry at a time, at most Config.BulkBytesPerSecond.
func (n *Node) ProposeBulk(ctx context.Context, commands [][]byte) ([][]byte, uint64, error) {
	return n.proposer.propose(ctx, commands, true, 0)
}

// ProposeAsLeader is Propose for leader services: never forwarded and never retried. When the epoch is over it fails with
// ErrNotLeader.
func (n *Node) ProposeAsLeader(ctx context.Context, epoch Epoch, commands [][]byte) ([][]byte, uint64, error) {
	if t := n.leading(); t == nil || t.number != epoch.Number {
		return nil, 0, notDone(ErrNotLeader)
	}
	return n.proposer.propose(ctx, commands, false, epoch.Number)
}

// ReadIndex returns an index with which a read is linearizable: the state at that index contains every write that was
// acknowledged, by any node, before the call. Wait for it with WaitApplied. It changes nothing, so every error may be
// retried.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) { return n.reader.readIndex(ctx) }

// Read waits until this node's state may be read linearizably and returns the index it waited for. A state that is known to differ from
// the other nodes' may not be read at all.
func (n *Node) Read(ctx context.Context) (uint64, error) {
	index, err := n.ReadIndex(ctx)
	if err == nil {
		err = n.WaitApplied(ctx, index)
	}
	if err != nil {
		return 0, err
	}
	if text := n.Diverged(); text != "" {
		return 0, errors.New(text)
	}
	return index, nil
}

// WaitApplied returns when this node's state has reached index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	if n.machine.inner.AppliedIndex() >= index {
		return nil
	}
	if err := n.machine.halted(); err != nil {
		return err
	}
	if err := n.machine.inner.WaitApplied(ctx, index); err != nil {
		return fmt.Errorf("wait for index %d: %w", index, err)
	}
	return nil
}

// WaitLeader returns when this node knows a leader that accepts commands.
func (n *Node) WaitLeader(ctx context.Context) error {
	for {
		changed := n.changed.wait()
		_, self, known := n.leader()
		switch {
		case n.stopped.Load():
			return ErrStopped
		case n.halted() != nil:
			return n.halted()
		case n.leading() != nil, known && !self:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a leader: %w", ctx.Err())
		}
	}
}

// Members lists the nodes that gossip has heard of, this one included; none before Start.
func (n *Node) Members() []Member {
	switch {
	case !n.up.Load():
		return nil
	case n.gossip == nil:
		return []Member{n.self()}
	}
	return n.gossip.members()
}

// HoldLog raises the bound of the Raft log until release is called, for a receiver that will need it.
func (n *Node) HoldLog() (release func()) { return n.governor.hold() }
