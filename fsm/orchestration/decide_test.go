package orchestration

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	now    = int64(1_700_000_000_000_000)
	second = int64(1_000_000)
)

func at(t row.StateType, name string, scheduled int64) *row.State {
	if name == "" {
		name = DefaultName(t)
	}
	return &row.State{Type: t, Name: name, Timestamp: now - 10*second, Details: &row.StateDetails{ScheduledTime: scheduled}}
}

func proposal(t row.StateType, force bool) Proposal {
	return Proposal{State: &row.State{Id: []byte("proposed"), Type: t, Name: DefaultName(t), Timestamp: now, Details: &row.StateDetails{}}, Force: force}
}

const (
	scheduled = row.StateType_SCHEDULED
	pending   = row.StateType_PENDING
	running   = row.StateType_RUNNING
	completed = row.StateType_COMPLETED
	failedT   = row.StateType_FAILED
	cancelled = row.StateType_CANCELLED
)

func TestFlowRunRules(t *testing.T) {
	t.Parallel()
	free := Run{}
	owned := Run{HasLease: true}
	owner := Run{HasLease: true, TokenShown: true, TokenIsGood: true}
	stale := Run{HasLease: true, TokenShown: true}
	for _, c := range []struct {
		fact     string
		run      Run
		current  *row.State
		proposed Proposal
		status   Status
		reason   string
		delay    int64
	}{
		{"a new run takes any state", free, nil, proposal(running, false), Accept, "", 0},
		{"a pending run starts", free, at(pending, "", 0), proposal(running, false), Accept, "", 0},
		{"a running run may report running again", free, at(running, "", 0), proposal(running, false), Accept, "", 0},
		{"a running run may become pending again", free, at(running, "", 0), proposal(pending, false), Accept, "", 0},
		{"a pending run may complete", free, at(pending, "", 0), proposal(completed, false), Accept, "", 0},
		{"a running run may be scheduled again", free, at(running, "", 0), proposal(scheduled, false), Accept, "", 0},
		{"a completed run stays so", free, at(completed, "", 0), proposal(running, false), Abort, ReasonTerminal, 0},
		{"a failed run does not fail twice", free, at(failedT, "", 0), proposal(failedT, false), Abort, ReasonTerminal, 0},
		{"a cancelled run stays so", free, at(cancelled, "", 0), proposal(completed, false), Abort, ReasonTerminal, 0},
		{"force alone does not replace a terminal state", free, at(completed, "", 0), proposal(failedT, true), Abort, ReasonTerminal, 0},
		{"a scheduled run waits for its time", free, at(scheduled, "", now+999*second), proposal(pending, false), Wait, ReasonTooEarly, 999},
		{"a delay is rounded up", free, at(scheduled, "", now+1), proposal(pending, false), Wait, ReasonTooEarly, 1},
		{"a scheduled run whose time has come is taken", free, at(scheduled, "", now), proposal(pending, false), Accept, "", 0},
		{"a late run is taken", free, at(scheduled, NameLate, now-60*second), proposal(pending, false), Accept, "", 0},
		{"waiting concerns every proposed type", free, at(scheduled, "", now+5*second), proposal(completed, false), Wait, ReasonTooEarly, 5},
		{"force does not wait", free, at(scheduled, "", now+5*second), proposal(running, true), Accept, "", 0},
		{"a second agent does not get a pending run", free, at(pending, "", 0), proposal(pending, false), Abort, ReasonPending, 0},
		{"nobody but the owner starts an owned run", owned, at(pending, "", 0), proposal(running, false), Abort, ReasonOwned, 0},
		{"an operator may end an owned run", owned, at(running, "", 0), proposal(cancelled, false), Accept, "", 0},
		{"the owner starts its run", owner, at(pending, "", 0), proposal(running, false), Accept, "", 0},
		{"the owner gives its run back", owner, at(pending, "", 0), proposal(scheduled, false), Accept, "", 0},
		{"who lost the lease completes nothing", stale, at(running, "", 0), proposal(completed, false), Abort, ReasonLeaseLost, 0},
		{"who lost the lease forces nothing", stale, at(running, "", 0), proposal(failedT, true), Abort, ReasonLeaseLost, 0},
		{"a repeated last report reads as in Orion", Run{TokenShown: true}, at(completed, "", 0), proposal(completed, false), Abort, ReasonTerminal, 0},
		{"a run being cancelled does not go on", owner, at(running, NameCancelling, 0), proposal(running, false), Abort, ReasonCancelling, 0},
		{"a run being cancelled ends", owner, at(running, NameCancelling, 0), proposal(cancelled, false), Accept, "", 0},
	} {
		t.Run(c.fact, func(t *testing.T) {
			t.Parallel()
			c.run.State = c.current
			check(t, DecideFlowRun(c.run, c.proposed), c.status, c.reason, c.delay)
		})
	}
	t.Run("force replaces a terminal state when asked explicitly", func(t *testing.T) {
		t.Parallel()
		p := proposal(running, true)
		p.ReplaceTerminal = true
		check(t, DecideFlowRun(Run{State: at(failedT, "", 0)}, p), Accept, "", 0)
	})
}

