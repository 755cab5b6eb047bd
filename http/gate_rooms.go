package httpapi

import (
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// gateRooms remembers, while a list is made, which gates are closed. A run that is listed does not take a place in it.
type gateRooms map[[16]byte][]gateRoom

type gateRoom struct {
	gate   orchestration.Gate
	closed bool
}

func (r gateRooms) closed(view *state.View, run *row.FlowRun) (bool, error) {
	if len(run.DeploymentId) == 0 {
		return false, nil
	}
	id := idOf(run.DeploymentId)
	rooms, known := r[id]
	if !known {
		d, err := view.Deployment(id)
		if err != nil {
			return false, err
		}
		for _, g := range orchestration.Gates(run.DeploymentId, d.GetPolicy()) {
			inUse, err := view.SlotsInUse(g.ID)
			if err != nil {
				return false, err
			}
			rooms = append(rooms, gateRoom{g, inUse >= g.Limit})
		}
		r[id] = rooms
	}
	for _, room := range rooms {
		if room.closed && room.gate.Concerns(run) {
			return true, nil
		}
	}
	return false, nil
}
