package fsm

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Whatever a command says, applying it answers a result: only what this binary cannot read may halt the machine.
func FuzzApply(f *testing.F) {
	id := make([]byte, 16)
	for _, c := range []*command.Envelope{
		{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id, Name: "f"}}},
		{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id, FlowId: id}}},
		{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id, DeploymentId: id, FromDeployment: true, ParametersJson: []byte("{")}}},
		{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: id}}},
		{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: id, State: &command.ProposedState{Type: 99}}}},
		{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{FlowRunId: id}}},
		{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: &command.ScheduleRuns{Fires: []*command.ScheduleRuns_Fire{{Time: -1}}}}},
		{Command: &command.Envelope_ClaimRuns{ClaimRuns: &command.ClaimRuns{Wishes: []*command.ClaimRuns_Wish{{Picks: []*command.ClaimRuns_Pick{{}}}}}}},
		{Command: &command.Envelope_WriteLogs{WriteLogs: &command.WriteLogs{Quota: -1, Runs: []*command.WriteLogs_Run{{Logs: []*row.Log{{}}}}}}},
		{Command: &command.Envelope_PutBlobChunk{PutBlobChunk: &command.PutBlobChunk{Chunks: 4_000_000_000}}},
		{Command: &command.Envelope_PutBlobChunk{PutBlobChunk: &command.PutBlobChunk{Chunks: 1}}},
		{Command: &command.Envelope_BuildIndex{BuildIndex: &command.BuildIndex{Index: 77}}},
		{Command: &command.Envelope_UpdateWorkQueue{UpdateWorkQueue: &command.UpdateWorkQueue{HasName: true}}},
	} {
		data, err := command.Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := command.Decode(data, command.Supported()); err != nil {
			return
		}
		m := newMachine(t)
		// Something for the command to meet: objects whose id is all zero.
		m.do(leaderEpoch(1), &command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id, Name: "zero"}}},
			&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: id, FlowId: id, Name: "zero", IsScheduleActive: true, ScheduleJson: []byte("{}")}}},
			&command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: &command.CreateWorkQueue{Id: id, Name: "zero"}}},
			&command.Envelope{Command: &command.Envelope_RegisterAgent{RegisterAgent: &command.RegisterAgent{Id: id}}},
			&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id, DeploymentId: id, FromDeployment: true, State: scheduledNow}}},
			&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: id, FlowRunId: id}}})
		env := new(command.Envelope)
		if err := proto.Unmarshal(data, env); err != nil {
			t.Fatal(err)
		}
		if _, err := command.Encode(env); err != nil {
			return
		}
		entry := m.log(env)
		answer := m.fsm.Apply(entry).(*command.EntryResult)
		if answer.Err != nil && !errors.Is(answer.Err, command.ErrUnknownCommand) {
			t.Fatalf("%T halted the machine: %v", env.Command, answer.Err)
		}
		if err := m.view().Verify(); err != nil {
			t.Fatal(err)
		}
	})
}
