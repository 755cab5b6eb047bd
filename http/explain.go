package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// situation is what decides whether a flow run goes on.
type situation struct {
	run     *row.FlowRun
	queues  []queueSituation // all of them
	now     time.Time
	renewed time.Time // when the run's lease was last renewed; zero: not known
	// deployment is what limits the run beside its queues; nil: nothing.
	deployment *api.ExplainLimit
	// tags are full limits that task runs of the run wait for.
	tags []api.ExplainLimit
}

type queueSituation struct {
	queue      *row.WorkQueue
	inUse      int
	liveAgents []string // names of agents that serve it
	draining   []string // names of live agents that would, but are drained
	// free says that one of them asks for work, or might: not all are known to be busy.
	free    bool
	busy    int                 // how many runs they execute
	holders []api.ExplainHolder // runs that occupy its slots, some of them
}

// explain says why a run is where it is and what would change that. It is pure.
func explain(s situation) api.Explanation {
	run := s.run
	e := api.Explanation{FlowRunID: idOf(run.Id), StateType: stateTypeOf(run.GetState().GetType()), StateName: run.GetState().GetName(), Reasons: []api.ExplainItem{}}
	switch {
	case terminal(run.GetState().GetType()):
		e.Reasons = append(e.Reasons, item(api.ExplainTerminal, "The run has ended: "+describe(run.State)+".", "Make a new run with the same parameters.",
			"sluice flow-run rerun "+e.FlowRunID.String()))
		if run.State.Type != row.StateType_COMPLETED && len(run.DeploymentId) > 0 {
			e.Reasons[0].Unblock = "Try it again, or make a new run with the same parameters (sluice flow-run rerun)."
			e.Reasons[0].Command = "sluice flow-run retry " + e.FlowRunID.String()
		}
	case run.Lease != nil:
		e.Reasons = append(s.tagLimits(), s.owned())
		e.Waiting = len(e.Reasons) > 1
	case run.GetState().GetType() == row.StateType_SCHEDULED:
		e.Waiting = true
		e.Reasons = s.scheduled()
	case run.GetState().GetType() == row.StateType_PENDING && run.State.Timestamp == run.Created:
		e.Waiting = true
		e.Reasons = append(e.Reasons, item(api.ExplainPendingWithoutSchedule,
			"The run was created Pending, without a scheduled time: no agent takes such a run. Only the process that created it can start it.",
			"Create the run with a state of type SCHEDULED, as `sluice deployment run` does, or cancel this one."))
	default:
		e.Reasons = append(e.Reasons, item(api.ExplainOwnerWithoutExpiry,
			fmt.Sprintf("The run is %s, reported by a client that holds no lease. Nobody would notice if that client had died.", run.GetState().GetName()),
			"If the client is gone, cancel the run with `sluice flow-run cancel`.", "sluice flow-run cancel "+e.FlowRunID.String()))
		if waits := s.tagLimits(); len(waits) > 0 {
			e.Waiting, e.Reasons = true, append(waits, e.Reasons...)
		}
	}
	e.Summary = e.Reasons[0].Message
	return e
}

// item makes a reason; the command is the next one to type, if there is one.
func item(code, message, unblock string, command ...string) api.ExplainItem {
	return api.ExplainItem{Code: code, Message: message, Unblock: unblock, Command: strings.Join(command, "")}
}

// tagLimits tells the limits that task runs of a run that goes on wait for.
func (s situation) tagLimits() (reasons []api.ExplainItem) {
	for _, l := range s.tags {
		reason := item(api.ExplainTagLimitFull,
			fmt.Sprintf("Task run '%s' waits for the concurrency limit on tag '%s': %d of %d slots are in use%s.", l.TaskRun.Name, l.Name, l.InUse, l.Limit, heldBy(l.Holders, l.InUse)),
			fmt.Sprintf("Wait until one of them ends, or raise the limit: sluice concurrency-limit create %s N", argument(l.Name)),
			fmt.Sprintf("sluice concurrency-limit inspect %s", argument(l.Name)))
		reason.Limit = &l
		reasons = append(reasons, reason)
	}
	return reasons
}

