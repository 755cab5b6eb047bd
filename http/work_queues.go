package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

const queueExists = "A work queue with this name already exists."

func createWorkQueue(_ *Server, x *exchange) error {
	c := &command.CreateWorkQueue{Id: newID()}
	if err := decode(x, createWorkQueueSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateWorkQueue{CreateWorkQueue: c}
	return x.proposeObject(e, missing.workQueue, queueExists, func(view *state.View, r *command.Result) error {
		q, err := view.WorkQueue(idOf(r.Id))
		return x.answerWorkQueue(201, view, q, err)
	})
}

func (x *exchange) answerWorkQueue(status int, view *state.View, q *row.WorkQueue, err error) error {
	switch {
	case err != nil:
		return err
	case q == nil:
		return notFound(missing.workQueue)
	}
	out, err := x.appendWorkQueue(x.out, view, q)
	if err != nil {
		return err
	}
	x.out = out
	return x.send(status)
}

func (x *exchange) appendWorkQueue(b []byte, view *state.View, q *row.WorkQueue) ([]byte, error) {
	slots := 0
	if !x.strict {
		var err error
		if slots, err = view.SlotsInUse(idOf(q.Id)); err != nil {
			return b, err
		}
	}
	return workQueueObject(q, slots, x.strict).AppendJSON(b), nil
}

var readWorkQueue = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	q, err := view.WorkQueue(id)
	return x.answerWorkQueue(200, view, q, err)
})

var readWorkQueueByName = reads(func(x *exchange, view *state.View) error {
	q, err := view.WorkQueueByName(x.path("name"))
	return x.answerWorkQueue(200, view, q, err)
})

func updateWorkQueue(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.UpdateWorkQueue{Id: id[:]}
	if err := decode(x, updateWorkQueueSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_UpdateWorkQueue{UpdateWorkQueue: c}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.workQueue, queueExists); err != nil {
		return err
	}
	return x.empty()
}

func deleteWorkQueue(_ *Server, x *exchange) error {
	return x.delete(missing.workQueue, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteWorkQueue{DeleteWorkQueue: d}
	})
}

func filterWorkQueues(_ *Server, x *exchange) error {
	p := newPage()
	if err := decode(x, pageSpec, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var queues []*row.WorkQueue
	if x.byCursor() {
		err = view.EachWorkQueue(func(q *row.WorkQueue) (bool, error) {
			queues = append(queues, q)
			return true, nil
		})
		if err == nil {
			queues, err = pageByCursor(x, listWorkQueues, &p, queues, func(q *row.WorkQueue) api.ID { return idOf(q.Id) })
		}
	} else {
		err = view.EachWorkQueue(func(q *row.WorkQueue) (bool, error) { return takeFrom(&p, &queues, q), nil })
	}
	if err != nil {
		return err
	}
	return list(x, queues, func(b []byte, q *row.WorkQueue) ([]byte, error) { return x.appendWorkQueue(b, view, q) })
}

// runsRequest is the poll of an Orion agent.
type runsRequest struct {
	page
	before  int64
	agentID []byte // Orion notes when it came by; nothing here depends on that
}

var runsSpec = body.Parameters(
	body.Optional("limit", body.Int, func(v *runsRequest) *int64 { return &v.limit }),
	body.Optional("scheduled_before", body.Time, func(v *runsRequest) *int64 { return &v.before }),
	body.Optional("agent_id", body.UUIDBytes, func(v *runsRequest) *[]byte { return &v.agentID }),
)

// workQueueRuns answers which runs of a queue are due. It claims nothing: whoever sets a run Pending first gets it.
func workQueueRuns(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	in := runsRequest{page: newPage(), before: x.now()}
	if err := decode(x, runsSpec, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	q, err := view.WorkQueue(id)
	if err != nil {
		return err
	}
	if q == nil {
		f := notFound("Work queue not found.")
		f.key = "exception_message"
		return f
	}
	runs, err := dueRuns(view, q, in)
	if err != nil {
		return err
	}
	now := x.now()
	return list(x, runs, func(b []byte, run *row.FlowRun) ([]byte, error) {
		return x.showFlowRun(run, now).AppendJSON(b), nil
	})
}

func dueRuns(view *state.View, q *row.WorkQueue, in runsRequest) ([]*row.FlowRun, error) {
	if q.IsPaused {
		return nil, nil
	}
	if q.ConcurrencyLimit != nil {
		used, err := view.SlotsInUse(idOf(q.Id))
		if err != nil {
			return nil, err
		}
		in.limit = min(in.limit, int64(max(0, int(*q.ConcurrencyLimit)-used)))
	}
	if in.limit == 0 {
		return nil, nil
	}
	var runs []*row.FlowRun
	gates := gateRooms{}
	err := view.ScheduledFlowRuns(minTime, in.before+1, func(run *row.FlowRun) (bool, error) {
		if !orchestration.Matches(q.Filter, run) {
			return true, nil
		}
		if closed, err := gates.closed(view, run); closed || err != nil {
			return err == nil, err // it would take the place of one that may start
		}
		return takeFrom(&in.page, &runs, run), nil
	})
	return runs, err
}
