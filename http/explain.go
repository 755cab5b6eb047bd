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
}

type queueSituation struct {
	queue      *row.WorkQueue
	inUse      int
	liveAgents []string // names of agents that serve it
}

// explain says why a run is where it is and what would change that. It is pure.
func explain(s situation) api.Explanation {
	run := s.run
	e := api.Explanation{FlowRunID: idOf(run.Id), StateType: stateTypeOf(run.GetState().GetType()), StateName: run.GetState().GetName(), Reasons: []api.ExplainItem{}}
	switch {
	case terminal(run.GetState().GetType()):
		e.Reasons = append(e.Reasons, item(api.ExplainTerminal, "The run has ended: "+describe(run.State)+".", "Start a new run of its deployment."))
	case run.Lease != nil:
		e.Reasons = append(e.Reasons, s.owned())
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
			"If the client is gone, cancel the run with `sluice flow-run cancel`."))
	}
	e.Summary = e.Reasons[0].Message
	return e
}

func item(code, message, unblock string) api.ExplainItem {
	return api.ExplainItem{Code: code, Message: message, Unblock: unblock}
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
	return item(api.ExplainOwned, text+".",
		fmt.Sprintf("Nothing is needed: if its owner falls silent, the run is taken from it after %s.", time.Duration(lease.Ttl)*time.Microsecond))
}

// scheduled goes through what must hold before an agent takes the run.
func (s situation) scheduled() []api.ExplainItem {
	var reasons []api.ExplainItem
	due := time.UnixMicro(s.run.NextScheduledStartTime)
	waiting := s.run.NextScheduledStartTime != 0 && due.After(s.now)
	if waiting {
		code, text := api.ExplainNotDue, "The run is due at %s, in %s."
		if s.run.GetState().GetName() == orchestration.NameAwaitingRetry {
			code, text = api.ExplainRetryScheduled, "The run is tried again at %s, in %s."
		}
		reasons = append(reasons, item(code, fmt.Sprintf(text, api.At(due), due.Sub(s.now).Round(time.Second)), "Wait until then, or start another run now with `sluice deployment run`."))
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
	var reasons []api.ExplainItem
	var near []string
	matching := 0
	for _, q := range s.queues {
		if !orchestration.Matches(q.queue.Filter, s.run) {
			near = append(near, fmt.Sprintf("'%s' wants %s", q.queue.Name, wants(q.queue.Filter)))
			continue
		}
		matching++
		reason := s.queueReason(q)
		if reason.Code == api.ExplainReady {
			return []api.ExplainItem{reason}
		}
		reasons = append(reasons, reason)
	}
	if matching == 0 {
		return []api.ExplainItem{noQueue(s.run, near)}
	}
	return reasons
}

func (s situation) queueReason(q queueSituation) api.ExplainItem {
	name := q.queue.Name
	switch {
	case q.queue.IsPaused:
		return item(api.ExplainQueuePaused, fmt.Sprintf("Work queue '%s' is paused.", name), "sluice work-queue resume "+argument(name))
	case !orchestration.HasRoom(q.queue, q.inUse):
		return item(api.ExplainQueueFull, fmt.Sprintf("Work queue '%s' is full: %d of %d slots are in use.", name, q.inUse, *q.queue.ConcurrencyLimit),
			fmt.Sprintf("Wait until one of its runs ends, or raise the limit: sluice work-queue set-concurrency-limit %s N", argument(name)))
	case len(q.liveAgents) == 0:
		return item(api.ExplainNoLiveAgent, fmt.Sprintf("No live agent serves work queue '%s'. (Agents of Orion are not counted: they do not register.)", name),
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

func noQueue(run *row.FlowRun, near []string) api.ExplainItem {
	text := "No work queue takes the run: there is none at all."
	if len(near) > 0 {
		rest := ""
		if len(near) > mostNamed {
			rest = fmt.Sprintf("; and %d more", len(near)-mostNamed)
			near = near[:mostNamed]
		}
		text = "No work queue takes the run: " + strings.Join(near, "; ") + rest + "."
	}
	example := "sluice work-queue create NAME"
	if len(run.Tags) > 0 {
		example += " --tag " + word(run.Tags[len(run.Tags)-1])
	}
	return item(api.ExplainNoQueueMatches, text, "Create a work queue whose filter matches, for example: "+example)
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
	run, err := view.FlowRun(id)
	if err != nil {
		return err
	}
	if run == nil {
		return notFound(missing.flowRun)
	}
	in := situation{run: run, now: s.now(), renewed: presence.Renewed[id]}
	agents := map[api.ID][]string{}
	err = view.EachAgent(func(a *row.Agent) (bool, error) {
		if presence.Agents[idOf(a.Id)].Live {
			for _, q := range a.WorkQueueIds {
				agents[idOf(q)] = append(agents[idOf(q)], a.Name)
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	err = view.EachWorkQueue(func(q *row.WorkQueue) (bool, error) {
		used, err := view.SlotsInUse(idOf(q.Id))
		in.queues = append(in.queues, queueSituation{queue: q, inUse: used, liveAgents: agents[idOf(q.Id)]})
		return true, err
	})
	if err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, explain(in)); err != nil {
		return err
	}
	return x.send(200)
}
