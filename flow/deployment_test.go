package flow

import (
	"context"
	"encoding/json"
	"testing"
	"time"
)

func TestADeploymentHasOneScheduleOrSeveral(t *testing.T) {
	t.Parallel()
	f := New("f", func(context.Context, struct{}) (int, error) { return 0, nil })
	for want, options := range map[string][]DeploymentOption{
		`{"flow":"f","name":"d","parameters":{},"tags":[],"schedule":{"cron":"@daily","timezone":null,"day_or":true}}`: {Cron("@daily", "")},
		`{"flow":"f","name":"d","parameters":{},"tags":[],"schedule":null,"schedules":[{"name":"nightly","schedule":{"cron":"@daily","timezone":null,"day_or":true}},` +
			`{"schedule":{"interval":60.0,"timezone":null,"anchor_date":null}}]}`: {Scheduled("nightly", Cron("@daily", "")), Every(time.Minute, "")},
	} {
		if got, err := json.Marshal(f.Deployment("d", struct{}{}, options...).body); err != nil || string(got) != want {
			t.Errorf("%v\n%s, want\n%s", err, got, want)
		}
	}
}