func check(t *testing.T, d Decision, status Status, reason string, delay int64) {
	t.Helper()
	if d.Status != status || d.Reason != reason || d.DelaySeconds != delay {
		t.Fatalf("got status %d, reason %q, delay %d; want %d, %q, %d", d.Status, d.Reason, d.DelaySeconds, status, reason, delay)
	}
	if writes := status == Accept || status == Reject; writes != (d.State != nil) {
		t.Fatalf("status %d with state %v: exactly Accept and Reject write one", status, d.State)
	}
}

func TestTaskRunRules(t *testing.T) {
	t.Parallel()
	withKey := proposal(running, false)
	withKey.State.Details.CacheKey = proto.String("k")
	hit := &row.State{Id: []byte("cached"), Type: completed, Name: "Completed", Timestamp: now - second, Message: proto.String("was 42"),
		Data: &row.Data{Encoding: "json", Blob: "42"}, Details: &row.StateDetails{CacheKey: proto.String("k"), CacheExpiration: now + second}}

	t.Run("a valid cache entry answers in place of running", func(t *testing.T) {
		t.Parallel()
		d := DecideTaskRun(Run{State: at(pending, "", 0)}, withKey, hit, nil)
		check(t, d, Reject, ReasonCached, 0)
		if d.State.Type != completed || d.State.Name != NameCached || d.State.GetMessage() != "was 42" || d.State.Data.Blob != "42" || d.State.Timestamp != now || string(d.State.Id) != "proposed" {
			t.Fatalf("substitute is %v", d.State)
		}
	})
	t.Run("even a terminal run can become Cached, for the cache comes first", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(failedT, "", 0)}, withKey, hit, nil), Reject, ReasonCached, 0)
	})
	t.Run("without an entry the run starts", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(pending, "", 0)}, withKey, nil, nil), Accept, "", 0)
	})
	t.Run("a full limit makes the run wait 30 s", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(pending, "", 0)}, proposal(running, false), nil, []Limit{{"limited", 2, 2, false}}),
			Wait, "Concurrency limit for the limited tag has been reached", 30)
	})
	t.Run("a limit counts the others only: its own slot does not block a run", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(running, "", 0), RunCount: 1}, proposal(running, false), nil, []Limit{{"limited", 1, 1, true}}), Accept, "", 0)
	})
	t.Run("a limit of 0 aborts", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(pending, "", 0)}, proposal(running, false), nil, []Limit{{"a", 1, 1, false}, {"b", 0, 0, false}}),
			Abort, `The concurrency limit on tag "b" is 0 and will deadlock if the task tries to run again.`, 0)
	})
	t.Run("a failure within max_retries awaits its retry", func(t *testing.T) {
		t.Parallel()
		failure := proposal(failedT, false)
		failure.State.Message = proto.String("boom")
		d := DecideTaskRun(Run{State: at(running, "", 0), RunCount: 2, MaxRetries: 2, RetryDelay: 1.5}, failure, nil, nil)
		check(t, d, Reject, ReasonRetrying, 0)
		if d.State.Type != scheduled || d.State.Name != NameAwaitingRetry || d.State.Details.ScheduledTime != now+3*second/2 || d.State.GetMessage() != "boom" {
			t.Fatalf("substitute is %v", d.State)
		}
	})
	t.Run("the last failure stands", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(running, "", 0), RunCount: 3, MaxRetries: 2}, proposal(failedT, false), nil, nil), Accept, "", 0)
	})
	t.Run("a second run of AwaitingRetry is named Retrying, of anything else Rerunning", func(t *testing.T) {
		t.Parallel()
		d := DecideTaskRun(Run{State: at(scheduled, NameAwaitingRetry, now-1), RunCount: 1}, proposal(running, false), nil, nil)
		check(t, d, Accept, "", 0)
		if d.State.Name != NameRetrying {
			t.Fatalf("named %q", d.State.Name)
		}
		if d = DecideTaskRun(Run{State: at(pending, "", 0), RunCount: 1}, proposal(running, false), nil, nil); d.State.Name != NameRerunning {
			t.Fatalf("named %q", d.State.Name)
		}
	})
	t.Run("a retry waits for its time", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(scheduled, NameAwaitingRetry, now+2*second), RunCount: 1}, proposal(running, false), nil, nil), Wait, ReasonTooEarly, 2)
	})
	t.Run("pending may be reported again, as NotReady is", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(pending, "", 0)}, proposal(pending, false), nil, nil), Accept, "", 0)
	})
	t.Run("force skips the rules, except that a terminal state stays", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(pending, "", 0)}, proposal(running, true), hit, []Limit{{"a", 1, 1, false}}), Accept, "", 0)
		check(t, DecideTaskRun(Run{State: at(completed, "", 0)}, proposal(failedT, true), nil, nil), Abort, ReasonTerminal, 0)
	})
	t.Run("who lost the flow run's lease reports nothing", func(t *testing.T) {
		t.Parallel()
		check(t, DecideTaskRun(Run{State: at(running, "", 0), TokenShown: true}, proposal(completed, false), nil, nil), Abort, ReasonLeaseLost, 0)
	})
}

