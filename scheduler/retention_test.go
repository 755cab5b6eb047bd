package scheduler

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func micros(d time.Duration) *int64 {
	n := d.Microseconds()
	return &n
}

// setRetention also founds the cluster, if nobody has led yet.
func (r *rig) setRetention(c *command.SetRetention) {
	r.t.Helper()
	if r.epoch == 0 {
		r.start()
		r.stop()
	}
	r.do(&command.Envelope{Command: &command.Envelope_SetRetention{SetRetention: c}})
}

// finished makes a run of a deployment that has completed, with a task run and a line of log.
func (r *rig) finished(deployment api.ID) api.ID {
	r.t.Helper()
	id := r.submit(deployment, time.Hour)
	task := api.NewID()
	r.do(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: task[:], Name: "t", FlowRunId: id[:], TaskKey: "t", DynamicKey: "0"}}})
	r.do(&command.Envelope{Command: &command.Envelope_WriteLogs{WriteLogs: &command.WriteLogs{Quota: 1000, Runs: []*command.WriteLogs_Run{{FlowRunId: id[:],
		Logs: []*row.Log{{Name: "n", Message: "m"}}}}}}})
	r.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: id[:], Force: true,
		State: &command.ProposedState{Type: row.StateType_COMPLETED}}}})
	return id
}

func (r *rig) there(ids ...api.ID) (n int) {
	r.t.Helper()
	for _, id := range ids {
		if r.flowRun(id) != nil {
			n++
		}
	}
	return n
}

// pruned is how many rows of a table went for a reason.
func (r *rig) pruned(reason, table string) (rows int64) {
	r.t.Helper()
	v := r.view()
	defer v.Close()
	policy, err := v.RetentionPolicy()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, n := range policy.GetRemoved() {
		if n.Table == table && n.Reason == reason {
			rows += n.Rows
		}
	}
	return rows
}

func TestRunsGoSoonAfterTheirTimeAndIdleDeploymentsCostNothing(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.setRetention(&command.SetRetention{RunsMaxAge: micros(3 * time.Hour)})
		d, other := r.deployment(nil), r.deployment(nil)
		old := r.finished(d)
		r.start()
		var prunes, notes atomic.Int32 // of the leader's goroutines
		r.inject(func(e *command.Envelope) fault {
			switch e.Command.(type) {
			case *command.Envelope_Prune:
				prunes.Add(1)
			case *command.Envelope_NoteRetentionTime:
				notes.Add(1)
			}
			return none
		})
		r.pass(2 * time.Hour)
		young, alone := r.finished(other), r.finished(api.ID{})
		r.pass(59 * time.Minute)
		if r.there(old, young, alone) != 3 || prunes.Load() != 0 {
			t.Fatalf("%d of 3 runs are there and %d commands were proposed before their time", r.there(old, young, alone), prunes.Load())
		}
		r.pass(2 * time.Minute)
		if r.there(old) != 0 || r.there(young, alone) != 2 || prunes.Load() != 1 {
			t.Fatalf("old %d, young %d, %d commands; want the old one gone by one command", r.there(old), r.there(young, alone), prunes.Load())
		}
		r.pass(2 * time.Hour)
		if r.there(young, alone) != 0 || prunes.Load() != 3 {
			t.Errorf("%d of the younger ones are there after %d commands", r.there(young, alone), prunes.Load())
		}
		if n := notes.Load(); n < 4 || n > 6 {
			t.Errorf("the time was noted %d times in five hours", n)
		}
		for table, want := range map[string]int64{"flow_run": 3, "task_run": 3, "log_segment": 3} {
			if got := r.pruned("age", table); got != want {
				t.Errorf("%d rows of %s were counted, want %d", got, table, want)
			}
		}
	})
}

