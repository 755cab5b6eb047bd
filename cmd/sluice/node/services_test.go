package node

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/command"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/scheduler"
)

func TestTheLeadersServicesHeedTheDisk(t *testing.T) {
	t.Parallel()
	guard := &diskGuard{low: 400, log: slog.New(slog.DiscardHandler)}
	p := epochProposer{disk: guard}
	schedule := &command.Envelope{Command: &command.Envelope_ScheduleRuns{}}
	claim := &command.Envelope{Command: &command.Envelope_ClaimRuns{}}
	for name, c := range map[string]struct {
		refused  int64 // the most free space at which they are
		commands []*command.Envelope
	}{
		"new runs":           {refused: 199, commands: []*command.Envelope{schedule}},
		"claims":             {refused: 99, commands: []*command.Envelope{claim}},
		"new runs and more":  {refused: 199, commands: []*command.Envelope{claim, schedule}},
		"forgetting claims":  {refused: 99, commands: []*command.Envelope{{Command: &command.Envelope_PurgeClaims{}}}},
		"forgetting agents":  {refused: 99, commands: []*command.Envelope{{Command: &command.Envelope_DeleteAgent{}}}},
		"building an index":  {refused: 99, commands: []*command.Envelope{{Command: &command.Envelope_BuildIndex{}}}},
		"expiries":           {refused: -1, commands: []*command.Envelope{{Command: &command.Envelope_ExpireLeases{}}}},
		"naming late runs":   {refused: -1, commands: []*command.Envelope{{Command: &command.Envelope_MarkLate{}}}},
		"the epoch's blocks": {refused: -1, commands: blockSpecs(cluster.Epoch{Index: 7})},
	} {
		for _, left := range []int64{1000, 300, 200, 199, 100, 99, 0} {
			guard.left.Store(left)
			err := p.admit(c.commands)
			if refused := err != nil; refused != (left <= c.refused) || refused != errors.Is(err, scheduler.ErrUnwelcome) {
				t.Errorf("%s with %d bytes free: %v", name, left, err)
			}
			if known, ok := errors.AsType[*api.Error](err); err != nil && (!ok || known.Kind != api.KindUnavailable) {
				t.Errorf("%s: callers of the API get %v", name, err)
			}
		}
	}
}

func TestBlockSpecsAreStoredUnderTheirEpoch(t *testing.T) {
	t.Parallel()
	commands := blockSpecs(cluster.Epoch{Number: 3, Index: 7})
	if len(commands) == 0 {
		t.Fatal("there are none")
	}
	for _, c := range commands {
		if c.Epoch != 7 {
			t.Errorf("%v carries the epoch %d", c.GetCreateBlockSpec().GetName(), c.Epoch)
		}
	}
}

func TestANodeWithOneTTL(t *testing.T) {
	t.Parallel()
	n, c := startNode(t, t.TempDir(), func(c *Config) { c.LeaseTTL = 6 * time.Second })
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	flow, err := c.CreateFlow(ctx, api.FlowCreate{Name: "f"})
	must(err)
	deployment, err := c.CreateDeployment(ctx, api.DeploymentCreate{Name: "d", FlowID: flow.ID, FlowData: api.DataDocument{Encoding: "x", Blob: "y"}})
	must(err)
	queue, err := c.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: "q"})
	must(err)
	agent := api.NewID()
	if _, err := c.Heartbeat(ctx, agent, api.Heartbeat{}); !api.IsNotFound(err) || !strings.Contains(err.Error(), "Agent not found") {
		t.Errorf("a heartbeat of an agent that is not registered: %v", err)
	}
	registered, err := c.RegisterAgent(ctx, api.AgentRegister{ID: agent, Name: "a", Hostname: "h"})
	must(err)
	beat, err := c.Heartbeat(ctx, agent, api.Heartbeat{})
	must(err)
	if registered.TTLSeconds.Std() != 6*time.Second || registered.HeartbeatSeconds.Std() != 2*time.Second || beat.HeartbeatSeconds.Std() != 2*time.Second {
		t.Errorf("registered with %+v, the heartbeat answered %+v", registered, beat)
	}
	run, err := c.RunDeployment(ctx, deployment.ID, api.DeploymentFlowRunCreate{State: &api.StateCreate{Type: api.Scheduled}})
	must(err)
	claimed, err := c.Claim(ctx, agent, api.Claim{WorkQueueIDs: []api.ID{queue.ID}, Limit: 1, WaitSeconds: api.Duration(20 * time.Second), ClaimID: api.NewID()})
	must(err)
	if len(claimed.Grants) != 1 || claimed.Grants[0].FlowRun.ID != run.ID {
		t.Fatalf("claimed %+v", claimed)
	}
	view, err := n.fsm.View()
	must(err)
	defer view.Close()
	if r, err := view.FlowRun(run.ID); err != nil || r.GetLease().GetTtl() != (6*time.Second).Microseconds() {
		t.Errorf("the lease granted is %v, %v", r.GetLease(), err)
	}
}

