package httpapi

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
)

func TestOfManyProposalsOfPendingOneIsAccepted(t *testing.T) {
	everywhere(t, checkOfManyProposalsOfPendingOneIsAccepted)
}

func checkOfManyProposalsOfPendingOneIsAccepted(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	for range 5 {
		run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "state": object{"type": "SCHEDULED"}})["id"].(string)
		answers := make([]answer, 20)
		var callers sync.WaitGroup
		for i := range answers {
			callers.Go(func() {
				answers[i] = s.do("POST", "/api/flow_runs/"+run+"/set_state", object{"state": object{"type": "PENDING"}}, "X-PREFECT-API-VERSION", "0.3.1")
			})
		}
		callers.Wait()
		statuses := map[string]int{}
		for _, a := range answers {
			got := a.json(t).(object)
			statuses[fmt.Sprint(a.status, got["status"])]++
		}
		if statuses["201ACCEPT"] != 1 || statuses["200ABORT"] != 19 {
			t.Fatalf("answers are %v", statuses)
		}
		if states := s.do("GET", "/api/flow_run_states/?flow_run_id="+run, nil).json(t).([]any); len(states) != 2 {
			t.Fatalf("%d states were written", len(states))
		}
	}
}

// limited is a set of task runs that compete for the two places of a tag.
type limited struct {
	*stack
	t    *testing.T
	most atomic.Int64 // running at once, as far as anybody looked
}

// live proposes Running until it is accepted, and ends the run unless its flow run has crashed meanwhile.
func (l *limited) live(id string) {
	for {
		a := l.do("POST", "/api/task_runs/"+id+"/set_state", object{"state": object{"type": "RUNNING"}})
		got := a.json(l.t).(object)
		switch got["status"] {
		case "WAIT":
			if details := got["details"].(object); details["delay_seconds"].(float64) < 1 || details["delay_seconds"].(float64) > 30 || details["reason"] != "Concurrency limit for the limited tag has been reached" {
				l.t.Errorf("waits: %s", a.text)
				return
			}
			continue
		case "ABORT": // crashed before it began
			return
		case "ACCEPT":
		default:
			l.t.Errorf("running: %d %s", a.status, a.text)
			return
		}
		break
	}
	if n := l.count(object{"state": object{"type": object{"any_": []string{"RUNNING"}}}}); n > l.most.Load() {
		l.most.Store(n)
	}
	a := l.do("POST", "/api/task_runs/"+id+"/set_state", object{"state": object{"type": "COMPLETED"}})
	if got := a.json(l.t).(object)["status"]; got != "ACCEPT" && got != "ABORT" {
		l.t.Errorf("completed: %d %s", a.status, a.text)
	}
}

func (l *limited) count(filter object) int64 {
	return int64(l.do("POST", "/api/task_runs/count", object{"task_runs": filter}).json(l.t).(float64))
}

func TestATagLimitHoldsThroughCrashes(t *testing.T) { everywhere(t, checkATagLimitHoldsThroughCrashes) }

func checkATagLimitHoldsThroughCrashes(t *testing.T, at place) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := &limited{stack: newStack(t, at), t: t}
	flow := l.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	l.must(200, "POST", "/api/concurrency_limits/", object{"tag": "limited", "concurrency_limit": 2})
	const flowRuns, tasksEach = 10, 5
	tokens := map[string]Token{}
	var order []string
	var tasks []string
	for i := range flowRuns {
		run := l.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "state": object{"type": "RUNNING"}})["id"].(string)
		lease := l.must(201, "POST", "/api/flow_runs/"+run+"/lease", object{"owner": fmt.Sprint("process ", i)})
		tokens[run], order = ParseToken(lease["token"].(string)), append(order, run)
		for k := range tasksEach {
			tasks = append(tasks, l.must(201, "POST", "/api/task_runs/", object{"flow_run_id": run, "task_key": "t", "dynamic_key": fmt.Sprint(k), "tags": []string{"limited", "limited", "other"}})["id"].(string))
		}
	}
	random.Shuffle(len(tasks), func(i, k int) { tasks[i], tasks[k] = tasks[k], tasks[i] })
	var all sync.WaitGroup
	for _, id := range tasks {
		all.Go(func() { l.live(id) })
	}
	// Half of the flow runs crash meanwhile: their owners fall silent.
	for _, i := range random.Perm(flowRuns)[:flowRuns/2] {
		run := order[i]
		_, _, err := l.server.proposer.Propose(t.Context(), &command.Envelope{Seed: newID(), Command: &command.Envelope_ExpireLeases{ExpireLeases: &command.ExpireLeases{
			Expired: []*command.ExpireLeases_Expired{{FlowRunId: mustID(t, run), TokenIndex: tokens[run].Index, TokenOrdinal: tokens[run].Ordinal, Reason: "silent"}}}}})
		if err != nil {
			t.Error(err)
		}
		limit := l.must(200, "GET", "/api/concurrency_limits/tag/limited", nil)
		if n := len(limit["active_slots"].([]any)); n > 2 {
			t.Errorf("%d slots are held", n)
		}
	}
	all.Wait()
	if most := l.most.Load(); most > 2 || most == 0 {
		t.Errorf("%d task runs were running at once", most)
	}
	if n := l.count(object{"state": object{"type": object{"any_": []string{"RUNNING"}}}}); n != 0 {
		t.Errorf("%d task runs are still running", n)
	}
	if slots := l.must(200, "GET", "/api/concurrency_limits/tag/limited", nil)["active_slots"].([]any); len(slots) != 0 {
		t.Errorf("runs that are not running hold slots: %v", slots)
	}
	ended := l.do("POST", "/api/task_runs/filter", nil).json(t).([]any)
	crashed := slices.DeleteFunc(ended, func(r any) bool { return r.(object)["state"].(object)["name"] != "Crashed" })
	t.Logf("%d of %d task runs crashed", len(crashed), len(tasks))
}
