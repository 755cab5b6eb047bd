package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/state"
	httpapi "github.com/sluice-dev/sluice/http"
)

// proposer turns commands into bytes for the cluster and its errors into the API's.
type proposer struct {
	cluster *cluster.Node
	disk    *diskGuard
	metrics *raftMetrics
}

func (p proposer) Propose(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	kind := diskNoWrites
	for _, c := range commands {
		switch c.Command.(type) {
		case *command.Envelope_CreateFlowRun, *command.Envelope_CreateTaskRun, *command.Envelope_CreateFlow, *command.Envelope_PutDeployment:
			kind = diskNoNew
		}
	}
	if err := p.disk.admit(kind); err != nil {
		return nil, 0, err
	}
	return p.observe(ctx, laneState, p.cluster.Propose, commands)
}

func (p proposer) ProposeBulk(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	if err := p.disk.admit(diskNoBulk); err != nil {
		return nil, 0, err
	}
	return p.observe(ctx, laneBulk, p.cluster.ProposeBulk, commands)
}

func (p proposer) observe(ctx context.Context, lane string, send send, commands []*command.Envelope) ([]*command.Result, uint64, error) {
	began := time.Now()
	results, index, err := propose(ctx, p.cluster, send, commands)
	p.metrics.proposed(lane, began, err)
	return results, index, err
}

// send is one of the cluster's ways to propose.
type send func(context.Context, [][]byte) ([][]byte, uint64, error)

func propose(ctx context.Context, c *cluster.Node, send send, commands []*command.Envelope) ([]*command.Result, uint64, error) {
	needed := uint64(0)
	for _, c := range commands {
		needed = max(needed, command.Requires(c))
	}
	// A version that was applied here stays: whoever appends the command later has it behind itself in the log.
	if err := c.CheckVersion(ctx, needed); err != nil {
		return nil, 0, &api.Error{Kind: api.KindConflict, Message: err.Error(), Hint: "upgrade every node, or remove those that are lost: sluice cluster members"}
	}
	encoded := make([][]byte, len(commands))
	for i, c := range commands {
		data, err := command.Encode(c)
		if err != nil {
			kind := api.KindInvalid
			if errors.Is(err, command.ErrTooLarge) {
				kind = api.KindTooLarge
			}
			return nil, 0, &api.Error{Kind: kind, Message: err.Error()}
		}
		encoded[i] = data
	}
	answers, index, err := send(ctx, encoded)
	if err != nil {
		return nil, 0, proposalError(err)
	}
	results := make([]*command.Result, len(answers))
	for i, a := range answers {
		if results[i], err = command.DecodeResult(a); err != nil {
			return nil, 0, &api.Error{Kind: api.KindUnknownOutcome, Message: "the write was applied, but its result cannot be read"}
		}
	}
	return results, index, nil
}

func proposalError(err error) error {
	switch {
	case errors.Is(err, cluster.ErrUnknownOutcome):
		return &api.Error{Kind: api.KindUnknownOutcome, Message: "the write may or may not have been done: " + err.Error(),
			Hint: "look at the object before you repeat the request"}
	case errors.Is(err, cluster.ErrTooLarge):
		return &api.Error{Kind: api.KindTooLarge, Message: err.Error()}
	default:
		return &api.Error{Kind: api.KindUnavailable, Message: "the write was not done: " + strings.TrimPrefix(err.Error(), cluster.ErrNotDone.Error()+": "),
			Hint: "repeat the request; sluice cluster health says what is wrong"}
	}
}

// lagPatience is how long a stale read waits for this node to reach the index its client has seen.
const lagPatience = 250 * time.Millisecond

// reaches reports whether this node's state contains the entry at index, now or in a moment.
func (r reader) reaches(ctx context.Context, index uint64) bool {
	if index <= r.fsm.AppliedIndex() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lagPatience)
	defer cancel()
	return r.cluster.WaitApplied(ctx, index) == nil
}

// errBuilding is why nothing is read after an upgrade that brought a new index, until it is filled.
var errBuilding = errors.New("an index that this version needs is being built")

// reader opens views that are as fresh as asked.
type reader struct {
	cluster *cluster.Node
	fsm     *fsm.FSM
}

func (r reader) View(ctx context.Context, consistency httpapi.Consistency, minIndex uint64) (*state.View, uint64, error) {
	unavailable := func(err error) error {
		return &api.Error{Kind: api.KindUnavailable, Message: "this node cannot answer a read now: " + err.Error(),
			Hint: "repeat the request; sluice cluster health says what is wrong (?consistency=stale reads what this node has)"}
	}
	if text := r.cluster.Diverged(); text != "" {
		return nil, 0, &api.Error{Kind: api.KindUnavailable, Message: "this node cannot answer a read: " + text, Hint: "ask another node"}
	}
	if r.fsm.Building() {
		return nil, 0, unavailable(errBuilding)
	}
	if consistency == httpapi.Stale && !r.reaches(ctx, minIndex) {
		// This node lags, or the index comes from a cluster that had another history, as after its data was replaced.
		consistency = httpapi.Linearizable
	}
	if consistency == httpapi.Linearizable {
		// Every index this cluster has given out lies before the point read at, so the least index needs no further look.
		if _, err := r.cluster.Read(ctx); err != nil {
			return nil, 0, unavailable(err)
		}
	}
	view, err := r.fsm.View()
	if err != nil {
		return nil, 0, fmt.Errorf("open a view of the state: %w", err)
	}
	return view, view.Index(), nil
}
