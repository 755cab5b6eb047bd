package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// decoders decode a body by each specification there is.
var decoders = map[string]func([]byte) []body.Error{
	"create flow":           decoder(createFlowSpec),
	"update flow":           decoder(updateFlowSpec),
	"create flow run":       decoder(createFlowRunSpec),
	"update flow run":       decoder(updateFlowRunSpec),
	"run of a deployment":   decoder(deploymentFlowRunSpec),
	"set state":             decoder(setStateSpec),
	"create task run":       decoder(createTaskRunSpec),
	"put deployment":        decoder(putDeploymentSpec),
	"put Orion deployment":  decoder(putOrionDeploymentSpec),
	"schedule":              decoder(scheduleSpec),
	"create work queue":     decoder(createWorkQueueSpec),
	"update work queue":     decoder(updateWorkQueueSpec),
	"get runs":              decoder(runsSpec),
	"create block spec":     decoder(createBlockSpecSpec),
	"create block":          decoder(createBlockBody),
	"update block":          decoder(updateBlockBody),
	"put concurrency limit": decoder(putLimitSpec),
	"flow runs":             decoder(flowRunsQuerySpec),
	"task runs":             decoder(taskRunsQuerySpec),
	"flows":                 decoder(flowsQuerySpec),
	"deployments":           decoder(deploymentsQuerySpec),
	"count":                 decoder(countSpec),
	"logs":                  decoder(logsQuerySpec),
	"register agent":        decoder(registerSpec),
	"claim":                 decoder(claimSpec),
	"heartbeat":             decoder(heartbeatSpec),
	"lease":                 decoder(leaseSpec),
	"cancel":                decoder(cancelSpec),
	"patch deployment":      decoder(patchDeploymentSpec),
	"Orion run":             decoder(orionDeploymentFlowRunSpec),
	"create schedule":       decoder(createScheduleSpec),
	"update schedule":       decoder(updateScheduleSpec),
	"backfill":              decoder(backfillSpec),
	"job":                   decoder(jobSpec),
	"job filter":            decoder(jobFilterSpec),
	"retry":                 decoder(retrySpec),
	"rerun":                 decoder(rerunSpec),
	"retention":             decoder(retentionUpdateSpec),
	"create webhook":        decoder(createWebhookSpec),
	"update webhook":        decoder(updateWebhookSpec),
	"create token":          decoder(createTokenSpec),
	"tokens":                decoder(tokenFilterSpec),
	"audit":                 decoder(auditSpec),
	"history":               decoder(historySpec),
	"dots":                  decoder(dotsSpec),
	"saved search":          decoder(putSearchSpec),
	"blocks":                decoder(blockFilterSpec),
	"block specs":           decoder(blockSpecFilterSpec),
	"page":                  decoder(pageSpec),
	"transfer leadership":   decoder(transferSpec),
	"restore":               decoder(restoreSpec),
	"confirm":               decoder(confirmSpec),
	"log lines": func(data []byte) []body.Error {
		_, errs := body.DecodeList(logKind, data)
		return errs
	},
}