// heldBy names some of those who occupy slots.
func heldBy(holders []api.ExplainHolder, all int) string {
	if len(holders) == 0 {
		return ""
	}
	names := make([]string, len(holders))
	for i, h := range holders {
		names[i] = h.Name
	}
	text := ", by '" + strings.Join(names, "', '") + "'"
	if more := all - len(holders); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// limited tells which limit beside those of the queues keeps the run, nil when none does. Limits of further kinds belong here.
func (s situation) limited() []api.ExplainItem {
	l := s.deployment
	if l == nil || l.InUse < l.Limit {
		return nil
	}
	text, remedy := fmt.Sprintf("Its deployment '%s' may have %d runs at a time, and has %d%s.", l.Name, l.Limit, l.InUse, heldBy(l.Holders, l.InUse)),
		"Wait until one of them ends, or raise the deployment's concurrency limit."
	if l.Kind == api.LimitOverlap {
		text = fmt.Sprintf("Runs that the schedules of its deployment '%s' make must not overlap, and one goes on%s.", l.Name, heldBy(l.Holders, l.InUse))
		remedy = "Wait until it ends, or allow the runs to overlap."
	}
	reason := item(api.ExplainDeploymentFull, text, remedy, "sluice flow-run ls --state Running --deployment "+idOf(s.run.DeploymentId).String())
	reason.Limit = l
	return []api.ExplainItem{reason}
}

func describe(s *row.State) string {
	if s.GetMessage() == "" {
		return s.GetName()
	}
	return s.GetName() + " (" + s.GetMessage() + ")"
}

func (s situation) owned() api.ExplainItem {
	lease := s.run.Lease
	text := fmt.Sprintf("The run is %s and owned by %s", s.run.GetState().GetName(), or(lease.Owner, "a process without a name"))
	seen := s.renewed
	if seen.IsZero() {
		seen = time.UnixMicro(lease.Granted)
		text += ", whose lease was granted " + ago(s.now, seen)
	} else {
		text += ", which was last heard from " + ago(s.now, seen)
	}
	reason := item(api.ExplainOwned, text+".",
		fmt.Sprintf("Nothing is needed: if its owner falls silent, the run is taken from it after %s.", time.Duration(lease.Ttl)*time.Microsecond))
	reason.LastSeen = new(api.At(seen))
	return reason
}

// scheduled goes through what must hold before an agent takes the run.
func (s situation) scheduled() []api.ExplainItem {
	var reasons []api.ExplainItem
	due := time.UnixMicro(s.run.NextScheduledStartTime)
	waiting := s.run.NextScheduledStartTime != 0 && due.After(s.now)
	if waiting {
		code, text := api.ExplainNotDue, "The run is due in %s, at %s."
		if s.run.GetState().GetName() == orchestration.NameAwaitingRetry {
			code, text = api.ExplainRetryScheduled, "The run is tried again in %s, at %s."
		}
		reason := item(code, fmt.Sprintf(text, due.Sub(s.now).Round(time.Second), due.UTC().Format("2006-01-02 15:04:05 UTC")), "Wait until then, or start another run now with `sluice flow-run rerun`.",
			"sluice flow-run rerun "+idOf(s.run.Id).String())
		reason.Due = new(api.At(due))
		reasons = append(reasons, reason)
	}
	blocked := s.blocked()
	if waiting && len(blocked) == 1 && blocked[0].Code == api.ExplainReady {
		return reasons
	}
	return append(reasons, blocked...)
}

// blocked says what keeps a due run from being claimed; the one reason "ready" when nothing does.
func (s situation) blocked() []api.ExplainItem {
	if len(s.run.DeploymentId) == 0 {
		return []api.ExplainItem{item(api.ExplainNoDeployment, "The run belongs to no deployment, and work queues serve runs of deployments only.",
			"Create a deployment of the flow and run that.")}
	}
	reasons := s.limited()
	limited := len(reasons) > 0
	var near []string
	var nearest nearestQueue
	matching := 0
	for _, q := range s.queues {
		if !orchestration.Matches(q.queue.Filter, s.run) {
			near = append(near, fmt.Sprintf("'%s' wants %s", q.queue.Name, wants(q.queue.Filter)))
			nearest.offer(q.queue, s.run)
			continue
		}
		matching++
		reason := queueReason(q)
		if reason.Code == api.ExplainReady {
			if limited {
				return reasons[:1]
			}
			return []api.ExplainItem{reason}
		}
		reasons = append(reasons, reason)
	}
	if matching == 0 {
		return append(reasons, noQueue(s.run, near, nearest))
	}
	return reasons
}

func queueReason(q queueSituation) api.ExplainItem {
	reason := q.reason()
	reason.WorkQueueName = q.queue.Name
	if len(q.queue.Id) > 0 {
		reason.WorkQueueID = new(idOf(q.queue.Id))
	}
	switch reason.Code {
	case api.ExplainQueueFull:
		reason.Limit = &api.ExplainLimit{Kind: api.LimitWorkQueue, Name: q.queue.Name, Limit: int(*q.queue.ConcurrencyLimit), InUse: q.inUse, Holders: q.holders}
	case api.ExplainAgentsDrained:
		reason.Agents = q.draining
	case api.ExplainAgentsFull, api.ExplainReady:
		reason.Agents = q.liveAgents
	}
	return reason
}

// reason is what a queue does with the run.
func (q queueSituation) reason() api.ExplainItem {
	name := q.queue.Name
	switch {
	case q.queue.IsPaused:
		return item(api.ExplainQueuePaused, fmt.Sprintf("Work queue '%s' is paused.", name), "sluice work-queue resume "+argument(name), "sluice work-queue resume "+argument(name))
	case !orchestration.HasRoom(q.queue, q.inUse):
		return item(api.ExplainQueueFull, fmt.Sprintf("Work queue '%s' is full: %d of %d slots are in use%s.", name, q.inUse, *q.queue.ConcurrencyLimit, heldBy(q.holders, q.inUse)),
			fmt.Sprintf("Wait until one of its runs ends, or raise the limit: sluice work-queue set-concurrency-limit %s N", argument(name)),
			"sluice work-queue slots "+argument(name))
	case len(q.liveAgents) == 0 && len(q.draining) > 0:
		return item(api.ExplainAgentsDrained, fmt.Sprintf("Every live agent of work queue '%s' is drained and claims nothing: %s.", name, quoted(q.draining)),
			"Call one back, or start another: sluice agent undrain "+argument(q.draining[0]), "sluice agent undrain "+argument(q.draining[0]))
	case len(q.liveAgents) == 0:
		return item(api.ExplainNoLiveAgent, fmt.Sprintf("No live agent serves work queue '%s'. (Agents of Orion are not counted: they do not register.)", name),
			"sluice agent start "+argument(name), "sluice agent start "+argument(name))
	case !q.free:
		return item(api.ExplainAgentsFull, fmt.Sprintf("Every agent of work queue '%s' is busy and asks for no more: %s, with %d runs.", name, quoted(q.liveAgents), q.busy),
			"Wait until one of their runs ends, start another agent, or one with a larger --limit: sluice agent start "+argument(name),
			"sluice agent start "+argument(name))
	}
	return item(api.ExplainReady, fmt.Sprintf("The run is ready: work queue '%s' has room and is served by %s.", name, quoted(q.liveAgents)), "Nothing is needed.")
}

// word writes a name as one word of a shell: names are anybody's, and suggested commands are pasted.
func word(name string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-./:@%+,", r)
	}
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// argument is a word that is not taken for an option.
func argument(name string) string {
	if strings.HasPrefix(name, "-") {
		return "-- " + word(name)
	}
	return word(name)
}

const mostNamed = 5

func quoted(names []string) string {
	slices.Sort(names)
	rest := ""
	if len(names) > mostNamed {
		rest = fmt.Sprintf(" and %d more", len(names)-mostNamed)
		names = names[:mostNamed]
	}
	return "'" + strings.Join(names, "', '") + "'" + rest
}

// nearestQueue is the queue that lacks the least to take a run.
type nearestQueue struct {
	queue *row.WorkQueue
	fails []string
}

// offer keeps the queue of which the fewest criteria fail.
func (n *nearestQueue) offer(q *row.WorkQueue, run *row.FlowRun) {
	fails := failing(q.Filter, run)
	if n.queue == nil || len(fails) < len(n.fails) {
		n.queue, n.fails = q, fails
	}
}

// failing lists, one by one, what of a filter a run does not meet.
func failing(f *row.QueueFilter, run *row.FlowRun) (fails []string) {
	if f.GetHasTags() {
		for _, tag := range f.Tags {
			if !slices.Contains(run.Tags, tag) {
				fails = append(fails, "the run lacks the tag '"+tag+"'")
			}
		}
	}
	if f.GetHasDeploymentIds() && !slices.ContainsFunc(f.DeploymentIds, func(id []byte) bool { return string(id) == string(run.DeploymentId) }) {
		fails = append(fails, "its deployment is not one of the queue's")
	}
	if f.GetHasFlowRunnerTypes() && (run.FlowRunner == nil || run.FlowRunner.Type == nil || !slices.Contains(f.FlowRunnerTypes, *run.FlowRunner.Type)) {
		has := "none"
		if run.FlowRunner != nil && run.FlowRunner.Type != nil {
			has = "'" + *run.FlowRunner.Type + "'"
		}
		fails = append(fails, "its flow runner is "+has)
	}
	return fails
}

func noQueue(run *row.FlowRun, near []string, nearest nearestQueue) api.ExplainItem {
	text := "No work queue takes the run: there is none at all."
	if len(near) > 0 {
		rest := ""
		if len(near) > mostNamed {
			rest = fmt.Sprintf("; and %d more", len(near)-mostNamed)
			near = near[:mostNamed]
		}
		text = "No work queue takes the run: " + strings.Join(near, "; ") + rest + "."
		if len(nearest.fails) > 0 {
			text += " The nearest is '" + nearest.queue.Name + "': " + strings.Join(nearest.fails, ", and ") + "."
		}
	}
	example := "sluice work-queue create NAME"
	if len(run.Tags) > 0 {
		example += " --tag " + word(run.Tags[len(run.Tags)-1])
	}
	return item(api.ExplainNoQueueMatches, text, "Create a work queue whose filter matches, for example: "+example, example)
}

// wants describes a filter.
func wants(f *row.QueueFilter) string {
	var parts []string
	if f.GetHasTags() && len(f.Tags) > 0 {
		parts = append(parts, "all tags of "+quoted(slices.Clone(f.Tags)))
	}
	if f.GetHasDeploymentIds() {
		parts = append(parts, fmt.Sprintf("one of %d deployments", len(f.DeploymentIds)))
	}
	if f.GetHasFlowRunnerTypes() {
		parts = append(parts, "a flow runner of type "+quoted(slices.Clone(f.FlowRunnerTypes)))
	}
	if len(parts) == 0 {
		return "any run of a deployment"
	}
	return strings.Join(parts, " and ")
}

func explainFlowRun(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	presence, err := s.claims.Presence(x.ctx, id)
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	in, err := s.situation(view, id, presence)
	if err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, explain(in)); err != nil {
		return err
	}
	return x.send(200)
}
