package scheduler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// chooseByPrefix understands filters that are the beginning of the runs' names.
func chooseByPrefix(_ context.Context, view View, w Wanted) (chosen Choice, err error) {
	if string(w.Filter) == "unreadable" {
		return Choice{}, fmt.Errorf("%w: as the test wants", ErrBadFilter)
	}
	chosen.Done = true
	err = view.WalkFlowRuns(state.RunWalk{After: w.After}, func(r *row.FlowRun) (bool, error) {
		if len(chosen.Runs) == w.Most || chosen.LookedAt == int64(w.Rows) {
			chosen.Done = false
			return false, nil
		}
		chosen.To = r.Id
		chosen.LookedAt++
		if strings.HasPrefix(r.Name, string(w.Filter)) && r.Created <= w.CreatedBefore {
			chosen.Runs = append(chosen.Runs, r)
		}
		return true, nil
	})
	return chosen, err
}

func (r *rig) job(action row.Job_Action, filter string) api.ID {
	r.t.Helper()
	id := api.NewID()
	r.do(&command.Envelope{Actor: "ann", Command: &command.Envelope_CreateJob{CreateJob: &command.CreateJob{Id: id[:], Action: action, FilterJson: []byte(filter)}}})
	return id
}

func (r *rig) jobRow(id api.ID) *row.Job {
	r.t.Helper()
	v := r.view()
	defer v.Close()
	j, err := v.Job(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return j
}

func (r *rig) statesOf(run api.ID) (names []string) {
	r.t.Helper()
	v := r.view()
	defer v.Close()
	states, err := v.FlowRunStates(run)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range states {
		names = append(names, s.Name)
	}
	return names
}

func TestAJobSurvivesFaultsAndLeadersAndActsOnEachRunOnce(t *testing.T) {
	t.Parallel()
	const seed = 7
	within(t, func(r *rig) {
		r.start()
		d := r.deployment(nil)
		var runs []api.ID
		for range 450 {
			run := r.submit(d, time.Hour)
			r.force(run, row.StateType_FAILED)
			runs = append(runs, run)
		}
		r.inject(randomly(seed, 0))
		job := r.job(row.Job_RETRY, "run")
		r.pass(time.Microsecond) // a run of the same moment counts as made before
		later := r.submit(d, time.Hour)
		r.force(later, row.StateType_FAILED)
		for range 20 {
			r.pass(700 * time.Millisecond)
			r.stop()
			r.start()
		}
		r.inject(nil)
		r.pass(10 * time.Second)
		j := r.jobRow(job)
		if j.Status != row.Job_COMPLETED || j.Done != int64(len(runs)) || j.Refused != 0 {
			r.t.Errorf("the job is %v, for %d runs", j, len(runs))
		}
		for _, run := range runs {
			if got := strings.Join(r.statesOf(run), " "); got != "Scheduled Failed AwaitingRetry" {
				r.t.Errorf("run %s went through %s", run, got)
			}
		}
		if got := strings.Join(r.statesOf(later), " "); got != "Scheduled Failed" {
			r.t.Errorf("a run that was made after the job went through %s", got)
		}
	})
}

// force forces a state on a run that waits.
func (r *rig) force(run api.ID, t row.StateType) {
	r.t.Helper()
	r.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: run[:], State: &command.ProposedState{Type: t}, Force: true}}})
}

func TestAJobWhoseFilterCannotBeReadFails(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.start()
		job := r.job(row.Job_CANCEL, "unreadable")
		r.pass(time.Second)
		if j := r.jobRow(job); j.Status != row.Job_FAILED || !strings.Contains(j.Error, "as the test wants") {
			r.t.Errorf("the job is %v", j)
		}
	})
}

func TestTheRestOfALargeDeletionIsDone(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.start()
		d := r.deployment(nil)
		for range 1001 {
			r.submit(d, time.Hour)
		}
		kept := r.submit(d, time.Hour)
		r.force(kept, row.StateType_RUNNING)
		r.do(&command.Envelope{Command: &command.Envelope_DeleteDeployment{DeleteDeployment: &command.Delete{Id: d[:]}}})
		r.pass(time.Second)
		if left := r.runs(d); len(left) != 0 {
			r.t.Errorf("%d runs are left of the deployment", len(left))
		}
		if run := r.flowRun(kept); run == nil || len(run.DeploymentId) != 0 {
			r.t.Errorf("the run that was under way is %v", run)
		}
		r.pass(15 * time.Minute) // until no claim of before must be forgotten any more
		index := r.machine.AppliedIndex()
		r.pass(30 * time.Minute)
		if got := r.machine.AppliedIndex(); got != index {
			r.t.Errorf("%d entries were written without a job", got-index)
		}
	})
}

func TestRunsWithManyTaskRunsAreDeletedFewAtATime(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		d := r.deployment(nil)
		for range 3 {
			run := r.submit(d, time.Hour)
			for n := range jobTasks / 2 {
				id := api.NewID()
				r.do(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: id[:], FlowRunId: run[:], TaskKey: "k", DynamicKey: fmt.Sprint(n)}}})
			}
		}
		var sizes []int
		r.interpose(func(e *command.Envelope, apply func()) {
			if c := e.GetAdvanceJob(); c != nil {
				sizes = append(sizes, len(c.Targets))
			}
			apply()
		})
		job := r.job(row.Job_DELETE, "run")
		r.start()
		r.pass(time.Second)
		if fmt.Sprint(sizes) != "[2 1]" || r.jobRow(job).Done != 3 || r.jobRow(job).LookedAt != 3 {
			r.t.Errorf("commands deleted %v runs; the job is %v", sizes, r.jobRow(job))
		}
	})
}