func TestADeploymentsOwnRulesAndThoseOfAllAreFollowed(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.setRetention(&command.SetRetention{RunsMaxAge: micros(time.Hour), LogsMaxAge: micros(time.Hour)})
		zero := int64(0)
		forEver := r.deployment(func(c *command.PutDeployment) {
			c.HasRetention, c.Retention = true, &row.Retention{Runs: &row.RetentionRule{MaxAge: &zero}}
		})
		three := int64(3)
		some := r.deployment(func(c *command.PutDeployment) {
			c.HasRetention, c.Retention = true, &row.Retention{Runs: &row.RetentionRule{MaxAge: &zero, MaxCount: &three}}
		})
		r.start()
		var kept, counted []api.ID
		for range 5 {
			kept, counted = append(kept, r.finished(forEver)), append(counted, r.finished(some))
		}
		r.pass(5 * time.Minute)
		if r.there(counted...) != 3 || r.there(counted[2:]...) != 3 {
			t.Errorf("%d runs of the deployment that keeps three are there", r.there(counted...))
		}
		r.pass(4 * time.Hour)
		if r.there(kept...) != 5 {
			t.Errorf("%d of 5 runs are there that are kept for ever", r.there(kept...))
		}
		if got := r.pruned("age", "log_segment"); got != 8 {
			t.Errorf("%d batches of log went for their age, want those of the 8 runs", got)
		}
		six := int64(6)
		r.setRetention(&command.SetRetention{MaxTotalRuns: &six})
		r.pass(5 * time.Minute)
		if r.there(kept...)+r.there(counted...) != 6 || r.there(kept[0], kept[1]) != 0 {
			t.Errorf("%d and %d runs are left, want six, without the oldest", r.there(kept...), r.there(counted...))
		}
	})
}

func TestRetentionEndsWhateverLeadersAndProposalsDo(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				hundred := int64(100)
				r.setRetention(&command.SetRetention{RunsMaxAge: micros(time.Hour)})
				d := r.deployment(func(c *command.PutDeployment) {
					c.HasRetention, c.Retention = true, &row.Retention{Runs: &row.RetentionRule{MaxCount: &hundred}}
				})
				var ids []api.ID
				for range 300 {
					ids = append(ids, r.finished(d))
				}
				r.inject(randomly(seed, 1))
				r.start()
				r.pass(61 * time.Second) // in the middle of it
				r.stop()
				r.start()
				r.pass(10 * time.Minute)
				if r.there(ids...) != 100 || r.there(ids[200:]...) != 100 {
					t.Fatalf("%d runs are there, want the newest 100", r.there(ids...))
				}
				young := r.finished(d)
				r.pass(55 * time.Minute)
				r.stop()
				r.start()
				r.pass(4 * time.Minute)
				if r.there(ids...) != 0 || r.there(young) != 1 {
					t.Fatalf("%d runs are there that are too old, and %d that is not", r.there(ids...), r.there(young))
				}
				v := r.view()
				defer v.Close()
				if err := v.Verify(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestAWrongClockDoesNotTakeEverything(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.setRetention(&command.SetRetention{RunsMaxAge: micros(90 * 24 * time.Hour)})
		run := r.finished(r.deployment(nil))
		r.start()
		r.pass(time.Hour)
		// The machine is started again, alone, with a clock that is a year ahead.
		r.stop()
		r.clock = shifted{365 * 24 * time.Hour}
		r.mu.Lock()
		r.ahead = 365 * 24 * time.Hour
		r.mu.Unlock()
		r.start()
		r.pass(20 * time.Hour)
		r.observed.mu.Lock()
		held := r.observed.held
		r.observed.mu.Unlock()
		if r.there(run) != 1 || !held {
			t.Fatalf("the run is there: %d, held back: %t", r.there(run), held)
		}
		// Nobody has objected for a day: it was not the clock, the cluster was off for a year.
		r.pass(6 * time.Hour)
		if r.there(run) != 0 {
			t.Error("the run is still there a day later")
		}
	})
}

type shifted struct{ by time.Duration }

func (s shifted) Now() time.Time { return time.Now().Add(s.by) }

func TestRetentionGoesOnWhenItsWritesAreWelcomeAgain(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.setRetention(&command.SetRetention{RunsMaxAge: micros(time.Hour)})
		run := r.finished(r.deployment(nil))
		r.start()
		r.inject(func(e *command.Envelope) fault {
			if _, is := e.Command.(*command.Envelope_Prune); is {
				return unwelcome
			}
			return none
		})
		r.pass(70 * time.Minute)
		if r.there(run) != 1 {
			t.Fatal("a refused command has removed the run")
		}
		r.inject(nil)
		r.pass(10 * time.Second)
		if r.there(run) != 0 {
			t.Error("the run is still there ten seconds after writes are welcome again")
		}
		synctest.Wait()
	})
}
