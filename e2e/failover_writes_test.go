//go:build linux

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// receiver takes a webhook's messages and looks at their signatures as the specification says, with none of the server's code.
type receiver struct {
	url string
	key []byte

	mu       sync.Mutex // guards what follows
	received int
	runs     map[string]map[string]bool // by flow run: the ids of the messages about it
	wrong    []string
}

func newReceiver(t *testing.T, key []byte) *receiver {
	t.Helper()
	r := &receiver{key: key, runs: map[string]map[string]bool{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	id := q.Header.Get("Webhook-Id")
	mac := hmac.New(sha256.New, r.key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, q.Header.Get("Webhook-Timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	var message struct {
		Data struct {
			FlowRun struct{ ID string } `json:"flow_run"`
		}
	}
	err = errors.Join(err, json.Unmarshal(body, &message))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received++
	if err != nil || !hmac.Equal([]byte(q.Header.Get("Webhook-Signature")), []byte(want)) {
		r.wrong = append(r.wrong, fmt.Sprintf("%v: %s", err, body))
		w.WriteHeader(http.StatusForbidden)
		return
	}
	run := message.Data.FlowRun.ID
	if r.runs[run] == nil {
		r.runs[run] = map[string]bool{}
	}
	r.runs[run][id] = true
}

// many calls do for 0 to n-1, some at a time.
func many(n int, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// TestWritesGoOnWhileTheLeaderIsKilled has requests with a key, a job over many runs, and a webhook's messages about them meet the
// leader's death; then keys for secrets are replaced while nodes are killed.
func TestWritesGoOnWhileTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	runs, named := 600, 30
	if long() {
		runs, named = 8000, 300
	}
	c := newNodes(t, 3, "--insecure", "--webhook-allow-private")
	c.start()
	conn := c.connect()
	signing := []byte("a key for signatures of the test")
	hook := newReceiver(t, signing)
	secret := "whsec_" + base64.StdEncoding.EncodeToString(signing)
	webhook := c.all[0].post("/webhooks", object{"name": "cancelled", "url": hook.url, "secret": secret, "filter": object{"state_types": []string{"CANCELLED"}}})["id"].(string)
	flow := must[*api.Flow](t)(conn.CreateFlow(t.Context(), api.FlowCreate{Name: "bulk"})).ID
	many(runs, func(int) {
		if status, err := c.all[0].request(t.Context(), http.MethodPost, "/flow_runs/", object{"flow_id": flow, "state": object{"type": "SCHEDULED"}}, nil); err != nil {
			t.Errorf("make a run: %d, %v", status, err)
		}
	})
	job := c.all[0].post("/jobs", object{"action": "cancel", "filter": object{"flows": object{"name": object{"any_": []string{"bulk"}}}}})["id"].(string)
	dead, alive := c.leader(), c.followers()
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		dead.kill9()
	}()
	// Each key goes to two nodes, until both have answered.
	ids := make([][2]string, named)
	many(2*named, func(i int) {
		key, s := i/2, alive[i%2]
		eventually(t, "a request with a key is answered", func() error {
			made := object{}
			status, err := s.requestWithKey(t, fmt.Sprint("key ", key), "/flow_runs/", object{"flow_id": flow, "name": fmt.Sprint("named ", key), "state": object{"type": "PENDING"}}, &made)
			if err == nil {
				ids[key][i%2], _ = made["id"].(string)
			} else if status != 0 && status != 429 && status != 503 {
				t.Errorf("a request with a key is answered %d: %v", status, err)
			}
			return err
		})
	})
	<-killed
	for key, two := range ids {
		if two[0] == "" || two[0] != two[1] {
			t.Errorf("key %d made %v", key, two)
		}
	}
	if n := len(alive[0].list("/flow_runs/filter", object{"limit": 200, "flow_runs": object{"state": object{"type": object{"any_": []string{"PENDING"}}}}})); n != min(named, 200) {
		t.Errorf("%d keys made %d runs", named, n)
	}

	// The job goes on and counts each run once.
	eventually(t, "the job has ended", func() error {
		var now api.Job
		if _, err := alive[0].request(t.Context(), http.MethodGet, "/jobs/"+job, nil, &now); err != nil {
			return err
		}
		if now.Status == api.JobRunning {
			return fmt.Errorf("it is at %d of %d", now.Done, now.Total)
		}
		if now.Status != api.JobCompleted || int(now.Done) != runs || now.Refused != 0 {
			t.Errorf("the job ended %s: done %d, refused %d, of %d", now.Status, now.Done, now.Refused, runs)
		}
		return nil
	})
	// Each run's message arrives, once or more often; the log says that each was delivered.
	settled := func(delivered int) {
		t.Helper()
		eventually(t, "all messages are delivered", func() error {
			w := alive[0].get("/webhooks/" + webhook)
			if w["waiting"] != 0. || w["delivered"] != float64(delivered) || w["given_up"] != 0. || w["dropped"] != 0. {
				return fmt.Errorf("the webhook is %v", w)
			}
			return nil
		})
	}
	settled(runs)
	hook.mu.Lock()
	if len(hook.runs) != runs || len(hook.wrong) != 0 || hook.received < runs {
		t.Errorf("messages about %d of %d runs came, %d in all, with wrong signatures %q", len(hook.runs), runs, hook.received, hook.wrong)
	}
	t.Logf("%d messages were sent for %d", hook.received, runs)
	for run, messages := range hook.runs {
		if len(messages) != 1 {
			t.Errorf("run %s has the messages %v", run, messages)
		}
	}
	hook.mu.Unlock()

	// Keys for secrets are replaced; the node that does it is killed in the middle, then the leader.
	dead.restart()
	keys := dead.flag("--secrets-key-file")
	operator := c.shellAs("")
	operator.ok("storage", "create", "--type", "s3", "--name", "first", "--set", "bucket=b", "--set", "aws_access_key_id=id", "--set", "aws_secret_access_key=plain", "--no-default")
	spec := c.all[0].list("/blocks/filter", object{})[0]["block_spec_id"]
	const blocks = 250
	many(blocks, func(i int) {
		if status, err := c.all[0].request(t.Context(), http.MethodPost, "/blocks/", object{"name": fmt.Sprint("b", i), "block_spec_id": spec, "data": object{"password": fmt.Sprint("secret ", i)}}, nil); err != nil {
			t.Errorf("make a block: %d, %v", status, err)
		}
	})
	writeKeys(t, keys, newKey(2), newKey(1))
	eventually(t, "new secrets are encrypted with the new key", func() error {
		r := operator.run("secrets", "status", "--no-headers")
		for line := range strings.Lines(r.stdout) {
			if strings.Contains(line, "new data") && strings.Contains(line, "\t0\t0\t") {
				return nil
			}
		}
		return errors.New(r.String())
	})
	for round := range 2 {
		victim := c.leader()
		if round == 0 {
			victim = c.followers()[0]
		}
		var both sync.WaitGroup
		both.Go(func() { _, _ = victim.request(t.Context(), http.MethodPost, "/secrets/reseal", nil, nil) }) // it dies of it, or just after
		both.Go(victim.kill9)
		both.Wait()
		victim.restart()
	}
	contains(t, operator.ok("secrets", "reseal"), "secrets with the key")
	writeKeys(t, keys, newKey(2))
	for _, s := range c.all {
		eventually(t, "everything is read without the old key", func() error {
			found := map[string]string{}
			for offset := 0; offset <= blocks; offset += 100 {
				var page []object
				if _, err := s.request(t.Context(), http.MethodPost, "/blocks/filter", object{"limit": 100, "offset": offset}, &page); err != nil {
					return err
				}
				for _, b := range page {
					found[b["name"].(string)] = fmt.Sprint(b["data"].(object)["password"])
				}
			}
			if text := s.readyText(); strings.Contains(text, "[!] secrets") || len(found) != blocks+1 {
				return fmt.Errorf("%d blocks are found; %s", len(found), text)
			}
			for i := range blocks {
				if got := found[fmt.Sprint("b", i)]; got != fmt.Sprint("secret ", i) {
					t.Errorf("block %d holds %q", i, got)
				}
			}
			return nil
		})
	}
	c.all[0].post("/webhooks/"+webhook+"/test", nil)
	settled(runs + 1)
	hook.mu.Lock()
	defer hook.mu.Unlock()
	if len(hook.wrong) != 0 {
		t.Errorf("after the keys were replaced, messages are not signed as they should be: %q", hook.wrong)
	}
}
