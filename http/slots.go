package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// readQueueSlots lists the flow runs that occupy a work queue, by id.
var readQueueSlots = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	q, err := view.WorkQueue(id)
	switch {
	case err != nil:
		return err
	case q == nil:
		return notFound(missing.workQueue)
	}
	var after *api.ID
	if text := x.r.URL.Query().Get("cursor"); text != "" {
		last, ok := body.ParseUUID(text)
		if !ok {
			return badCursor()
		}
		at := api.ID(last)
		after = &at
	}
	answer := api.QueueSlots{WorkQueueID: id, Slots: []api.QueueSlot{}}
	if q.ConcurrencyLimit != nil {
		limit := int(*q.ConcurrencyLimit)
		answer.ConcurrencyLimit = &limit
	}
	if answer.InUse, err = view.SlotsInUse(id); err != nil {
		return err
	}
	err = view.EachSlot(id, after, func(slot *row.Slot) (bool, error) {
		if len(answer.Slots) == api.MaxPage {
			last := answer.Slots[len(answer.Slots)-1].FlowRunID.String()
			answer.NextCursor = &last
			return false, nil
		}
		r, err := view.FlowRun(idOf(slot.RunId))
		if err != nil || r == nil {
			return true, err
		}
		one := api.QueueSlot{FlowRunID: idOf(r.Id), FlowRunName: r.Name, DeploymentID: idRef(r.DeploymentId), StateType: stateTypeOf(r.State.Type),
			StateName: r.State.Name, Since: timeOf(r.State.Timestamp), AgentID: idRef(r.AgentId), AgentName: textRef(r.AgentName)}
		if r.Lease != nil {
			one.LeaseOwner = textRef(r.Lease.Owner)
		}
		answer.Slots = append(answer.Slots, one)
		return true, nil
	})
	if err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, answer); err != nil {
		return err
	}
	return x.send(200)
})

func badCursor() error {
	return unprocessable([]body.Error{{Loc: []any{"query", "cursor"}, Msg: "no cursor that this list gave out; begin anew without one", Type: "value_error"}})
}
