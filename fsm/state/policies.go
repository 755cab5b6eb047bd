package state

import (
	"github.com/sluice-dev/sluice/fsm/row"
)

// EachGatedDeployment walks the deployments that limit how many of their runs are under way. While the index for them is being
// built, that means looking at all deployments.
func (v *View) EachGatedDeployment(fn func(*row.Deployment) (bool, error)) error {
	s, err := v.IndexState(idxDeploymentGated)
	if err != nil {
		return err
	}
	if s != IndexReady {
		return v.EachDeployment(func(d *row.Deployment) (bool, error) {
			if !isGated(d) {
				return true, nil
			}
			return fn(d)
		})
	}
	under := indexKey(idxDeploymentGated)
	return deployments.eachByIndex(v.r, under, after(under), false, fn)
}

// FlowRunsByDeadline walks the flow runs that have a deadline, by deadline, then id. While the index for them is being built, it
// hands out those it has: a state without the index is of a release that gave no run a deadline.
func (v *View) FlowRunsByDeadline(fn func(*row.FlowRun) (bool, error)) error {
	under := indexKey(idxRunDeadline)
	return flowRuns.eachByIndex(v.r, under, after(under), false, fn)
}
