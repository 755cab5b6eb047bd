package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/cluster/logstore"
	"github.com/sluice-dev/sluice/fsm/command"
)

// Clock is where the leader's stamps come from.
type Clock interface{ Now() time.Time }

// Observer is told about the node's work, for metrics. Methods are called from hot paths and must not block.
type Observer interface {
	// StoreLogs reports one durable append to the Raft log, fsync included.
	StoreLogs(d time.Duration, entries, bytes int)
	// Commit reports one entry from append to applied, with the commands and bytes packed into it.
	Commit(d time.Duration, commands, bytes int)
	// Apply reports that the state machine applied a batch of entries.
	Apply(d time.Duration, entries int)
	// ReadIndex reports one confirmation of leadership and how many reads shared it.
	ReadIndex(d time.Duration, reads int)
}

// Config says what a node is made of. Fields without a default are required.
type Config struct {
	// DataDir is open and locked by the caller, who closes it after Stop.
	DataDir *DataDir
	// Snapshots reads and installs snapshots of the state machine given to New. Its List returns at most one meta, whose
	// index and term are those of the open database.
	Snapshots raft.SnapshotStore
	// Clock stamps entries. Default the system clock. Danger: a wrong clock on the leader moves schedules and leases.
	Clock Clock
	// MaxClockSkew is how far a node's clock may be from the others' before it may neither join nor lead. Default 30 s. More: a
	// leader may start schedules so much too early or too late.
	MaxClockSkew time.Duration
	// Unfit says why this node should not lead at the moment, "" when it may; asked every second while it leads. May be nil.
	Unfit func() string
	// Observer may be nil.
	Observer Observer

	// ClusterName labels gossip; nodes with another name do not hear each other. Default "sluice".
	ClusterName string
	// Name of the node, for people. Default none.
	Name string
	// Version of the binary, gossiped. Default "dev".
	Version string
	// Versions are the cluster versions in which this node can take part. Default what the binary supports; tests of upgrades set it.
	Versions command.Versions
	// HTTPAddr is the address of this node's API as told to others; informative. Default none.
	HTTPAddr string

	// InternalAddr is host:port of the internal port, which carries Raft and requests between nodes. Default 127.0.0.1:4201. Unused
	// with Transport.
	InternalAddr string
	// InternalAdvertise is the address other nodes use. Default InternalAddr as bound. Required when that is a wildcard.
	InternalAdvertise string
	// GossipAddr is host:port (TCP and UDP) for memberlist; "" runs without gossip. Default "".
	GossipAddr string
	// GossipKeys returns the keys of gossip, each 16, 24 or 32 bytes: the first encrypts what this node says, all decrypt what it
	// hears; who has none of them is not heard. It is asked every second, so that keys are replaced in a running cluster: first the
	// new one is added everywhere, then made the first, then the old one removed. nil, or none at the start: gossip is plain text.
	GossipKeys func() [][]byte
	// Common are settings that should be the same on all nodes, by name; the values must tell no secret. A node whose value differs
	// from the leader's is not taken in, and one that is a member says so (Status.Disagrees). Default none.
	Common map[string]string
	// TLS secures the internal port. nil is plain text. Danger: whoever reaches a plain port can write anything.
	TLS *link.TLS
	// Addresses resolves node ids to Raft addresses before gossip does. May be nil.
	Addresses raft.ServerAddressProvider
	// Transport replaces the TCP transport (tests run several nodes in one process). The caller closes it.
	Transport raft.Transport
	// Forwarder carries requests to a remote leader. Default over the internal port; with Transport there is none, and requests at
	// a follower fail with ErrNoLeader naming the leader.
	Forwarder Forwarder

	// Join are internal addresses (host:port, or host for the usual port) of other nodes; a name stands for all its addresses. A node
	// without a cluster joins the one it finds there; a member finds the others there after a restart.
	Join []string
	// BootstrapExpect is how many voters found a new cluster together, if Join leads to none: the same on all of them. 1, without
	// Join: a node without Raft state founds a cluster of its own. 0: never found one.
	BootstrapExpect int
	// Membership says when the leader changes who votes.
	Membership MembershipPolicy
	// Serve answers what other nodes ask with AskLeader, by method.
	Serve map[string]Serve
	// Voters is the first configuration of a new cluster, identical on all its nodes; it replaces BootstrapExpect.
	Voters []raft.Server

	// EncodeEpoch returns the command that a new leader proposes first: it begins epoch number term, led by nodeID, and
	// stores clusterID unless the state has one already.
	EncodeEpoch func(term uint64, nodeID, clusterID string) []byte
	// EncodeVersion returns the command that raises the cluster version. nil: it is never raised.
	EncodeVersion func(version uint64) []byte
	// EncodeCheckpoint returns the command by which all nodes note the hash of their state. nil: states are not compared.
	EncodeCheckpoint func() []byte
	// CheckpointEntries and CheckpointInterval are after how many entries, and how long after the last while anything is written,
	// states are compared. Default 10000 and 60 s.
	CheckpointEntries  uint64
	CheckpointInterval time.Duration
	// Lead runs the services only a leader runs. It is called once per epoch, after the epoch command was applied, and
	// ctx ends with the epoch; the next epoch waits until it returned. An error before that gives leadership up (a sole
	// voter calls again after EpochRetry). May be nil.
	Lead func(ctx context.Context, epoch Epoch) error
	// EpochRetry is the pause before a failed epoch is tried again. Default 5 s.
	EpochRetry time.Duration

	// Heartbeat is Raft's heartbeat and election timeout. Default 500 ms. Lower: faster failover, more false elections on
	// busy machines. Election takes one to two of them.
	Heartbeat time.Duration
	// Lease is how long a leader that reaches no quorum stays leader. Default 300 ms; at most Heartbeat.
	Lease time.Duration
	// CommitTimeout is how often, at least, an idle leader tells followers the commit index. Default 10 ms. Longer: a write through a
	// follower waits for it, once to twice, unless other writes tell sooner. Shorter: more messages while nothing happens.
	CommitTimeout time.Duration
	// Multiplier scales Heartbeat and Lease for slow machines. Default 1, at most 20.
	Multiplier float64
	// MaxAppendEntries bounds the entries of one replication message. Default 256. Each may hold 256 KiB.
	MaxAppendEntries int

	// SnapshotInterval is how often Raft looks whether to compact. Default 30 s.
	SnapshotInterval time.Duration
	// SnapshotThreshold is how many entries since the last compaction make a new one worthwhile. Default 8192.
	SnapshotThreshold uint64
	// TrailingLogs is how many entries are kept after compaction for slow followers, as far as LogBytes allows. Default
	// 10240. Fewer: followers fetch whole snapshots more often.
	TrailingLogs uint64
	// LogBytes bounds the Raft log. Default 256 MiB. It is raised eightfold while a snapshot is sent.
	LogBytes int64
	// WriteTimeout is how long one log write may take before the node gives up leadership. Default 10 s.
	WriteTimeout time.Duration
	// LogBackend replaces the log's bbolt file, for fault injection.
	LogBackend logstore.Backend

	// LeaderHold is how long a request waits for a leader to be known. Default 5 s.
	LeaderHold time.Duration
	// BulkBytesPerSecond limits ProposeBulk. Default 32 MiB/s. More: run logs may delay state changes.
	BulkBytesPerSecond int64
	// MaxWaitingBytes bounds commands that wait for the log; more are refused. Default 64 MiB.
	MaxWaitingBytes int64
}

