package httpapi

import (
	"strings"
	"testing"
)

func TestWebhooksAreKeptAndTheirOutboxIsSeen(t *testing.T) {
	everywhere(t, checkWebhooksAreKeptAndTheirOutboxIsSeen)
}

func checkWebhooksAreKeptAndTheirOutboxIsSeen(t *testing.T, at place) {
	s := newStack(t, at)
	hook := s.must(201, "POST", "/api/webhooks", object{"name": "alerts", "url": "https://example.org/hook", "filter": object{"state_types": []string{"FAILED"}, "tags": []string{"prod"}}})
	path := "/api/webhooks/" + hook["id"].(string)
	if secret, _ := hook["secret"].(string); !strings.HasPrefix(secret, "whsec_") {
		t.Errorf("the secret is %v", hook["secret"])
	}
	if secret, told := s.must(200, "GET", path, nil)["secret"]; told {
		t.Errorf("the secret is told again: %v", secret)
	}
	if a := s.do("POST", "/api/webhooks", object{"name": "alerts", "url": "https://example.org/"}); a.status != 409 {
		t.Errorf("a second webhook of that name: %d %s", a.status, a.text)
	}
	for body, want := range map[string]string{
		`{"name":"x","url":"ftp://example.org"}`:                                  "https:// or http://",
		`{"name":"x","url":"https://user:secret@example.org"}`:                    "must not hold a password",
		`{"name":"x","url":"https://example.org","secret":"whsec_c2hvcnQ="}`:      "24 to 64 bytes",
		`{"name":"x","url":"https://example.org","filter":{"state_type":"Late"}}`: "extra fields not permitted",
		`{"name":"","url":"https://example.org"}`:                                 "1 to 200 bytes",
	} {
		if a := s.do("POST", "/api/webhooks", body, oddly...); a.status != 422 || !strings.Contains(a.text, want) {
			t.Errorf("%s: status %d: %s", body, a.status, a.text)
		}
	}
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	for _, tags := range [][]string{{"prod"}, {"test"}, {"prod", "x"}} {
		run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "tags": tags, "state": object{"type": "RUNNING"}})
		s.must(201, "POST", "/api/flow_runs/"+run["id"].(string)+"/set_state", object{"state": object{"type": "FAILED"}})
	}
	waiting := s.do("GET", path+"/deliveries", nil).json(t).([]any)
	if len(waiting) != 2 || waiting[0].(map[string]any)["state_type"] != "FAILED" {
		t.Errorf("waiting are %v, want the failures of the two runs with the tag", waiting)
	}
	s.must(200, "PATCH", path, object{"paused": true})
	run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "tags": []string{"prod"}, "state": object{"type": "FAILED"}})
	if got := s.must(200, "GET", path, nil); got["waiting"] != 2.0 || got["paused"] != true {
		t.Errorf("while it is paused %v, after the run %v failed; want two waiting", got, run["id"])
	}
	test := s.must(201, "POST", path+"/test", nil)
	if test["test"] != true || test["status"] != "waiting" {
		t.Errorf("a test is %v", test)
	}
	if a := s.do("POST", path+"/deliveries/"+test["id"].(string)+"/redeliver", nil); a.status != 409 {
		t.Errorf("what waits was put back: %d %s", a.status, a.text)
	}
	if changed := s.must(200, "PATCH", path, object{"new_secret": true}); changed["secret"] == hook["secret"] || changed["secret"] == nil {
		t.Errorf("a new secret: %v", changed["secret"])
	}
	if a := s.do("DELETE", path, nil); a.status != 204 {
		t.Errorf("deleted: %d %s", a.status, a.text)
	}
	s.must(404, "GET", path, nil)
	s.must(404, "GET", path+"/deliveries", nil)
}

func TestARepeatedWebhookTellsNoOtherSecret(t *testing.T) {
	everywhere(t, checkARepeatedWebhookTellsNoOtherSecret)
}

func checkARepeatedWebhookTellsNoOtherSecret(t *testing.T, at place) {
	s := newStack(t, at)
	key := []string{"Idempotency-Key", "hook-1"}
	made := object{"name": "alerts", "url": "https://example.org/hook"}
	s.must(201, "POST", "/api/webhooks", made, key...)
	if a := s.do("POST", "/api/webhooks", made, key...); a.status != 409 || strings.Contains(a.text, "whsec_") || !strings.Contains(a.text, "new_secret") {
		t.Errorf("a webhook of which the server made the secret, again: %d %s", a.status, a.text)
	}
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	key, made = []string{"Idempotency-Key", "hook-2"}, object{"name": "own", "url": "https://example.org/hook", "secret": secret}
	first := s.must(201, "POST", "/api/webhooks", made, key...)
	if a := s.do("POST", "/api/webhooks", made, key...); a.status != 201 || a.object(t)["id"] != first["id"] || a.object(t)["secret"] != secret {
		t.Errorf("a webhook with a secret of its own, again: %d %s", a.status, a.text)
	}
}
