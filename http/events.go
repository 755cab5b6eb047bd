package httpapi

import (
	"errors"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/watch"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// topics are the kinds of events by the API's words.
var topics = map[string]watch.Topic{
	api.EventFlowRun: watch.TopicFlowRun, api.EventTaskRun: watch.TopicTaskRun, api.EventDeployment: watch.TopicDeployment,
	api.EventWorkQueue: watch.TopicWorkQueue, api.EventAgent: watch.TopicAgent, api.EventJob: watch.TopicJob,
}

// eventFilter selects events.
type eventFilter struct {
	topics                                   watch.Topic
	object, flowRun, deployment, flow, agent *api.ID
	deleted                                  bool     // also what was deleted
	logs                                     []api.ID // flow runs whose new log lines are told of too
}

// mostLogsOf bounds what is compared with each batch of logs.
const mostLogsOf = 20

// readEventFilter reads the criteria from the query. Without a topic, flow runs are meant.
func (x *exchange) readEventFilter() (f eventFilter, err error) {
	q := x.r.URL.Query()
	var findings []body.Error
	wrong := func(name, text string) {
		findings = append(findings, body.Error{Loc: []any{"query", name}, Msg: text, Type: "value_error"})
	}
	for _, list := range q["topic"] {
		for name := range strings.SplitSeq(list, ",") {
			topic, known := topics[name]
			if !known && name != "" {
				wrong("topic", "unknown topic; permitted: 'flow_run', 'task_run', 'deployment', 'work_queue', 'agent', 'job'")
			}
			f.topics |= topic
		}
	}
	if f.topics == 0 {
		f.topics = watch.TopicFlowRun
	}
	for name, at := range map[string]**api.ID{"id": &f.object, "flow_run_id": &f.flowRun, "deployment_id": &f.deployment, "flow_id": &f.flow, "agent_id": &f.agent} {
		if text := q.Get(name); text != "" {
			id, ok := body.ParseUUID(text)
			if !ok {
				wrong(name, "value is not a valid uuid")
			}
			given := api.ID(id)
			*at = &given
		}
	}
	for text := range strings.SplitSeq(q.Get("logs_of"), ",") {
		if text == "" {
			continue
		}
		id, ok := body.ParseUUID(text)
		switch {
		case !ok:
			wrong("logs_of", "value is not a valid uuid")
		case len(f.logs) == mostLogsOf:
			wrong("logs_of", "ensure this value has at most 20 items")
		}
		f.logs = append(f.logs, api.ID(id))
		f.topics |= watch.TopicLogs
	}
	switch q.Get("deleted") {
	case "", "false":
	case "true":
		f.deleted = true
	default:
		wrong("deleted", "value could not be parsed to a boolean")
	}
	if findings != nil {
		return f, unprocessable(findings)
	}
	return f, nil
}

// matches reports whether an event is wanted. What an object does not have, it has not of that id.
func (f *eventFilter) matches(e watch.Event) bool {
	if e.Deleted && !f.deleted {
		return false
	}
	if e.Logs != nil {
		return slices.Contains(f.logs, idOf(e.Logs.FlowRunId))
	}
	var object, flowRun, deployment, flow, agent []byte
	switch {
	case e.FlowRun != nil:
		object, flowRun, deployment, flow, agent = e.FlowRun.Id, e.FlowRun.Id, e.FlowRun.DeploymentId, e.FlowRun.FlowId, e.FlowRun.AgentId
	case e.TaskRun != nil:
		object, flowRun = e.TaskRun.Id, e.TaskRun.FlowRunId
	case e.Deployment != nil:
		object, deployment, flow = e.Deployment.Id, e.Deployment.Id, e.Deployment.FlowId
	case e.WorkQueue != nil:
		object = e.WorkQueue.Id
	case e.Agent != nil:
		object, agent = e.Agent.Id, e.Agent.Id
	case e.Job != nil:
		object = e.Job.Id
	default:
		return false
	}
	is := func(wanted *api.ID, id []byte) bool { return wanted == nil || string(wanted[:]) == string(id) }
	return is(f.object, object) && is(f.flowRun, flowRun) && is(f.deployment, deployment) && is(f.flow, flow) && is(f.agent, agent)
}

// streamEvents sends what changes from now on, or from where the client left off, on whichever node it was.
func streamEvents(s *Server, x *exchange) error {
	filter, err := x.readEventFilter()
	if err != nil {
		return err
	}
	ctx, cancel := x.streamContext()
	defer cancel()
	subscription, missed := s.subscribe(x.resumeFrom(), filter.topics)
	out := x.sse()
	if missed {
		out.reset(subscription)
	} else {
		out.position(subscription.After().String())
	}
	if err := out.comment(); err != nil {
		return nil // the client is gone
	}
	for {
		e, err := x.next(ctx, subscription, out)
		switch {
		case errors.Is(err, watch.ErrReset):
			subscription, _ = s.subscribe("", filter.topics)
			out.reset(subscription)
		case err != nil:
			out.goodbye()
			return nil // the client or this node goes away
		case filter.matches(e):
			name, data := eventOf(e)
			out.event(name, e.Cursor.String(), func(b []byte) []byte { return appendEvent(b, data) })
		}
		if err := out.flush(); err != nil {
			return nil
		}
	}
}

// reset tells the client that events were missed, and from where its stream goes on: it must list again.
func (s *sse) reset(subscription *watch.Subscription) {
	s.event(api.EventReset, "", func(b []byte) []byte { return append(b, "{}"...) })
	s.position(subscription.After().String())
}

// eventOf is what clients are told of an event.
func eventOf(e watch.Event) (name string, data any) {
	switch {
	case e.FlowRun != nil:
		r := e.FlowRun
		return api.EventFlowRun, api.FlowRunEvent{
			ID: idOf(r.Id), Name: r.Name, FlowID: idOf(r.FlowId), DeploymentID: idRef(r.DeploymentId),
			StateType: stateTypeOf(r.GetState().GetType()), StateName: r.GetState().GetName(), Timestamp: timeOf(r.GetState().GetTimestamp()), Deleted: e.Deleted,
		}
	case e.TaskRun != nil:
		r := e.TaskRun
		return api.EventTaskRun, api.TaskRunEvent{
			ID: idOf(r.Id), Name: r.Name, FlowRunID: idOf(r.FlowRunId),
			StateType: stateTypeOf(r.GetState().GetType()), StateName: r.GetState().GetName(), Timestamp: timeOf(r.GetState().GetTimestamp()), Deleted: e.Deleted,
		}
	case e.Logs != nil:
		return api.EventLogs, api.LogsEvent{FlowRunID: idOf(e.Logs.FlowRunId), Lines: len(e.Logs.Logs), Timestamp: timeOf(e.Logs.Logs[len(e.Logs.Logs)-1].Timestamp)}
	case e.Job != nil:
		return api.EventJob, api.JobEvent{ID: idOf(e.Job.Id), Action: jobActions[e.Job.Action], Status: jobStatuses[e.Job.Status], Total: e.Job.Total,
			Done: e.Job.Done, Refused: e.Job.Refused, Timestamp: timeOf(e.Job.Updated)}
	case e.Deployment != nil:
		return api.EventDeployment, changed(e.Deployment, e.Deleted)
	case e.WorkQueue != nil:
		return api.EventWorkQueue, changed(e.WorkQueue, e.Deleted)
	}
	return api.EventAgent, changed(e.Agent, e.Deleted)
}

// changed tells which object changed; what it is like now is read elsewhere.
func changed(r interface {
	GetId() []byte
	GetName() string
	GetUpdated() int64
}, deleted bool) api.ObjectEvent {
	return api.ObjectEvent{ID: idOf(r.GetId()), Name: r.GetName(), Timestamp: timeOf(r.GetUpdated()), Deleted: deleted}
}

func appendEvent(b []byte, data any) []byte {
	text, err := appendJSON(b, data)
	if err != nil {
		return append(b, "{}"...) // cannot happen: events hold texts and times
	}
	return text
}
