package webhook

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Types of messages.
const (
	TypeState = "flow_run.state"
	TypeTest  = "webhook.test"
)

// message is the body of a delivery. Fields are only added.
type message struct {
	Type      string   `json:"type"`
	Timestamp api.Time `json:"timestamp"` // of the state; of the request for a test
	Data      data     `json:"data"`
}

type data struct {
	FlowRun *flowRun `json:"flow_run,omitempty"`
	State   *state   `json:"state,omitempty"`
	Webhook hook     `json:"webhook"`
}

type hook struct {
	ID   api.ID `json:"id"`
	Name string `json:"name"`
}

type flowRun struct {
	ID           api.ID    `json:"id"`
	Name         string    `json:"name"`
	FlowID       api.ID    `json:"flow_id"`
	DeploymentID *api.ID   `json:"deployment_id"`
	Tags         []string  `json:"tags"`
	RunCount     int32     `json:"run_count"`
	StartTime    *api.Time `json:"start_time"`
	EndTime      *api.Time `json:"end_time"`
}

type state struct {
	ID      api.ID  `json:"id"`
	Type    string  `json:"type"`
	Name    string  `json:"name"`
	Message *string `json:"message"`
}

// Body is the message of a delivery, the same bytes at each attempt.
func Body(w *row.Webhook, d *row.Delivery) ([]byte, error) {
	m := message{Type: TypeTest, Timestamp: at(d.Created), Data: data{Webhook: hook{ID: id16(w.Id), Name: w.Name}}}
	if r := d.FlowRun; r != nil {
		m.Type, m.Timestamp = TypeState, at(r.State.GetTimestamp())
		m.Data.FlowRun = &flowRun{ID: id16(r.Id), Name: r.Name, FlowID: id16(r.FlowId), Tags: append([]string{}, r.Tags...), RunCount: r.RunCount,
			StartTime: atOrNil(r.StartTime), EndTime: atOrNil(r.EndTime)}
		if len(r.DeploymentId) != 0 {
			id := id16(r.DeploymentId)
			m.Data.FlowRun.DeploymentID = &id
		}
		m.Data.State = &state{ID: id16(r.State.GetId()), Type: r.State.GetType().String(), Name: r.State.GetName(), Message: r.GetState().Message}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	return body, nil
}

func at(us int64) api.Time { return api.At(time.UnixMicro(us).UTC()) }

func atOrNil(us int64) *api.Time {
	if us == 0 {
		return nil
	}
	t := at(us)
	return &t
}

func id16(b []byte) (id api.ID) {
	copy(id[:], b)
	return id
}
