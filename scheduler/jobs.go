package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

const (
	// jobChunk is how many runs one command of a job acts on, jobRows how many are looked at for it, jobTasks how many task runs
	// may go along when runs are deleted: a few milliseconds of applying.
	jobChunk = 100
	jobRows  = 10_000
	jobTasks = 2000
	// jobsIdle is how long nothing is looked for when no event says that there is a job.
	jobsIdle = time.Hour
)

// jobs does what jobs ask for, a chunk of each in turn. Where a job stands is replicated and goes along with each chunk, so that the
// next leader goes on from there and a chunk whose outcome is in doubt is not done twice.
type jobs struct {
	core   *core
	choose RunChooser
	wake   signal
}

func newJobs(c *core, choose RunChooser) *jobs {
	return &jobs{core: c, choose: choose, wake: newSignal()}
}

func (j *jobs) observe(job *row.Job) {
	if job.Status == row.Job_RUNNING && len(job.Cursor) == 0 { // a new one: those that go on are not waited for
		j.wake.set()
	}
}

func (j *jobs) run(ctx context.Context) error { return j.core.loop(ctx, j.wake, "jobs", j.runOnce) }

// runOnce does one chunk of every job.
func (j *jobs) runOnce(ctx context.Context) (time.Duration, error) {
	active, err := j.active()
	if err != nil {
		return 0, err
	}
	var failed error
	for _, job := range active {
		if err := j.advance(ctx, job); err != nil {
			failed = errors.Join(failed, fmt.Errorf("job %s: %w", id16(job.Id), err))
		}
	}
	if failed != nil || len(active) > 0 {
		return 0, failed
	}
	return jobsIdle, nil
}

func (j *jobs) active() (active []*row.Job, err error) {
	view, err := j.core.view()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	err = view.EachActiveJob(func(job *row.Job) (bool, error) {
		active = append(active, job)
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the jobs: %w", err)
	}
	return active, nil
}

func (j *jobs) advance(ctx context.Context, job *row.Job) error {
	chosen, err := j.next(ctx, job)
	c := &command.AdvanceJob{Id: job.Id, From: job.Cursor, To: chosen.To, LookedAt: chosen.LookedAt, Done: chosen.Done}
	switch {
	case errors.Is(err, ErrBadFilter):
		c.Error, c.To = err.Error(), job.Cursor
	case err != nil:
		return fmt.Errorf("choose runs: %w", err)
	}
	for _, r := range chosen.Runs {
		c.Targets = append(c.Targets, &command.AdvanceJob_Target{FlowRunId: r.Id, StateTimestamp: r.GetState().GetTimestamp()})
	}
	// That the job is at another place or has ended is no error: somebody cancelled it, or an earlier proposal was done after all.
	if _, _, err := j.core.propose(ctx, &command.Envelope{Command: &command.Envelope_AdvanceJob{AdvanceJob: c}}); err != nil {
		return fmt.Errorf("propose: %w", err)
	}
	return nil
}

// next chooses the runs that the job acts on next.
func (j *jobs) next(ctx context.Context, job *row.Job) (Choice, error) {
	view, err := j.core.view()
	if err != nil {
		return Choice{}, err
	}
	defer view.Close()
	var after *api.ID
	if len(job.Cursor) != 0 {
		id := id16(job.Cursor)
		after = &id
	}
	var chosen Choice
	object := id16(job.ObjectId)
	switch job.Action {
	case row.Job_FORGET_DEPLOYMENT:
		chosen, err = wholeOf(view, state.RunWalk{Deployment: &object, After: after})
	case row.Job_FORGET_FLOW:
		chosen, err = wholeOf(view, state.RunWalk{Flow: &object, After: after})
	default:
		chosen, err = j.choose(ctx, view, Wanted{Filter: job.FilterJson, After: after, CreatedBefore: job.Created, Most: jobChunk, Rows: jobRows})
	}
	if err != nil || job.Action != row.Job_DELETE && job.Action != row.Job_FORGET_FLOW {
		return chosen, err
	}
	return light(view, chosen)
}

// wholeOf chooses the next runs of a walk, whatever they are like.
func wholeOf(view View, walk state.RunWalk) (chosen Choice, err error) {
	chosen.Done = true
	err = view.WalkFlowRuns(walk, func(r *row.FlowRun) (bool, error) {
		if len(chosen.Runs) == jobChunk {
			chosen.Done = false
			return false, nil
		}
		chosen.Runs, chosen.To = append(chosen.Runs, r), r.Id
		chosen.LookedAt++
		return true, nil
	})
	return chosen, err
}

// light cuts a choice of runs to be deleted where they would take too many task runs along; one run is always left.
func light(view View, chosen Choice) (Choice, error) {
	tasks := 0
	for i, r := range chosen.Runs {
		err := view.TaskRunsOfFlowRun(id16(r.Id), false, func(*row.TaskRun) (bool, error) {
			tasks++
			return tasks <= jobTasks, nil
		})
		if err != nil {
			return Choice{}, err
		}
		if tasks > jobTasks && i > 0 {
			// What was looked at behind the cut is looked at again.
			return Choice{Runs: chosen.Runs[:i], To: chosen.Runs[i-1].Id, LookedAt: int64(i)}, nil
		}
	}
	return chosen, nil
}
