package httpapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// BenchmarkFilter measures lists of 200 and counts over 10,000 flow runs of 10 deployments.
func BenchmarkFilter(b *testing.B) {
	s := newStack(b, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	var deployments [][]byte
	for i := range 10 {
		d := s.must(201, "POST", "/api/deployments/", object{"name": fmt.Sprint(i), "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": ""}, "tags": []string{"t"}})
		deployments = append(deployments, mustID(b, d["id"].(string)))
	}
	types := []row.StateType{row.StateType_COMPLETED, row.StateType_COMPLETED, row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_SCHEDULED}
	now := time.Now().UnixMicro()
	for i := range 100 {
		var commands []*command.Envelope
		for k := range 100 {
			n := i*100 + k
			commands = append(commands, &command.Envelope{Seed: newID(), Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{
				Id: newID(), Name: fmt.Sprintf("run-%d", n), DeploymentId: deployments[n%10], FromDeployment: true,
				State: &command.ProposedState{Type: types[n%5], Details: &row.StateDetails{ScheduledTime: now + int64(n)*1_000_000}},
			}}})
		}
		if _, _, err := s.server.proposer.Propose(b.Context(), commands...); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct{ name, path, body string }{
		{"newest", "filter", `{}`},
		{"by start", "filter", `{"sort":"EXPECTED_START_TIME_DESC"}`},
		{"failed by start", "filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`},
		{"upcoming", "filter", `{"sort":"NEXT_SCHEDULED_START_TIME_ASC","flow_runs":{"state":{"type":{"any_":["SCHEDULED"]}}}}`},
		{"by end", "filter", `{"sort":"END_TIME_DESC"}`},
		{"by tag", "filter", `{"flow_runs":{"tags":{"all_":["t"]}}}`},
		{"count failed", "count", `{"flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if a := s.do("POST", "/api/flow_runs/"+c.path, c.body); a.status != 200 {
					b.Fatal(a.text)
				}
			}
		})
	}
}

func mustID(t testing.TB, s string) []byte {
	t.Helper()
	id, err := api.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id[:]
}