// MaxBulkBytes bounds the commands of one ProposeBulk call; bulk entries are no larger, so they never hold up a state
// change for long.
const MaxBulkBytes = 64 << 10

// MaxCommandBytes bounds the commands of one Propose call.
const MaxCommandBytes = 4 << 20

// DefaultName is the name of a cluster that was given none.
const DefaultName = "sluice"

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func or[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c *Config) defaults() {
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	or(&c.ClusterName, DefaultName)
	or(&c.Version, "dev")
	or(&c.Versions, command.Supported())
	or(&c.CheckpointEntries, 10_000)
	or(&c.CheckpointInterval, time.Minute)
	or(&c.InternalAddr, "127.0.0.1:"+DefaultInternalPort)
	c.Membership.defaults()
	or(&c.MaxClockSkew, 30*time.Second)
	or(&c.EpochRetry, 5*time.Second)
	or(&c.Heartbeat, 500*time.Millisecond)
	or(&c.Lease, c.Heartbeat*3/5)
	or(&c.CommitTimeout, 10*time.Millisecond)
	or(&c.Multiplier, 1)
	or(&c.MaxAppendEntries, 256)
	or(&c.SnapshotInterval, 30*time.Second)
	or(&c.SnapshotThreshold, 8192)
	or(&c.TrailingLogs, 10240)
	or(&c.LogBytes, 256<<20)
	or(&c.WriteTimeout, 10*time.Second)
	or(&c.LeaderHold, 5*time.Second)
	or(&c.BulkBytesPerSecond, 32<<20)
	or(&c.MaxWaitingBytes, 64<<20)
}

