// Package node wires one server node together: data directory, state, Raft, the leader's services and the HTTP API. It is
// the one place where those packages meet; commands and tests start it.
package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/cluster/logstore"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/ui"
)

// Config says what a node is made of.
type Config struct {
	// DataDir holds everything the node stores; created when missing.
	DataDir string
	// Name is for people; default the host's name.
	Name string
	// Listener is where the HTTP API is served. The node closes it.
	Listener *net.TCPListener
	// HTTPTLS names certificate and key of the API; nil is plain HTTP.
	HTTPTLS *CertificateFiles
	// InternalAddr is host:port of Raft, GossipAddr of gossip; port 0 is the kernel's choice. GossipAddr "" is no gossip.
	InternalAddr, GossipAddr string
	// InternalAdvertise is the internal address that other nodes use; "" is InternalAddr as bound.
	InternalAdvertise string
	// ClusterName keeps clusters apart that share a network; "" is the default one.
	ClusterName string
	// Join are internal addresses of other nodes; BootstrapExpect is how many nodes found a new cluster together, 1 alone, 0 not at all.
	Join            []string
	BootstrapExpect int
	// TLS names the files that secure the internal port; nil is plain text. GossipKeyFile holds the keys that encrypt gossip, if set; it
	// is read again when it changes.
	TLS           *link.Files
	GossipKeyFile string
	// Secrets are the keys that encrypt blocks.
	Secrets SecretKeys
	// Version of the binary, for people.
	Version string
	// Versions are the cluster versions in which the node can take part; the default is what the binary supports. Only tests of
	// upgrades set it, to run a node as another release would be.
	Versions command.Versions
	// DiskLowWater is the free space, in bytes, below which logs are refused; at half of it new runs are, at a quarter
	// every write. Default 256 MiB. Lower: a full disk stops the node without warning.
	DiskLowWater int64
	// LogQuota is how many bytes of logs a flow run may store; default 10 MiB.
	LogQuota int64
	// LogBytes bounds the Raft log; 0 is the cluster's default.
	LogBytes int64
	// Membership says which nodes the leader takes out by itself: none, by default.
	Membership cluster.MembershipPolicy
	// Snapshots are saved regularly, if a directory is named.
	Snapshots SnapshotSchedule
	// WebhookAllowPrivate lets webhooks reach private and loopback addresses.
	WebhookAllowPrivate bool
	// Retention is what a new cluster begins with, and how often the leader looks for what may go.
	Retention RetentionDefaults
	// LeaseTTL is how long an owner of a run may be silent before its lease expires. Default 12 s.
	LeaseTTL time.Duration
	// DrainDelay is how long Drain goes on serving after this node said that it is not ready: as long as load balancers take to notice.
	DrainDelay time.Duration
	// BasePath is where a proxy has the API and the web interface, like /sluice; "" is the root.
	BasePath string
	// Access says who may use the API. Its zero value is everybody who reaches it.
	Access Access
	Logger *slog.Logger

	// Clock and LogBackend replace the system's clock and the file of the Raft log, for fault injection.
	Clock      cluster.Clock
	LogBackend logstore.Backend

	// RecentLog holds the node's last log lines, and Settings where each of its settings comes from, without secrets, for the debug
	// bundle. Both may be nil.
	RecentLog *RecentLog
	Settings  map[string]Setting
}

// RetentionDefaults are the first rules of a new cluster; ages of 0 are for ever. They are changed by the API.
type RetentionDefaults struct {
	RunsMaxAge, LogsMaxAge time.Duration
	Every                  time.Duration // default one minute
}

// DefaultRetention is how long finished runs and logs are kept unless somebody says otherwise.
const DefaultRetention = 90 * 24 * time.Hour

// Setting is a setting of the process and its source.
type Setting struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}

// plain is the settings without where they come from.
func plain(settings map[string]Setting) map[string]string {
	values := make(map[string]string, len(settings))
	for name, s := range settings {
		values[name] = s.Value
	}
	return values
}

// ErrDamaged is returned by Start for a data directory whose files have been changed by something else.
var ErrDamaged = errors.New("the data directory is damaged")