func decoder[T any](spec *body.Object[T]) func([]byte) []body.Error {
	return func(data []byte) []body.Error {
		spec.DecodeOrion(data, new(T))
		return spec.Decode(data, new(T))
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	id := `"00000000-0000-0000-0000-000000000001"`
	deployment := func(more string) string {
		return `{"name":"d","flow_id":` + id + `,"flow_data":{"encoding":"x","blob":"y"}` + more + `}`
	}
	task := func(inputs string) string {
		return `{"flow_run_id":` + id + `,"task_key":"k","dynamic_key":"0","task_inputs":` + inputs + `}`
	}
	retry := func(delay string) string {
		return `{"flow_run_id":` + id + `,"task_key":"k","dynamic_key":"0","empirical_policy":{"max_retries":1,"retry_delay_seconds":` + delay + `}}`
	}
	cases := []struct{ name, spec, body, want string }{
		{"a state may not choose its id", "set state", `{"state":{"type":"RUNNING","id":` + id + `}}`, "body.state.id: extra fields not permitted"},
		{"a state may not choose its time", "set state", `{"state":{"type":"RUNNING","timestamp":"2020-01-01T00:00:00Z"}}`, "body.state.timestamp: extra fields not permitted"},
		{"a state needs a type", "set state", `{"state":{}}`, "body.state.type: field required"},
		{"a state needs a known type", "set state", `{"state":{"type":"CRASHED"}}`, "body.state.type: value is not a valid enumeration member; permitted: 'SCHEDULED', 'PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'"},
		{"data needs both parts", "set state", `{"state":{"type":"RUNNING","data":{"encoding":"x"}}}`, "body.state.data.blob: field required"},
		{"a run may not choose its id", "create flow run", `{"flow_id":` + id + `,"id":` + id + `}`, "body.id: extra fields not permitted"},
		{"parameters are an object", "create flow run", `{"flow_id":` + id + `,"parameters":[]}`, "body.parameters: value is not a valid dict"},
		{"inputs of each kind", "create task run", task(`{"a":[{"input_type":"task_run","id":` + id + `}],"b":[{"input_type":"parameter","name":"p"},{"input_type":"constant","type":"int"}]}`), ""},
		{"an input of no kind", "create task run", task(`{"a":[{"input_type":"magic"}]}`), "body.task_inputs.a[0].input_type: unexpected value; permitted: 'task_run' (and 5 more)"},
		{"an interval", "put deployment", deployment(`,"schedule":{"interval":"PT1H"}`), ""},
		{"an interval with zone and anchor", "put deployment", deployment(`,"schedule":{"interval":60,"timezone":"Europe/Berlin","anchor_date":"2026-01-01T00:00:00+01:00"}`), ""},
		{"a cron string", "put deployment", deployment(`,"schedule":{"cron":"30 9 * * 1-5","timezone":"America/New_York","day_or":false}`), ""},
		{"a rule", "put deployment", deployment(`,"schedule":{"rrule":"FREQ=DAILY;COUNT=5"}`), ""},
		{"two kinds of schedule at once", "put deployment", deployment(`,"schedule":{"interval":60,"cron":"* * * * *"}`), "body.schedule.cron: extra fields not permitted (and 4 more)"},
		{"a zone that is none", "put deployment", deployment(`,"schedule":{"cron":"* * * * *","timezone":"Mars/Olympus"}`), `body.schedule.timezone: Invalid timezone: "Mars/Olympus"`},
		{"a zone that is none, from Orion's client", "put Orion deployment", deployment(`,"schedule":{"cron":"* * * * *","timezone":"Mars/Olympus"}`), "body.schedule.interval: field required"},
		{"a policy that is none", "put deployment", deployment(`,"catchup":"maybe"`), "body.catchup: value is not a valid enumeration member; permitted: 'skip', 'latest', 'all'"},
		{"what Orion does not know", "put Orion deployment", deployment(`,"catchup":"skip"`), "body.catchup: extra fields not permitted"},
		{"a claim of nothing", "claim", `{"work_queue_ids":[],"limit":0,"claim_id":` + id + `}`, "body.limit: ensure this value is greater than or equal to 1"},
		{"a claim that waits too long", "claim", `{"work_queue_ids":[],"limit":1,"wait_seconds":31,"claim_id":` + id + `}`, "body.wait_seconds: ensure this value is between 0 and 30"},
		{"a lease whose owner is as long as may be", "lease", `{"owner":"` + strings.Repeat("x", 500) + `"}`, ""},
		{"a lease whose owner is too long", "lease", `{"owner":"` + strings.Repeat("x", 501) + `"}`, "body.owner: ensure this value has at most 500 bytes"},
		{"an agent whose names are too long", "register agent", `{"id":` + id + `,"name":"` + strings.Repeat("é", 251) + `","hostname":"` + strings.Repeat("x", 501) + `"}`,
			"body.name: ensure this value has at most 500 bytes (and 1 more)"},
		{"the longest delay of a retry", "create task run", retry("315360000"), ""},
		{"a delay of a retry beyond ten years", "create task run", retry("315360000.5"), "body.empirical_policy.retry_delay_seconds: ensure this value is less than or equal to 315360000"},
		{"a delay of a retry that nobody can count", "create task run", retry("1e300"), "body.empirical_policy.retry_delay_seconds: ensure this value is less than or equal to 315360000"},
		{"a delay of a retry below zero", "create task run", retry("-0.5"), "body.empirical_policy.retry_delay_seconds: ensure this value is greater than or equal to 0"},
		{"a limit below zero", "put concurrency limit", `{"tag":"t","concurrency_limit":-1}`, "body.concurrency_limit: ensure this value is greater than or equal to 0"},
		{"the second of two lines", "log lines", `[{"name":"a","level":1,"message":"m","timestamp":0,"flow_run_id":` + id + `},{}]`, "body[1].name: field required (and 4 more)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			errs := decoders[c.spec]([]byte(c.body))
			got := ""
			if len(errs) > 0 {
				got = summary(errs)
			}
			if got != c.want && !(c.want != "" && strings.HasPrefix(got, c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestUpdatesTellAbsentFromNull(t *testing.T) {
	t.Parallel()
	var c command.UpdateWorkQueue
	if errs := updateWorkQueueSpec.Decode([]byte(`{"concurrency_limit":null}`), &c); errs != nil {
		t.Fatal(errs)
	}
	if !c.HasConcurrencyLimit || c.ConcurrencyLimit != nil || c.HasName || c.HasFilter || c.HasIsPaused || c.HasDescription {
		t.Errorf("unexpected %v", &c)
	}
	c.Reset()
	if errs := updateWorkQueueSpec.Decode([]byte(`{"filter":{"tags":[]},"is_paused":false}`), &c); errs != nil {
		t.Fatal(errs)
	}
	if !c.HasFilter || !c.Filter.HasTags || c.Filter.HasDeploymentIds || !c.HasIsPaused || c.IsPaused || c.HasConcurrencyLimit {
		t.Errorf("unexpected %v", &c)
	}
}

func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"state":{"type":"RUNNING","state_details":{"scheduled_time":"2026-01-01T00:00:00+01:00"}}}`,
		`{"name":"d","flow_id":"00000000-0000-0000-0000-000000000001","flow_data":{"encoding":"x","blob":"y"},"schedule":{"cron":"*/5 1-3 L * mon#2"}}`,
		`{"name":"d","flow_id":"00000000-0000-0000-0000-000000000001","flow_data":{"encoding":"x","blob":"y"},"schedule":{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=YEARLY;BYDAY=5MO;BYMONTH=2"}}`,
		`{"flow_runs":{"state":{"type":{"any_":["RUNNING"]},"name":{"any_":["Late"]}},"id":{"not_any_":[]}},"sort":"ID_DESC","limit":5}`,
		`{"name":"w","url":"https://example.com/x","filter":{"state_types":["FAILED"],"tags":["a"]},"secret":"s"}`,
		`{"action":"set_state","filter":{"flow_runs":{"tags":{"all_":["a"]}}},"state":{"type":"FAILED"},"dry_run":true}`,
		`{"start_time":"2026-01-01T00:00:00Z","end_time":"2026-02-01T00:00:00Z","limit":3,"parameters":{"a":"\u0000"}}`,
		`{"priority":3,"on_crash":{"retries":2,"delay_seconds":1.5},"dst":{"gap":"skip"},"concurrency_limit":null}`,
		`[{"name":"a","level":"20","message":"m","timestamp":1e9,"flow_run_id":"00000000000000000000000000000001"}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, decode := range decoders {
			if text := body.AppendErrors(nil, decode(data)); !json.Valid(text) {
				t.Fatalf("%s: findings are no JSON: %q", name, text)
			}
		}
	})
}