// Validate reports all problems of c, with defaults filled in.
func (c Config) Validate() error {
	c.defaults()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.DataDir == nil, "DataDir is missing")
	bad(c.Snapshots == nil, "Snapshots is missing")
	bad(c.EncodeEpoch == nil, "EncodeEpoch is missing")
	bad(c.Versions.Min < 1 || c.Versions.Min > c.Versions.Max, "Versions are %d to %d, must begin at 1 or higher and not end before", c.Versions.Min, c.Versions.Max)
	bad(len(c.ClusterName) > 64, "ClusterName %q is longer than 64 bytes", c.ClusterName)
	if c.Transport == nil {
		errs = append(errs, checkAddr("InternalAddr", c.InternalAddr))
		if c.InternalAdvertise != "" {
			errs = append(errs, checkAddr("InternalAdvertise", c.InternalAdvertise))
		}
	}
	if c.GossipAddr != "" {
		errs = append(errs, checkAddr("GossipAddr", c.GossipAddr))
	}
	bad(c.BootstrapExpect < 0, "BootstrapExpect is %d, must not be negative", c.BootstrapExpect)
	bad(c.BootstrapExpect > 1 && len(c.Voters) == 0 && len(c.Join) == 0,
		"BootstrapExpect is %d, but Join names no other node: nodes that found a cluster together must find each other", c.BootstrapExpect)
	bad(c.BootstrapExpect == 1 && len(c.Join) > 0,
		"BootstrapExpect is 1 and Join names other nodes: a node that founds a cluster alone joins none; expect as many as found the cluster together, or 0 to join one")
	bad(len(c.Join) > 0 && c.Transport != nil, "Join needs the internal port, not Transport")
	if c.GossipKeys != nil {
		if err := checkGossipKeys(c.GossipKeys()); err != nil {
			errs = append(errs, err)
		}
	}
	bad(c.Heartbeat < 5*time.Millisecond, "Heartbeat is %s, must be at least 5ms", c.Heartbeat)
	bad(c.Lease < 5*time.Millisecond || c.Lease > c.Heartbeat, "Lease is %s, must be between 5ms and Heartbeat (%s)", c.Lease, c.Heartbeat)
	bad(c.CommitTimeout < time.Millisecond, "CommitTimeout is %s, must be at least 1ms", c.CommitTimeout)
	bad(c.Multiplier < 0.05 || c.Multiplier > 20, "Multiplier is %g, must be between 0.05 and 20", c.Multiplier)
	bad(c.MaxAppendEntries < 1 || c.MaxAppendEntries > 1024, "MaxAppendEntries is %d, must be between 1 and 1024", c.MaxAppendEntries)
	bad(c.SnapshotInterval < 5*time.Millisecond, "SnapshotInterval is %s, must be at least 5ms", c.SnapshotInterval)
	bad(c.LogBytes < 4*command.MaxEntryBytes, "LogBytes is %d, must be at least %d", c.LogBytes, 4*command.MaxEntryBytes)
	bad(c.MaxClockSkew < time.Second, "MaxClockSkew is %s, must be at least 1s", c.MaxClockSkew)
	bad(c.WriteTimeout < 0, "WriteTimeout is %s, must not be negative", c.WriteTimeout)
	bad(c.LeaderHold < 0, "LeaderHold is %s, must not be negative", c.LeaderHold)
	bad(c.BulkBytesPerSecond < MaxBulkBytes, "BulkBytesPerSecond is %d, must be at least %d", c.BulkBytesPerSecond, MaxBulkBytes)
	bad(c.MaxWaitingBytes < MaxCommandBytes, "MaxWaitingBytes is %d, must be at least %d", c.MaxWaitingBytes, MaxCommandBytes)
	return errors.Join(errs...)
}

func checkAddr(field, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s %q is not host:port: %w", field, addr, err)
	}
	return nil
}

// raftConfig is what raft gets.
func (c *Config) raftConfig(id raft.ServerID, logger *hlogger) *raft.Config {
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) * c.Multiplier) }
	rc := raft.DefaultConfig()
	rc.ProtocolVersion = 3
	rc.LocalID = id
	rc.HeartbeatTimeout = scale(c.Heartbeat)
	rc.ElectionTimeout = scale(c.Heartbeat)
	rc.LeaderLeaseTimeout = scale(c.Lease)
	rc.CommitTimeout = c.CommitTimeout
	rc.MaxAppendEntries = c.MaxAppendEntries
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false
	rc.SnapshotInterval = c.SnapshotInterval
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.TrailingLogs = c.TrailingLogs
	rc.NoSnapshotRestoreOnStart = true
	rc.PreVoteDisabled = false
	rc.NoLegacyTelemetry = true
	rc.Logger = logger
	return rc
}