func damaged(err error) error {
	if errors.Is(err, logstore.ErrDamaged) || errors.Is(err, pebblekv.ErrDamaged) || errors.Is(err, snapshot.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Node is one running server node.
type Node struct {
	config    Config
	log       *slog.Logger
	dataDir   *cluster.DataDir
	holder    *snapshot.Holder
	fsm       *fsm.FSM
	cluster   *cluster.Node
	services  *services
	snapshots *snapshots
	scheduled *scheduledSnapshots // nil without a directory
	secrets   *secrets
	disk      *diskGuard
	http      *httpapi.Server
	activity  *activity
	access    *accessKeeper
	tls       *link.TLS   // nil: plain text between nodes
	apiTLS    *tls.Config // nil: plain HTTP
	registry  *prometheus.Registry
	started   time.Time
	left      chan struct{} // closed when this node has left its cluster
	leaveOnce sync.Once
	stopOnce  sync.Once
	stopErr   error
}

// Start opens the data directory and starts everything. The node serves HTTP at once; WaitReady tells when it can answer.
func Start(ctx context.Context, c Config) (_ *Node, err error) {
	if c.DiskLowWater == 0 {
		c.DiskLowWater = 256 << 20
	}
	if c.Versions == (command.Versions{}) {
		c.Versions = command.Supported()
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = 12 * time.Second
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	c.Access.AuditKeep, c.Access.AuditAge = cmp.Or(c.Access.AuditKeep, 200_000), cmp.Or(c.Access.AuditAge, 365*24*time.Hour)
	if c.Name == "" {
		if host, err := os.Hostname(); err == nil {
			c.Name = host
		}
	}
	n := &Node{config: c, log: c.Logger, started: time.Now(), left: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if n.dataDir, err = cluster.OpenDataDir(c.DataDir); err != nil {
		return nil, err
	}
	keys, err := openSecretKeys(c.Secrets, c.DataDir, c.BootstrapExpect == 1 && len(c.Join) == 0, c.Logger)
	if err != nil {
		return nil, err
	}
	n.secrets = newSecrets(n, keys)
	if n.disk, err = newDiskGuard(c.DataDir, c.DiskLowWater, c.Logger); err != nil {
		return nil, err
	}
	applyLock := new(sync.Mutex)
	n.holder, err = snapshot.Open(snapshot.Config{DataDir: c.DataDir, KV: pebblekv.Options{Logger: c.Logger}, ApplyLock: applyLock,
		Describe: n.describeState, Admit: n.admitState, AdmitInfo: n.admitInfo, Logger: c.Logger})
	if err != nil {
		return nil, fmt.Errorf("open the state: %w", damaged(err))
	}
	n.disk.stopped = func() bool { return errors.Is(n.fsm.Halted(), pebblekv.ErrFailed) }
	if n.fsm, err = fsm.New(stateStorage{n.holder}, applyLock, c.Logger, fsm.WithVersions(c.Versions), fsm.WithRelease(c.Version), fsm.WithOnVersion(n.raiseFormat)); err != nil {
		return nil, fmt.Errorf("open the state machine: %w", err)
	}
	if c.HTTPTLS != nil {
		if n.apiTLS, err = c.HTTPTLS.serve(c.Logger); err != nil {
			return nil, err
		}
	}
	registry := prometheus.NewRegistry()
	n.registry = registry
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if n.services, err = newServices(n, registry); err != nil {
		return nil, err
	}
	metrics := newRaftMetrics(registry)
	n.snapshots = newSnapshots(n)
	config := cluster.Config{
		DataDir: n.dataDir, Snapshots: n.snapshots.store, Observer: metrics, Version: c.Version,
		HTTPAddr: c.Listener.Addr().String(), InternalAddr: c.InternalAddr, GossipAddr: c.GossipAddr, BootstrapExpect: c.BootstrapExpect,
		EncodeEpoch: encodeEpoch(c.Versions, c.Name), EncodeVersion: encodeVersion, EncodeCheckpoint: encodeCheckpoint, Versions: c.Versions,
		Lead: n.services.lead, Serve: n.serve(), Name: c.Name, ClusterName: c.ClusterName, InternalAdvertise: c.InternalAdvertise,
		Join: c.Join, Common: c.common(), Clock: c.Clock, LogBackend: c.LogBackend, LogBytes: c.LogBytes, Unfit: n.disk.unfit, Membership: c.Membership,
	}
	if c.GossipKeyFile != "" {
		keys, err := openGossipKeys(c.GossipKeyFile, c.Logger)
		if err != nil {
			return nil, err
		}
		config.GossipKeys = keys.Current
	}
	if c.TLS != nil {
		if config.TLS, err = link.LoadTLS(*c.TLS, cmp.Or(c.ClusterName, cluster.DefaultName), c.Logger); err != nil {
			return nil, err
		}
		n.tls = config.TLS
	}
	n.cluster, err = cluster.New(config, n.fsm, c.Logger)
	if err != nil {
		return nil, fmt.Errorf("configure the cluster: %w", err)
	}
	registry.MustRegister(newStatusMetrics(n), n.secrets, &retentionMetrics{n.fsm.View, n.log})
	n.http, err = httpapi.New(httpapi.Config{
		Proposer: proposer{n.cluster, n.disk, metrics}, Reader: reader{n.cluster, n.fsm}, Claims: n.services, Events: n.fsm.Events(), Health: n, Secrets: n.secrets, Cluster: members{n}, Snapshots: n.snapshots,
		Logger: c.Logger, Registry: registry, Version: c.Version, Settings: plain(c.Settings), LeaseTTL: c.LeaseTTL, LogQuota: c.LogQuota, TLS: n.apiTLS,
		UI: ui.Files(), BasePath: c.BasePath, Tokens: n.tokens(), AllowOrigins: c.Access.AllowOrigins, GuardHost: c.Access.GuardHost,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the HTTP API: %w", err)
	}
	n.activity = &activity{TCPListener: c.Listener}
	n.activity.touch()
	n.http.Start(n.activity)
	n.disk.start()
	n.access = newAccessKeeper(n, proposer{n.cluster, n.disk, metrics})
	if err = n.cluster.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the cluster: %w", damaged(err))
	}
	if c.Snapshots.Dir != "" {
		n.scheduled = newScheduledSnapshots(c.Snapshots, n.dataDir.NodeID(), n.snapshots, c.Clock.Now, registry, c.Logger)
		if err = n.scheduled.start(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// serve is what this node answers other nodes.
func (n *Node) serve() map[string]cluster.Serve {
	all := n.services.serve()
	all[methodReport], all[methodDebug] = n.serveReport, n.serveDebug
	maps.Copy(all, n.snapshots.serve())
	return all
}

// WaitReady returns when a leader accepts commands and, if this node is the leader, it hands out work and has stored what every
// cluster has.
func (n *Node) WaitReady(ctx context.Context) error {
	if err := n.cluster.WaitLeader(ctx); err != nil {
		return fmt.Errorf("wait for a leader: %w", err)
	}
	if !n.cluster.Status().Leading {
		return nil
	}
	select {
	case <-n.services.serving:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the leader's services: %w", ctx.Err())
	}
}

// Building reports whether an index is being filled with what an older version stored; lists are refused until it is.
func (n *Node) Building() bool { return n.fsm.Building() }

// Idle reports whether nothing has used the API for d and no run is executed.
func (n *Node) Idle(d time.Duration) bool {
	if n.activity.since() < d {
		return false
	}
	view, err := n.fsm.View()
	if err != nil {
		return false
	}
	defer view.Close()
	executed := false
	err = view.LeasedFlowRuns(func(*row.FlowRun) (bool, error) {
		executed = true
		return false, nil
	})
	return err == nil && !executed
}

// Repaired receives when a full disk had stopped the state machine and there is room again: the node should be stopped and
// started anew.
func (n *Node) Repaired() <-chan struct{} { return n.disk.repaired }

// Left is closed when the node was told to leave its cluster: it should be stopped.
func (n *Node) Left() <-chan struct{} { return n.left }

// Failed receives why the API is no longer served, when that ended by itself.
func (n *Node) Failed() <-chan error { return n.http.Failed() }

// Addr returns the address on which the API is served.
func (n *Node) Addr() string { return n.config.Listener.Addr().String() }

// Drain lets clients turn to other nodes before Stop: this one is not ready any more, answers the long polls and ends the streams
// that wait, hands the leadership over, and serves on for Config.DrainDelay or until ctx ends. A node without others does not wait.
func (n *Node) Drain(ctx context.Context) {
	status := n.cluster.Status()
	if status.Voters < 2 {
		return
	}
	n.log.Info("draining: other nodes take over", "delay", n.config.DrainDelay)
	n.http.Drain()
	delay := time.NewTimer(n.config.DrainDelay)
	defer delay.Stop()
	if status.State == "leader" {
		handing, cancel := context.WithTimeout(ctx, handOver)
		defer cancel()
		if err := n.cluster.TransferLeadership(handing, ""); err != nil {
			n.log.Warn("the leadership was not handed over yet", "error", err) // Stop tries again
		}
	}
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
}

// handOver bounds one attempt of a draining leader to make another node lead.
const handOver = 5 * time.Second

// Stop ends the node in the order in which its parts need each other. It is idempotent and returns when nothing runs any
// more; ctx bounds the wait for requests that are being answered.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() { n.stopErr = n.stop(ctx) })
	return n.stopErr
}

func (n *Node) stop(ctx context.Context) error {
	var errs []error
	step := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	// Readiness goes first and streams end, so that clients turn to other nodes while this one still answers.
	if n.http != nil {
		step("stop the HTTP API", n.http.Stop(ctx))
	} else {
		step("close the listener", n.config.Listener.Close())
	}
	if n.access != nil {
		n.access.stop()
	}
	if n.services != nil {
		n.services.stop()
	}
	if n.scheduled != nil {
		n.scheduled.stop()
	}
	// The leader's services end with the leadership that the cluster gives away.
	if n.cluster != nil {
		step("stop the cluster", n.cluster.Stop(ctx))
	}
	// After the cluster, which ends a restore that waits for the other nodes.
	if n.snapshots != nil {
		step("give up a staged snapshot", n.snapshots.stop())
	}
	if n.disk != nil {
		n.disk.stop()
	}
	// Raft no longer applies: views may be closed, then the store under them.
	if n.fsm != nil {
		step("close the state machine", n.fsm.Close())
	}
	if n.holder != nil {
		step("close the state", n.holder.Close())
	}
	// The lock on the directory is the last thing to give up.
	if n.dataDir != nil {
		step("unlock the data directory", n.dataDir.Close())
	}
	return errors.Join(errs...)
}

const (
	// lagLimit is how many entries a node that serves reads may be behind what it knows to be committed.
	lagLimit = 1000
	// silenceLimit is how long a follower that serves may have heard nothing of its leader.
	silenceLimit = 5 * time.Second
)

// Checks implements httpapi.Health.
func (n *Node) Checks(context.Context) []httpapi.Check {
	s := n.cluster.Status()
	leader := httpapi.Check{Name: "leader", OK: s.Leader.ID != "", Text: s.Leader.ID}
	switch {
	case !leader.OK:
		leader.Text = "none is known"
	case s.State == "follower" && time.Since(s.LastContact) > silenceLimit:
		leader.OK, leader.Text = false, fmt.Sprintf("%s was last heard of at %s", s.Leader.ID, s.LastContact.UTC().Format(time.RFC3339))
	}
	state := httpapi.Check{Name: "state", OK: s.CommitIndex <= s.AppliedIndex+lagLimit, Text: fmt.Sprintf("applied %d of %d", s.AppliedIndex, s.CommitIndex)}
	if err := n.fsm.Halted(); err != nil {
		state.OK, state.Text = false, err.Error()
	}
	if s.Diverged != "" {
		state.OK, state.Text = false, s.Diverged
	}
	checks := []httpapi.Check{leader, n.disk.check(), state, n.secrets.check()}
	if c, none := n.firstTokenCheck(s.Disagrees); none {
		checks = append(checks, c)
	}
	if len(s.Disagrees) > 0 {
		// Which node has what is for those who may ask for the health: nobody needs a token for this.
		checks = append(checks, httpapi.Check{Name: "settings", OK: true, Warning: true,
			Text: "not the same on all nodes: " + strings.Join(s.Disagrees, ", ") + "; `sluice cluster health` says where"})
	}
	for _, p := range s.Problems {
		if p == s.Diverged || s.Halted != nil && p == s.Halted.Error() {
			continue // it is what the state's check says
		}
		checks = append(checks, httpapi.Check{Name: "raft", Text: p})
	}
	return checks
}

func encodeEpoch(supported command.Versions, name string) func(term uint64, nodeID, clusterID string) []byte {
	return func(term uint64, nodeID, clusterID string) []byte {
		return encodeOwn(&command.Envelope{Actor: "node " + nodeID, Command: &command.Envelope_LeaderEpoch{
			LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: nodeID, NodeName: name, ClusterId: clusterID, ClusterVersion: uint32(supported.Min)}}})
	}
}

func encodeVersion(version uint64) []byte {
	return encodeOwn(&command.Envelope{Actor: "server", Command: &command.Envelope_RaiseVersion{RaiseVersion: &command.RaiseVersion{Version: uint32(version)}}})
}

func encodeCheckpoint() []byte {
	return encodeOwn(&command.Envelope{Actor: "server", Command: &command.Envelope_Checkpoint{Checkpoint: &command.Checkpoint{}}})
}

// encodeOwn encodes a command of the cluster itself: numbers and short texts, which always encode.
func encodeOwn(e *command.Envelope) []byte {
	seed := api.NewID()
	e.Seed = seed[:]
	data, err := command.Encode(e)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", e.Command, err))
	}
	return data
}

// stateStorage is the state's holder as the state machine wants it.
type stateStorage struct{ *snapshot.Holder }

func (s stateStorage) Acquire() (kv.Store, func()) {
	h := s.Holder.Acquire()
	return h.Store, h.Release
}

var (
	_ fsm.Storage          = stateStorage{}
	_ cluster.StateMachine = (*fsm.FSM)(nil)
	_ raft.BatchingFSM     = (*fsm.FSM)(nil)
	_ io.Closer            = (*fsm.FSM)(nil)
	_ httpapi.Health       = (*Node)(nil)
)
