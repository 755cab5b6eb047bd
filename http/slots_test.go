package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func TestSlotsAreShownWithTheirHoldersAndExplainNamesThem(t *testing.T) {
	everywhere(t, checkSlotsAreShownWithTheirHoldersAndExplainNamesThem)
}

func checkSlotsAreShownWithTheirHoldersAndExplainNamesThem(t *testing.T, at place) {
	s := newStack(t, at)
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q", "concurrency_limit": 1})["id"].(string)
	s.must(201, "POST", "/api/agents/", object{"id": agentID, "name": "a", "hostname": "h", "work_queue_ids": []string{queue}})
	first, deployment := s.dueRun("t")
	path := "/api/work_queues/" + queue + "/slots"
	if got := s.must(200, "GET", path, nil); got["in_use"] != 0.0 || len(got["slots"].([]any)) != 0 || got["concurrency_limit"] != 1.0 {
		t.Errorf("an idle queue: %v", got)
	}
	s.claim(queue, agentID)
	got := s.must(200, "GET", path, nil)
	slots := got["slots"].([]any)
	if got["in_use"] != 1.0 || len(slots) != 1 || got["next_cursor"] != nil {
		t.Fatalf("slots: %v", got)
	}
	if slot := slots[0].(object); slot["flow_run_id"] != first["id"] || slot["state_type"] != "PENDING" || slot["agent_name"] != "a" || slot["lease_owner"] != "agent 'a' on h" {
		t.Errorf("slot: %v", slot)
	}
	s.must(404, "GET", "/api/work_queues/"+nobody+"/slots", nil)
	s.must(422, "GET", path+"?cursor=what", nil)
	// The next run of the deployment meets a full queue; the holder is named.
	second := s.must(201, "POST", "/api/deployments/"+deployment["id"].(string)+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}})
	why := func() object {
		return s.must(200, "GET", "/api/flow_runs/"+second["id"].(string)+"/explain", nil)["reasons"].([]any)[0].(object)
	}
	if r := why(); r["code"] != "queue_full" || !strings.Contains(r["message"].(string), "by '"+first["name"].(string)+"'") || r["command"] != "sluice work-queue slots q" {
		t.Errorf("explain: %v", r)
	}
	// With room in the queue, the only agent executes the first and asks for nothing.
	s.must(204, "PATCH", "/api/work_queues/"+queue, object{"concurrency_limit": 5})
	id, err := api.ParseID(agentID)
	if err != nil {
		t.Fatal(err)
	}
	seen := AgentPresence{LastSeen: time.Now(), Live: true}
	s.claims.presence = Presence{Agents: map[api.ID]AgentPresence{id: seen}}
	if r := why(); r["code"] != "agents_full" {
		t.Errorf("explain: %v", r)
	}
	seen.Asking = true
	s.claims.presence.Agents[id] = seen
	if r := why(); r["code"] != "ready" {
		t.Errorf("explain: %v", r)
	}
}

func TestExplainNamesTheTagLimitThatATaskRunWaitsFor(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	s.must(200, "POST", "/api/concurrency_limits/", object{"tag": "db", "concurrency_limit": 1}, "X-Test-Odd", "1")
	var runs []string
	for i := range 2 {
		run, _ := s.dueRun()
		runs = append(runs, run["id"].(string))
		s.must(201, "POST", "/api/flow_runs/"+runs[i]+"/set_state", object{"state": object{"type": "RUNNING"}, "force": true})
		task := s.must(201, "POST", "/api/task_runs/", object{"flow_run_id": runs[i], "name": fmt.Sprint("task", i), "task_key": "k", "dynamic_key": "0", "tags": []string{"db"}})
		s.do("POST", "/api/task_runs/"+task["id"].(string)+"/set_state", object{"state": object{"type": "RUNNING"}})
	}
	e := s.must(200, "GET", "/api/flow_runs/"+runs[1]+"/explain", nil)
	r := e["reasons"].([]any)[0].(object)
	if e["waiting"] != true || r["code"] != "tag_limit_full" || !strings.Contains(r["message"].(string), "'task1' waits") || !strings.Contains(r["message"].(string), "by 'task0'") {
		t.Errorf("explain: %v", e)
	}
}

func TestALimitOfATagWithSlashesIsFoundByItsTag(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	id := s.must(200, "POST", "/api/concurrency_limits/", object{"tag": "team/x y", "concurrency_limit": 2})["id"]
	for _, path := range []string{"team%2Fx%20y", "team%2Fx%20y/"} {
		if got := s.must(200, "GET", "/api/concurrency_limits/tag/"+path, nil)["id"]; got != id {
			t.Errorf("%s: %v, want %v", path, got, id)
		}
	}
	if a := s.do("DELETE", "/api/concurrency_limits/tag/team%2Fx%20y", nil); a.status != 200 {
		t.Errorf("deleting it: %d %s", a.status, a.text)
	}
	if a := s.do("GET", "/api/concurrency_limits/tag/team%2Fx%20y", nil); a.status != 404 || a.json(t).(object)["detail"] != "Concurrency limit not found" {
		t.Errorf("after that: %d %s", a.status, a.text)
	}
}
