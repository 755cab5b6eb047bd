package fsm

import (
	"slices"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func (a *applier) putConcurrencyLimit(c *command.PutConcurrencyLimit) (*command.Result, error) {
	stored, err := a.tx.ConcurrencyLimitByTag(c.Tag)
	if err != nil {
		return nil, err
	}
	a.cache.limitsLoaded = false
	if stored != nil {
		e, err := a.tx.EditConcurrencyLimit(stored.Id)
		if err != nil {
			return nil, err
		}
		e.Row.Limit, e.Row.Updated = c.Limit, a.now
		return ok(stored.Id), e.Save()
	}
	l := &row.ConcurrencyLimit{Id: c.Id, Created: a.now, Updated: a.now, Tag: c.Tag, Limit: c.Limit}
	if err := a.tx.NewConcurrencyLimit(l).Save(); err != nil {
		return saved(err, nil, "a concurrency limit with this id exists")
	}
	return created(c.Id), a.fillTagSlots(l)
}

// fillTagSlots gives a slot to every task run that is running with the limit's tag: O(running task runs).
func (a *applier) fillTagSlots(l *row.ConcurrencyLimit) error {
	var running [][]byte
	err := a.tx.EachRunningTaskRun(func(t *row.TaskRun) (bool, error) {
		if slices.Contains(t.Tags, l.Tag) {
			running = append(running, t.Id)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range running {
		if err := a.tx.NewSlot(&row.Slot{LimitId: l.Id, RunId: id}).Save(); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) deleteConcurrencyLimit(id []byte) (*command.Result, error) {
	e, err := a.tx.EditConcurrencyLimit(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Concurrency limit"), nil
	}
	a.cache.limitsLoaded = false
	if err := a.dropSlots(id); err != nil {
		return nil, err
	}
	return ok(id), e.Delete()
}
