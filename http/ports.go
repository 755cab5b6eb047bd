package httpapi

import (
	"context"
	"io"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// Proposer orders commands. Results stand in the order of the commands; index is that of the entry that holds the last one.
// Errors are *api.Error: KindUnavailable says surely not done, KindUnknownOutcome that nobody knows. The commands are encoded
// before the call returns and may be reused after it.
type Proposer interface {
	Propose(ctx context.Context, commands ...*command.Envelope) (results []*command.Result, index uint64, err error)
	// ProposeBulk is Propose for logs and values of the built-in store: it goes behind every waiting state command.
	ProposeBulk(ctx context.Context, commands ...*command.Envelope) (results []*command.Result, index uint64, err error)
}

// Consistency says how fresh a read must be.
type Consistency uint8

const (
	// Linearizable reads see every write that was acknowledged before they began, on any node.
	Linearizable Consistency = iota
	// Stale reads see what this node has applied.
	Stale
)

// Reader opens views of the replicated state.
type Reader interface {
	// View returns a consistent view that contains at least the entry at minIndex, and the index it stands at. The caller
	// closes it. Errors are *api.Error of KindUnavailable.
	View(ctx context.Context, consistency Consistency, minIndex uint64) (view *state.View, index uint64, err error)
}

// Token fences a lease: it only grows.
type Token struct {
	Index   uint64
	Ordinal uint32
}

// Demand is what one agent asks for.
type Demand struct {
	AgentID api.ID
	ClaimID api.ID
	Queues  []api.ID
	Limit   int
	Wait    time.Duration
}

// Granted is the answer to a demand.
type Granted struct {
	Grants  []*row.Grant
	Missing []api.ID // queues that do not exist any more
	// Draining says that nothing is granted to the agent until it is called back.
	Draining bool
	// Index is where the grants can be read.
	Index uint64
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
	Cancelling []api.ID // held, but somebody asked for their cancellation
}

// AgentPresence is when an agent was last heard from, and whether that is recent enough.
type AgentPresence struct {
	LastSeen time.Time // zero: not since the present leader took over
	Live     bool
	Asking   bool // a claim of it waits for work
}

// Presence is what the leader remembers of heartbeats.
type Presence struct {
	Agents map[api.ID]AgentPresence
	// Renewed holds, by flow run, when its lease was last renewed.
	Renewed map[api.ID]time.Time
}

// Claims hands out work and keeps leases alive, on whichever node leads.
type Claims interface {
	// Claim waits until something is granted or the demand's wait has passed (no grants, no error).
	Claim(ctx context.Context, demand Demand) (Granted, error)
	// Renew counts as a sign of life of the leases and, unless its id is nil, of the agent.
	Renew(ctx context.Context, agentID api.ID, leases []HeldLease) (Renewed, error)
	// Presence reports on these flow runs' leases and on all agents.
	Presence(ctx context.Context, flowRuns ...api.ID) (Presence, error)
}

// Events is the in-order event buffer of this node; *watch.Buffer is one.
type Events interface {
	Subscribe(topics watch.Topic) *watch.Subscription
	SubscribeAfter(topics watch.Topic, after watch.Cursor) (*watch.Subscription, error)
}

// Secrets encrypts what blocks and webhooks hold before it is proposed, and decrypts it for those who may see it. Errors are *api.Error.
type Secrets interface {
	// Seal encrypts the data of the block with that id under the first key that all members have.
	Seal(ctx context.Context, block api.ID, data []byte) (sealed []byte, err error)
	// Open returns a block's data in clear, however it is stored.
	Open(block *row.Block) (data []byte, err error)
	// Keys says which keys there are, who has them, and what is encrypted with them.
	Keys(ctx context.Context, view *state.View) (api.SecretKeys, error)
	// Reseal makes the next step of encrypting all blocks and webhooks' secrets under the first key that all members have; nil: nothing is to be done.
	Reseal(ctx context.Context, view *state.View) (*command.ResealSecrets, api.Resealed, error)
}

// Check is one condition of being ready.
type Check struct {
	Name string
	OK   bool
	// Warning says that something is to be done though the node serves; only with OK.
	Warning bool
	Text    string // for people
}

// Mark is how the check's line begins.
func (c Check) Mark() string {
	switch {
	case !c.OK:
		return "[-]"
	case c.Warning:
		return "[!]"
	}
	return "[+]"
}

// Health knows whether this node can serve.
type Health interface {
	Checks(ctx context.Context) []Check
}

// SavedSnapshot is a stream of a whole state, of Bytes bytes, as it was at Index.
type SavedSnapshot struct {
	Stream io.ReadCloser
	Bytes  int64
	Index  uint64
}

// Snapshots saves and replaces the whole state, for operators. Errors are *api.Error.
type Snapshots interface {
	// Save opens a snapshot of this node's state, which contains everything acknowledged before if consistency says so.
	Save(ctx context.Context, consistency Consistency) (SavedSnapshot, error)
	// Stage has the leader receive a snapshot of size bytes (-1: unknown) and verify it; one of another cluster only if foreign allows
	// it or there is nothing to lose. It changes no state, and gives up what was staged before.
	Stage(ctx context.Context, r io.Reader, size int64, foreign bool) (api.StagedSnapshot, error)
	// Restore makes a staged snapshot the state of the cluster. missed says what becomes of runs that fell due since.
	Restore(ctx context.Context, id api.ID, missed string) (api.RestoredSnapshot, error)
	// Discard gives a staged snapshot up; it may be gone already.
	Discard(ctx context.Context, id api.ID) error
}

// Cluster is the membership of the cluster, for operators. Errors are *api.Error.
type Cluster interface {
	// Describe says who belongs to the cluster and how each is.
	Describe(ctx context.Context) api.Cluster
	// Health asks all members how they are and judges.
	Health(ctx context.Context) api.ClusterHealth
	// DebugBundle writes a compressed tar of what support needs, from all members that answer, calling flush after each file.
	DebugBundle(ctx context.Context, w io.Writer, flush func()) error
	// TransferLeadership makes the node with that id lead, "" the one closest behind.
	TransferLeadership(ctx context.Context, to string) error
	// RemoveMember takes a node out.
	RemoveMember(ctx context.Context, id string) error
	// Leave takes this node out and has it stop soon afterwards.
	Leave(ctx context.Context) error
}
