package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// jobServer answers a preview of three runs, and a job that ends when it is looked at a second time.
func jobServer(t *testing.T) *recorder {
	t.Helper()
	looked := 0
	return record(t, func(w http.ResponseWriter, r request) {
		id, err := api.ParseID(runID)
		if err != nil {
			t.Error(err)
		}
		job := api.Job{ID: id, Action: api.JobCancel, Status: api.JobRunning, Total: 3, Refusals: []api.JobRefusal{}}
		switch {
		case strings.Contains(r.body, `"dry_run":true`):
			_ = json.NewEncoder(w).Encode(api.JobPreview{Action: api.JobCancel, Count: 3, Sample: []api.FlowRun{{ID: id, Name: "tan-lion"}}})
			return
		case r.method == "POST":
			w.WriteHeader(http.StatusCreated)
		default:
			if looked++; looked > 1 {
				job.Status, job.Done, job.Refused = api.JobCompleted, 2, 1
				job.Refusals = append(job.Refusals, api.JobRefusal{FlowRunID: id, Name: "tan-lion", Reason: "the flow run is Completed already"})
			}
		}
		_ = json.NewEncoder(w).Encode(job)
	})
}

func TestManyRunsAreCancelledByAJob(t *testing.T) {
	t.Parallel()
	server := jobServer(t)
	got := newShell(t, server.api()).run("flow-run", "cancel", "--state", "Late", "--tag", "etl", "--message", "enough", "-y")
	if got.code != exitOK || !strings.Contains(got.out, "Cancelled 2 flow runs; refused: 1\n") || !strings.Contains(got.out, "tan-lion") || !strings.Contains(got.out, "Completed already") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	sent := server.sent("POST", "/jobs/")
	want := `{"action":"cancel","filter":{"flow_runs":{"tags":{"all_":["etl"]},"state":{"name":{"any_":["Late"]}}}},"message":"enough"}`
	if len(sent) != 2 || sent[1] != want {
		t.Errorf("sent %s, want %s", sent, want)
	}
}

func TestManyRunsAreChangedOnlyWhenThatIsMeant(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"flow-run cancel --state Late":                    "3 flow runs are selected, and nobody can be asked",
		"flow-run cancel":                                 "which flow run?",
		"flow-run cancel tan-lion --state Late":           "not both",
		"flow-run delete --all --state Late":              "--all means every flow run",
		"flow-run delete --state Lost":                    "--state is 'Lost'",
		"flow-run delete --filter {\"flow_run\":{}}":      "--filter is no filter",
		"flow-run set-state --to Done --state Late":       "--to is 'Done'",
		"flow-run retry --filter {\"flow_runs\":{\"id\":": "--filter is no filter",
	} {
		server := jobServer(t)
		got := newShell(t, server.api()).run(strings.Fields(line)...)
		if got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit %d, %s", line, got.code, got.err)
		}
		for _, body := range server.sent("POST", "/jobs/") {
			if !strings.Contains(body, `"dry_run":true`) {
				t.Errorf("%s made a job: %s", line, body)
			}
		}
	}
}

func TestADryRunShowsAndChangesNothing(t *testing.T) {
	t.Parallel()
	server := jobServer(t)
	s := newShell(t, server.api())
	if got := s.ok("flow-run", "delete", "--all", "--dry-run"); !strings.Contains(got, "Would delete 3 flow runs, the newest of them:\n  'tan-lion'") {
		t.Errorf("got %s", got)
	}
	if got := s.ok("flow-run", "delete", "--all", "--dry-run", "-o", "json"); !strings.Contains(got, `"count": 3`) {
		t.Errorf("got %s", got)
	}
	if sent := server.sent("POST", "/jobs/"); len(sent) != 2 || !strings.Contains(sent[0], `"all":true`) {
		t.Errorf("sent %s", sent)
	}
}
