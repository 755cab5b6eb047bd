package httpapi

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/http/openapi"
	"github.com/sluice-dev/sluice/internal/contract"
)

// checker holds what every stack is asked and answers against the description of the API.
var checker = sync.OnceValues(func() (*contract.Checker, error) {
	document, err := Document()
	if err != nil {
		return nil, err
	}
	return contract.New(document)
})

// oddly marks requests that the server takes although their description says otherwise.
var oddly = []string{contract.OddHeader, "1"}

// checked reports every request and answer that the description does not allow.
func checked(t testing.TB, server http.Handler) http.Handler {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	return c.Handler(server, func(err error) {
		if !errors.Is(err, contract.ErrNotDescribed) { // the routes in pending
			t.Error(err)
		}
	})
}

// pending are routes from before there was a description. They are being described; no other route may be added here.
var pending = strings.Split(`POST /api/flow_runs/{id}/set_state
POST /api/flow_runs
POST /api/flow_runs/filter
POST /api/flow_runs/count
GET /api/flow_runs/{id}
PATCH /api/flow_runs/{id}
DELETE /api/flow_runs/{id}
POST /api/flow_runs/{id}/lease
POST /api/flow_runs/{id}/cancel
GET /api/flow_runs/{id}/explain
GET /api/flow_runs/{id}/stream
GET /api/flow_run_states
GET /api/flow_run_states/{id}
POST /api/task_runs/{id}/set_state
POST /api/task_runs
POST /api/task_runs/filter
POST /api/task_runs/count
GET /api/task_runs/{id}
DELETE /api/task_runs/{id}
GET /api/task_run_states
GET /api/task_run_states/{id}
POST /api/logs
POST /api/logs/filter
POST /api/deployments
POST /api/deployments/filter
POST /api/deployments/count
GET /api/deployments/name/{flow}/{deployment}
GET /api/deployments/{id}
DELETE /api/deployments/{id}
POST /api/deployments/{id}/create_flow_run
POST /api/deployments/{id}/schedule
POST /api/deployments/{id}/set_schedule_active
POST /api/deployments/{id}/set_schedule_inactive
POST /api/work_queues
POST /api/work_queues/filter
GET /api/work_queues/name/{name}
GET /api/work_queues/{id}
PATCH /api/work_queues/{id}
DELETE /api/work_queues/{id}
POST /api/work_queues/{id}/get_runs
POST /api/blocks
POST /api/blocks/filter
POST /api/blocks/get_default_storage_block
POST /api/blocks/clear_default_storage_block
GET /api/blocks/{id}
PATCH /api/blocks/{id}
DELETE /api/blocks/{id}
POST /api/blocks/{id}/set_default_storage_block
POST /api/block_specs
POST /api/block_specs/filter
DELETE /api/block_specs/{id}
GET /api/block_specs/{name}/versions
GET /api/block_specs/{name}/versions/{version}
GET /api/block_specs/{name}/block/{block}
GET /api/block_specs/{name}/versions/{version}/block/{block}
POST /api/concurrency_limits
POST /api/concurrency_limits/filter
GET /api/concurrency_limits/tag/{tag}
DELETE /api/concurrency_limits/tag/{tag}
GET /api/concurrency_limits/{id}
DELETE /api/concurrency_limits/{id}
POST /api/agents
POST /api/agents/filter
DELETE /api/agents/{id}
POST /api/agents/{id}/claim
POST /api/agents/{id}/heartbeat
POST /api/leases/renew
GET /api/cluster
GET /api/cluster/health
GET /api/cluster/debug_bundle
POST /api/cluster/transfer_leadership
POST /api/cluster/leave
DELETE /api/cluster/members/{id}
GET /api/cluster/snapshot
POST /api/cluster/snapshot
POST /api/cluster/snapshot/{id}/restore
DELETE /api/cluster/snapshot/{id}
GET /api/events
POST /api/kv/{key}
GET /api/kv/{key}
DELETE /api/kv/{key}`, "\n")

// undescribed are routes without a description: the page is for people.
var undescribed = []string{"GET /"}

func TestEveryRouteIsDescribedAndEveryDescriptionHasARoute(t *testing.T) {
	t.Parallel()
	document, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	described, err := openapi.Operations(document)
	if err != nil {
		t.Fatal(err)
	}
	routed := slices.Clone(undescribed)
	for _, rt := range routes() {
		name := rt.method + " " + rt.fullPath()
		routed = append(routed, name)
		if _, found := slices.BinarySearch(described, name); !found && !slices.Contains(undescribed, name) && !slices.Contains(pending, name) {
			t.Errorf("%s is not described: add it to its file in http/openapi/parts (http/DESIGN.md, Describing an endpoint)", name)
		}
	}
	for _, name := range described {
		if !slices.Contains(routed, name) {
			t.Errorf("%s is described and has no route in table.go", name)
		}
	}
}

// described is what the document says of an operation, as far as tests look at it.
type described struct {
	OperationID string   `json:"operationId"`
	Summary     string   `json:"summary"`
	Tags        []string `json:"tags"`
	Role        string   `json:"x-sluice-role"`
	Responses   map[string]json.RawMessage
}

func operationsOf(t *testing.T) map[string]described {
	t.Helper()
	text, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	all := map[string]described{}
	for path, item := range document.Paths {
		for method, text := range item {
			if method == "parameters" {
				continue
			}
			var d described
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			all[strings.ToUpper(method)+" "+path] = d
		}
	}
	return all
}

func TestEveryOperationHasANameASummaryARoleAndAnAnswer(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	all := operationsOf(t)
	for _, at := range slices.Sorted(maps.Keys(all)) {
		d := all[at]
		if d.OperationID == "" || d.Summary == "" || d.Role == "" || len(d.Tags) != 1 {
			t.Errorf("%s lacks an operationId, a summary, a role or the tag of its file: %+v", at, d)
		}
		if strings.HasSuffix(d.Summary, ".") || len(d.Summary) > 90 {
			t.Errorf("%s: the summary %q is long or ends with a full stop", at, d.Summary)
		}
		if other := names[d.OperationID]; other != "" {
			t.Errorf("%s and %s are both named %s", other, at, d.OperationID)
		}
		names[d.OperationID] = at
		good := false
		for status := range d.Responses {
			good = good || status < "400"
		}
		if !good {
			t.Errorf("%s has no answer that is not an error", at)
		}
	}
}

func TestTheSchemasOfTheDocumentAreSchemas(t *testing.T) {
	t.Parallel()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Compile(); err != nil {
		t.Error(err)
	}
}

func TestTheServerShowsItsDocument(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	a := s.do("GET", "/api/openapi.json", nil)
	if a.status != 200 || a.object(t)["openapi"] != "3.1.0" {
		t.Errorf("%d %.200s", a.status, a.text)
	}
}
