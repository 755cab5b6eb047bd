package command

import (
	"time"

	"github.com/sluice-dev/sluice/api"
)

// FireKey is the idempotency key of a scheduled run, in Orion's form: the fire time with the offset of the schedule's zone. A
// further schedule's id stands before the time.
func FireKey(deploymentID, scheduleID []byte, fire *ScheduleRuns_Fire) string {
	at := time.UnixMicro(fire.Time).In(time.FixedZone("", int(fire.Offset)))
	layout := "2006-01-02T15:04:05-07:00"
	if fire.Time%1_000_000 != 0 {
		layout = "2006-01-02T15:04:05.000000-07:00"
	}
	key := "scheduled " + idText(deploymentID) + " "
	if len(scheduleID) != 0 {
		key += idText(scheduleID) + " "
	}
	return key + at.Format(layout)
}

func idText(b []byte) string {
	var id api.ID
	copy(id[:], b)
	return id.String()
}