func TestProgress(t *testing.T) {
	t.Parallel()
	state := func(t row.StateType, at int64, scheduledTime int64) *row.State {
		return &row.State{Type: t, Name: DefaultName(t), Timestamp: at * second, Details: &row.StateDetails{ScheduledTime: scheduledTime * second}}
	}
	t.Run("an ordinary life", func(t *testing.T) {
		t.Parallel()
		p := Progress{}.Record(state(scheduled, 1, 5)).Record(state(pending, 6, 0)).Record(state(running, 7, 0)).Record(state(completed, 9, 0))
		want := Progress{State: p.State, RunCount: 1, ExpectedStartTime: 5 * second, StartTime: 7 * second, EndTime: 9 * second, TotalRunTime: 2 * second}
		if p != want {
			t.Fatalf("got %+v, want %+v", p, want)
		}
	})
	t.Run("a run that never ran has no end", func(t *testing.T) {
		t.Parallel()
		if p := (Progress{}).Record(state(pending, 1, 0)).Record(state(failedT, 2, 0)); p.EndTime != 0 || p.ExpectedStartTime != second {
			t.Fatalf("got %+v", p)
		}
	})
	t.Run("leaving a terminal state clears the end and keeps the start", func(t *testing.T) {
		t.Parallel()
		p := Progress{}.Record(state(running, 1, 0)).Record(state(failedT, 2, 0)).Record(state(running, 5, 0))
		if p.EndTime != 0 || p.StartTime != second || p.RunCount != 2 || p.TotalRunTime != second {
			t.Fatalf("got %+v", p)
		}
	})
	t.Run("only a scheduled run has a next start", func(t *testing.T) {
		t.Parallel()
		p := Progress{}.Record(state(scheduled, 1, 5))
		if p.NextScheduledStartTime != 5*second {
			t.Fatalf("got %+v", p)
		}
		if p = p.Record(state(pending, 6, 0)); p.NextScheduledStartTime != 0 {
			t.Fatalf("got %+v", p)
		}
	})
	t.Run("Cancelling is no start", func(t *testing.T) {
		t.Parallel()
		cancelling := state(running, 3, 0)
		cancelling.Name = NameCancelling
		if p := (Progress{}).Record(state(running, 1, 0)).Record(cancelling); p.RunCount != 1 || p.TotalRunTime != 2*second {
			t.Fatalf("got %+v", p)
		}
	})
}

func TestQueueFilters(t *testing.T) {
	t.Parallel()
	run := &row.FlowRun{DeploymentId: []byte("d"), Tags: []string{"a", "b"}, FlowRunner: &row.FlowRunner{Type: proto.String("subprocess")}}
	for fact, c := range map[string]struct {
		filter *row.QueueFilter
		want   bool
	}{
		"an absent filter takes all":               {nil, true},
		"tags must all be there":                   {&row.QueueFilter{HasTags: true, Tags: []string{"a", "c"}}, false},
		"further tags do not matter":               {&row.QueueFilter{HasTags: true, Tags: []string{"b"}}, true},
		"an empty list of tags takes all":          {&row.QueueFilter{HasTags: true}, true},
		"an empty list of deployments takes none":  {&row.QueueFilter{HasDeploymentIds: true}, false},
		"a named deployment is taken":              {&row.QueueFilter{HasDeploymentIds: true, DeploymentIds: [][]byte{[]byte("d")}}, true},
		"an empty list of runner types takes none": {&row.QueueFilter{HasFlowRunnerTypes: true}, false},
		"another runner type is not taken":         {&row.QueueFilter{HasFlowRunnerTypes: true, FlowRunnerTypes: []string{"docker"}}, false},
	} {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			if got := Matches(c.filter, run); got != c.want {
				t.Fatalf("got %t", got)
			}
		})
	}
	if Matches(nil, &row.FlowRun{}) {
		t.Fatal("a run without a deployment matches no queue")
	}
	if zero := int32(0); HasRoom(&row.WorkQueue{ConcurrencyLimit: &zero}, 0) {
		t.Fatal("a limit of 0 takes nothing")
	}
}