func TestAClaimNamesQueuesDeletedWhileItWaits(t *testing.T) {
	t.Parallel()
	n, c := startNode(t, t.TempDir())
	ctx := t.Context()
	agent := api.NewID()
	if _, err := c.RegisterAgent(ctx, api.AgentRegister{ID: agent, Name: "a", Hostname: "h"}); err != nil {
		t.Fatal(err)
	}
	var queues []api.ID
	for _, name := range []string{"one", "two"} {
		q, err := c.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		queues = append(queues, q.ID)
	}
	for _, deleted := range queues {
		type answer struct {
			claimed *api.Claimed
			err     error
		}
		answered := make(chan answer, 1)
		go func() {
			claimed, err := c.Claim(ctx, agent, api.Claim{WorkQueueIDs: queues, Limit: 1, WaitSeconds: api.Duration(2 * time.Second), ClaimID: api.NewID()})
			answered <- answer{claimed, err}
		}()
		waitFor(t, "the claim waits", func() bool { // no event tells
			for _, q := range n.services.scheduler.Stats().Queues {
				if q.Waiting == 0 {
					return false
				}
			}
			return true
		})
		if err := c.DeleteWorkQueue(ctx, deleted); err != nil {
			t.Fatal(err)
		}
		got := <-answered
		if deleted == queues[0] && (got.err != nil || len(got.claimed.MissingQueues) != 1 || got.claimed.MissingQueues[0] != deleted) {
			t.Errorf("one of two queues is gone: %+v, %v", got.claimed, got.err)
		}
		if deleted == queues[1] && (!api.IsNotFound(got.err) || !strings.Contains(got.err.Error(), "work queue not found")) {
			t.Errorf("both queues are gone: %+v, %v", got.claimed, got.err)
		}
	}
}

func TestAFullDiskLetsANodeLeadButHandOutNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var agent, queue api.ID
	t.Run("with room", func(t *testing.T) {
		_, c := startNode(t, dir)
		ctx := t.Context()
		q, err := c.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: "q"})
		if err != nil {
			t.Fatal(err)
		}
		agent, queue = api.NewID(), q.ID
		if _, err := c.RegisterAgent(ctx, api.AgentRegister{ID: agent, Name: "a", Hostname: "h"}); err != nil {
			t.Fatal(err)
		}
		flow, err := c.CreateFlow(ctx, api.FlowCreate{Name: "f"})
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.CreateDeployment(ctx, api.DeploymentCreate{Name: "d", FlowID: flow.ID, FlowData: api.DataDocument{Encoding: "x", Blob: "y"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.RunDeployment(ctx, d.ID, api.DeploymentFlowRunCreate{State: &api.StateCreate{Type: api.Scheduled}}); err != nil {
			t.Fatal(err)
		}
	})
	n, _ := startNode(t, dir, func(c *Config) { c.DiskLowWater = 1 << 62 })
	_, err := n.services.Claim(t.Context(), httpapi.Demand{AgentID: agent, ClaimID: api.NewID(), Queues: []api.ID{queue}, Limit: 1, Wait: 20 * time.Second})
	if known, ok := errors.AsType[*api.Error](err); !ok || known.Kind != api.KindUnavailable || !strings.Contains(known.Message, "nearly full") {
		t.Errorf("a claim on a full disk: %v", err)
	}
}

// waitFor polls for what no event tells.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("in vain: " + what)
		}
	}
}
