package fsm

import (
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/watch"
)

const queueNameTaken = "A work queue with this name already exists."

func (a *applier) createWorkQueue(c *command.CreateWorkQueue) (*command.Result, error) {
	q := &row.WorkQueue{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, Filter: c.Filter, Description: c.Description,
		IsPaused: c.IsPaused, ConcurrencyLimit: c.ConcurrencyLimit}
	result, err := saved(a.tx.NewWorkQueue(q).Save(), created(c.Id), queueNameTaken)
	if err != nil || result.Code != command.Result_OK {
		return result, err
	}
	a.cache.queuesLoaded = false
	if err := a.fillQueueSlots(q); err != nil {
		return nil, err
	}
	a.emit(watch.Event{Topic: watch.TopicWorkQueue, WorkQueue: q})
	return result, nil
}

func (a *applier) updateWorkQueue(c *command.UpdateWorkQueue) (*command.Result, error) {
	e, err := a.tx.EditWorkQueue(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("work queue"), nil
	}
	q := e.Row
	if c.HasName {
		q.Name = c.Name
	}
	if c.HasFilter {
		q.Filter = c.Filter
	}
	if c.HasDescription {
		q.Description = c.Description
	}
	if c.HasIsPaused {
		q.IsPaused = c.IsPaused
	}
	if c.HasConcurrencyLimit {
		q.ConcurrencyLimit = c.ConcurrencyLimit
	}
	q.Updated = a.now
	result, err := saved(e.Save(), ok(c.Id), queueNameTaken)
	if err != nil || result.Code != command.Result_OK {
		return result, err
	}
	a.cache.queuesLoaded = false
	if c.HasFilter {
		if err := a.dropSlots(c.Id); err != nil {
			return nil, err
		}
		if err := a.fillQueueSlots(q); err != nil {
			return nil, err
		}
	}
	a.emit(watch.Event{Topic: watch.TopicWorkQueue, WorkQueue: q})
	return result, nil
}

func (a *applier) deleteWorkQueue(id []byte) (*command.Result, error) {
	e, err := a.tx.EditWorkQueue(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("work queue"), nil
	}
	if err := a.dropSlots(id); err != nil {
		return nil, err
	}
	q := e.Row
	if err := e.Delete(); err != nil {
		return nil, err
	}
	a.cache.queuesLoaded = false
	a.emit(watch.Event{Topic: watch.TopicWorkQueue, WorkQueue: q, Deleted: true})
	return ok(id), nil
}

// fillQueueSlots gives a slot to every run in progress that the queue's filter matches: O(runs in progress).
func (a *applier) fillQueueSlots(q *row.WorkQueue) error {
	for _, t := range []row.StateType{row.StateType_PENDING, row.StateType_RUNNING} {
		var runs [][]byte
		err := a.tx.FlowRunsByState(t, false, func(r *row.FlowRun) (bool, error) {
			if orchestration.Matches(q.Filter, r) {
				runs = append(runs, r.Id)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := a.tx.NewSlot(&row.Slot{LimitId: q.Id, RunId: run}).Save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropSlots removes all slots of a queue or limit.
func (a *applier) dropSlots(limitID []byte) error {
	runs, err := a.tx.Slots(id16(limitID))
	if err != nil {
		return err
	}
	for _, run := range runs {
		e, err := a.tx.EditSlot(limitID, run[:])
		if err != nil {
			return err
		}
		if err := e.Delete(); err != nil {
			return err
		}
	}
	return nil
}
