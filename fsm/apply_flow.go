package fsm

import (
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func (a *applier) createFlow(c *command.CreateFlow) (*command.Result, error) {
	stored, err := a.tx.FlowByName(c.Name)
	if err != nil {
		return nil, err
	}
	if stored != nil {
		return ok(stored.Id), nil
	}
	flow := &row.Flow{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, Tags: c.Tags}
	return saved(a.tx.NewFlow(flow).Save(), created(c.Id), "a flow with this id exists")
}

func (a *applier) updateFlow(c *command.UpdateFlow) (*command.Result, error) {
	e, err := a.tx.EditFlow(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow"), nil
	}
	if c.HasTags {
		e.Row.Tags = c.Tags
	}
	e.Row.Updated = a.now
	return ok(c.Id), e.Save()
}

// deleteFlow takes the flow's runs and deployments along. Many runs are left to a job; flow and deployments are gone at once.
func (a *applier) deleteFlow(id []byte) (*command.Result, error) {
	e, err := a.tx.EditFlow(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow"), nil
	}
	n, err := runsOf(func(t row.StateType) (int64, error) { return a.tx.CountFlowRunsOfFlow(id16(id), t) })
	if err != nil {
		return nil, err
	}
	inline := int64(inOneCommand)
	if n > inOneCommand {
		inline = 0
		_, err = a.addJob(&row.Job{Id: a.newID(), Action: row.Job_FORGET_FLOW, ObjectId: id, Total: n})
	} else {
		err = a.removeRunsOfFlow(id)
	}
	if err != nil {
		return nil, err
	}
	var deployments [][]byte
	err = a.tx.EachDeployment(func(d *row.Deployment) (bool, error) {
		if string(d.FlowId) == string(id) {
			deployments = append(deployments, d.Id)
		}
		return true, nil
	})
	for _, d := range deployments {
		if err != nil {
			return nil, err
		}
		_, err = a.deleteDeploymentOf(d, inline)
	}
	if err != nil {
		return nil, err
	}
	return ok(id), e.Delete()
}

func (a *applier) removeRunsOfFlow(id []byte) error {
	var runs [][]byte
	err := a.tx.FlowRunsOfFlow(id16(id), false, func(r *row.FlowRun) (bool, error) {
		runs = append(runs, r.Id)
		return true, nil
	})
	for _, run := range runs {
		if err != nil {
			break
		}
		err = a.removeFlowRun(run)
	}
	return err
}
