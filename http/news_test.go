package httpapi

import (
	"slices"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// beat sends a heartbeat of the agent, or with none a renewal, that may wait for as long as it may, and returns when it has begun.
func (s *stack) beat(agent string, body object) <-chan answer {
	s.t.Helper()
	path := "/api/leases/renew"
	if agent != "" {
		path = "/api/agents/" + agent + "/heartbeat"
	}
	body["wait_seconds"] = 30
	answered := make(chan answer, 1)
	go func() { answered <- s.do("POST", path, body) }()
	<-s.claims.beats
	return answered
}

// granted makes an agent that executes a run, and returns the lease.
func (s *stack) granted() (run string, lease object) {
	s.t.Helper()
	made, _ := s.dueRun()
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q"})["id"]
	s.must(201, "POST", "/api/agents/", object{"id": agentID, "name": "a"})
	grant := s.claim(queue, api.NewID().String())["grants"].([]any)[0].(object)
	run = made["id"].(string)
	token := grant["token"].(string)
	s.must(201, "POST", "/api/flow_runs/"+run+"/set_state", object{"state": object{"type": "RUNNING"}}, api.HeaderLease, token)
	return run, object{"flow_run_id": run, "token": token}
}

func TestAHeartbeatThatWaits(t *testing.T) {
	t.Parallel()
	tells := func(t *testing.T, got answer, key string, ids ...string) {
		t.Helper()
		var told []string
		for _, v := range got.object(t)[key].([]any) {
			if lost, is := v.(object); is {
				v = lost["flow_run_id"]
			}
			told = append(told, v.(string))
		}
		if got.status != 200 || !slices.Equal(told, ids) {
			t.Errorf("%d %s", got.status, got.text)
		}
	}
	for name, place := range map[string]place{"of one node": oneNode, "of a follower": throughFollower} {
		t.Run("is answered when a run is cancelled, by the server "+name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, place)
			run, lease := s.granted()
			answered := s.beat(agentID, object{"leases": []any{lease}})
			s.must(202, "POST", "/api/flow_runs/"+run+"/cancel", object{})
			tells(t, <-answered, "cancelling", run)
			// Who has not understood is told again at once, who has is told nothing more.
			tells(t, <-s.beat(agentID, object{"leases": []any{lease}}), "cancelling", run)
			lease["cancelling"] = true
			again := s.beat(agentID, object{"leases": []any{lease}})
			s.must(200, "POST", "/api/agents/"+agentID+"/drain", nil)
			if got := <-again; !got.object(t)["draining"].(bool) {
				t.Error(got.text)
			}
		})
	}
	t.Run("is answered when a run is cancelled that was granted since", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		run, _ := s.granted()
		answered := s.beat(agentID, object{"leases": []any{}})
		s.must(202, "POST", "/api/flow_runs/"+run+"/cancel", object{})
		tells(t, <-answered, "cancelling", run)
	})
	t.Run("is answered when a run is deleted, but not when its process ends it", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		run, lease := s.granted()
		answered := s.beat(agentID, object{"leases": []any{lease}})
		s.must(201, "POST", "/api/flow_runs/"+run+"/set_state", object{"state": object{"type": "COMPLETED"}}, api.HeaderLease, lease["token"].(string))
		s.must(204, "DELETE", "/api/flow_runs/"+run, nil)
		got := <-answered
		tells(t, got, "lost", run)
		if reason := got.object(t)["lost"].([]any)[0].(object)["reason"]; reason != "The flow run was deleted." {
			t.Error(reason)
		}
	})
	t.Run("of a process without an agent is answered when its run is cancelled", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		run := s.aRun()
		s.must(201, "POST", "/api/flow_runs/"+run+"/set_state", object{"state": object{"type": "RUNNING"}})
		token := s.must(201, "POST", "/api/flow_runs/"+run+"/lease", object{"owner": "python leo.py"})["token"]
		answered := s.beat("", object{"leases": []any{object{"flow_run_id": run, "token": token}}})
		s.must(202, "POST", "/api/flow_runs/"+run+"/cancel", object{})
		tells(t, <-answered, "cancelling", run)
	})
	t.Run("is answered when the node is told to stop", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		_, lease := s.granted()
		answered := s.beat(agentID, object{"leases": []any{lease}})
		s.server.Drain()
		tells(t, <-answered, "cancelling")
	})
}

func TestDrainingAnAgent(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	run, lease := s.granted()
	got := s.must(200, "POST", "/api/agents/"+agentID+"/drain", nil)
	if got["draining"] != true || got["flow_runs"].([]any)[0] != run {
		t.Errorf("%v", got)
	}
	s.must(200, "POST", "/api/agents/"+agentID+"/drain", nil) // again
	// A repeated registration, as after an outage, does not call it back.
	s.must(200, "POST", "/api/agents/", object{"id": agentID, "name": "a"})
	if got := s.must(200, "POST", "/api/agents/"+agentID+"/heartbeat", object{"leases": []any{lease}}); got["draining"] != true {
		t.Errorf("%v", got)
	}
	waiting := s.beat(agentID, object{"draining": true})
	if got := s.must(200, "POST", "/api/agents/"+agentID+"/undrain", nil); got["draining"] != false {
		t.Errorf("%v", got)
	}
	if got := <-waiting; got.object(t)["draining"] == true {
		t.Error(got.text)
	}
	if got := s.do("POST", "/api/agents/"+nobody+"/drain", nil); got.status != 404 {
		t.Errorf("%d %s", got.status, got.text)
	}
}
