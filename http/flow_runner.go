package httpapi

import (
	"encoding/json"
	"errors"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/internal/redact"
)

// The environment of a flow runner holds what the flow may do, tokens above all: it is shown to those who may see secrets.

// secretsOfConfigs are what is secret in flow_runner.config, beside the fields whose names say it. What is no subprocess may have its
// environment in a list or in the manifest of a job.
var secretsOfConfigs = redact.ParseSchema([]byte(`{"secret_fields": ["env.*", "job.spec.template.spec.containers.env.value", "customizations.value.*"]}`))

// hideSecrets masks what the caller may not see in a flow runner. The stored bytes stay as they are.
func (x *exchange) hideSecrets(f *api.FlowRunnerSettings) {
	if !x.seesSecrets() && len(f.Config) > 0 {
		f.Config = redact.Object(f.Config, secretsOfConfigs)
	}
}

// showFlowRun is a flow run as the caller may see it. It is the only way of a flow run out of here.
func (x *exchange) showFlowRun(r *row.FlowRun, now int64) *api.FlowRun {
	run := flowRunObject(r, now, x.strict)
	x.hideSecrets(&run.FlowRunner)
	return run
}

// showDeployment is a deployment as the caller may see it. It is the only way of a deployment out of here but for plans.
func (x *exchange) showDeployment(r *row.Deployment) (*api.Deployment, error) {
	d, err := deploymentObject(r, x.strict)
	if err != nil {
		return nil, err
	}
	x.hideSecrets(&d.FlowRunner)
	return d, nil
}

// showChanges masks what the caller may not see of a plan. That a secret changes it tells.
func (x *exchange) showChanges(list []api.PlannedChange) error {
	for i := range list {
		if list[i].Field != "flow_runner" {
			continue
		}
		for _, side := range []*json.RawMessage{&list[i].From, &list[i].To} {
			var f *api.FlowRunnerSettings
			if err := json.Unmarshal(*side, &f); err != nil {
				return err
			}
			if f == nil {
				continue
			}
			x.hideSecrets(f)
			text, err := json.Marshal(f)
			if err != nil {
				return err
			}
			*side = text
		}
	}
	return nil
}

// noMask refuses what was shown to somebody who may not see the secret: stored, the mask would stand in the secret's place.
func noMask(d *body.Decoder, f *row.FlowRunner) bool {
	if !redact.HasMask(f.ConfigJson) {
		return true
	}
	_, err := redact.Fill(f.ConfigJson, nil, secretsOfConfigs)
	m, is := errors.AsType[*redact.MaskError](err)
	if is {
		d.FailAt("config", m.Path+" is "+redact.Mask+", which is only what is shown to those who may not see the secret; send the secret itself or leave flow_runner out", "value_error")
	}
	return !is
}
