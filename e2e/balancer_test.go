//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestBehindABalancer uses the balancers' files of deploy/ as they are, with three nodes installed as docs/operate says.
func TestBehindABalancer(t *testing.T) {
	t.Parallel()
	for program, debian := range map[string]string{"haproxy": "haproxy", "nginx": "nginx-light"} {
		t.Run("all nodes are restarted and no request fails, behind "+program, func(t *testing.T) {
			t.Parallel()
			needs(t, program, debian)
			s := newSite(t)
			s.more = "" // they drain as they are delivered
			s.setup("three nodes")
			s.balance(program)
			address := s.prefix + "10:4200"
			eventually(t, "the balancer answers", func() error { return ready(t.Context(), address) })
			l := startLoad(t, address)
			for i := range 3 {
				began := time.Now()
				m := s.machine(fmt.Sprint("n", i+1))
				if r := m.sh("sudo systemctl restart sluice-server"); r.code != 0 {
					t.Fatal(r)
				}
				t.Logf("%s was restarted in %s", m.name, time.Since(began).Round(time.Millisecond))
				// The balancer sends requests there again before the next node goes.
				served := requestsOf(t, m)
				eventually(t, "the balancer uses "+m.name+" again", func() error {
					if now := requestsOf(t, m); now <= served {
						return fmt.Errorf("it has answered %v requests", now)
					}
					return nil
				})
			}
			l.stop()
			for what, n := range map[string]int64{"write": l.writes.Load(), "long poll": l.polls.Load(), "stream": l.streams.Load()} {
				if n == 0 {
					t.Errorf("there was no %s", what)
				}
			}
			if l.failed.Load() > 0 {
				t.Errorf("%d of %d requests failed; the first: %v", l.failed.Load(), l.done.Load(), l.first.Load())
			}
			t.Logf("%d requests, %d writes among them, %d failed, %d connections refused; %d long polls; %d streams opened",
				l.done.Load(), l.writes.Load(), l.failed.Load(), l.refused.Load(), l.polls.Load(), l.streams.Load())
		})
	}
	t.Run("an agent that goes away while it waits is given no work", func(t *testing.T) {
		t.Parallel()
		needs(t, "haproxy", "haproxy")
		s := newSite(t)
		s.setup("three nodes")
		s.balance("haproxy")
		server := &server{t: t, address: s.prefix + "10:4200"}
		eventually(t, "the balancer answers", func() error { return ready(t.Context(), server.address) })
		conn := connect(t, server, 0)
		id := queue(t, conn, "shared", 0)
		deployment := deploy(t, conn, "steady", nil, "true").deployment
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		first, second := newAgentID(t, server), newAgentID(t, server)
		go func() { gone <- claim(ctx, server, first, id, 30, nil) }()
		eventually(t, "the claim waits at a node", func() error { return s.waitingClaims(1) })
		leave()
		<-gone
		eventually(t, "no claim waits", func() error { return s.waitingClaims(0) })
		wanted := run(t, conn, deployment)
		var got object
		if err := claim(t.Context(), server, second, id, 30, &got); err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(got); !strings.Contains(string(text), wanted.String()) {
			t.Errorf("the agent that is there was given %s, not %s", text, wanted)
		}
	})
}

// load is a client behind a balancer that repeats nothing but what found no connection: writes and reads one after the other,
// long polls, and streams, which it opens again when they end.
type load struct {
	t       *testing.T
	base    string
	client  *http.Client
	end     context.CancelFunc
	work    sync.WaitGroup
	done    atomic.Int64
	writes  atomic.Int64
	polls   atomic.Int64
	streams atomic.Int64
	failed  atomic.Int64
	refused atomic.Int64
	first   atomic.Value // error
}

func startLoad(t *testing.T, address string) *load {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	l := &load{t: t, base: "http://" + address + "/api", end: end, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	server := &server{t: t, address: address}
	queue := server.post("/work_queues/", object{"name": "load"})["id"]
	flow := server.post("/flows/", object{"name": "load"})["id"]
	agent := newAgentID(t, server)
	for worker := range 6 {
		l.work.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.request(ctx, http.MethodPost, "/flow_runs/", object{"flow_id": flow, "name": fmt.Sprint("run-", worker, "-", n)}, &l.writes)
				l.request(ctx, http.MethodPost, "/flow_runs/filter", object{"limit": 5, "sort": "EXPECTED_START_TIME_DESC"}, nil)
				l.request(ctx, http.MethodGet, "/work_queues/"+fmt.Sprint(queue), nil, nil)
			}
		})
	}
	for n := range 4 {
		l.work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.request(ctx, http.MethodPost, "/agents/"+agent+"/claim", object{"work_queue_ids": []any{queue}, "limit": 1, "wait_seconds": 30,
					"claim_id": fmt.Sprintf("00000000-0000-4000-8000-%04d%08d", n, i)}, &l.polls)
			}
		})
		l.work.Go(func() {
			for ctx.Err() == nil {
				l.stream(ctx)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.end()
	l.work.Wait()
}

func (l *load) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, err)
	}
}

func (l *load) request(ctx context.Context, method, path string, body any, count *atomic.Int64) {
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body) // texts and numbers always encode
	}
	for {
		request, err := http.NewRequestWithContext(ctx, method, l.base+path, bytes.NewReader(content))
		if err != nil {
			l.fail(ctx, err)
			return
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := l.client.Do(request)
		if errors.Is(err, syscall.ECONNREFUSED) {
			l.refused.Add(1)
			continue
		}
		if err != nil {
			l.fail(ctx, err)
			return
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		l.done.Add(1)
		if count != nil {
			count.Add(1)
		}
		if err != nil || response.StatusCode >= 400 {
			l.fail(ctx, fmt.Errorf("%s %s at %s: %s: %s (%w)", method, path, time.Now().Format(time.StampMilli), response.Status, answer, err))
		}
		return
	}
}

// stream reads one stream to its end: a node that stops ends it properly.
func (l *load) stream(ctx context.Context) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+"/events", nil)
	if err != nil {
		l.fail(ctx, err)
		return
	}
	response, err := l.client.Do(request)
	if err != nil {
		l.fail(ctx, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	l.streams.Add(1)
	if response.StatusCode != http.StatusOK {
		l.fail(ctx, fmt.Errorf("stream: %s", response.Status))
		return
	}
	lines, last := bufio.NewScanner(response.Body), ""
	for lines.Scan() {
		if lines.Text() != "" {
			last = lines.Text()
		}
	}
	if lines.Err() != nil || !strings.HasPrefix(last, "retry: ") {
		l.fail(ctx, fmt.Errorf("the stream ended with %q (%w)", last, lines.Err()))
	}
}

// newAgentID registers an agent.
func newAgentID(t *testing.T, server *server) string {
	t.Helper()
	id := fmt.Sprintf("00000000-0000-4000-9000-%012d", time.Now().UnixNano()%1e12)
	server.post("/agents/", object{"id": id, "name": id})
	return id
}

// claim asks for one run as an agent does.
func claim(ctx context.Context, server *server, agent string, queue any, wait int, out any) error {
	_, err := server.request(ctx, http.MethodPost, "/agents/"+agent+"/claim", object{"work_queue_ids": []any{queue}, "limit": 1, "wait_seconds": wait,
		"claim_id": fmt.Sprintf("00000000-0000-4000-a000-%012d", time.Now().UnixNano()%1e12)}, out)
	return err
}

// metric returns the sum of a node's metric over the label sets that contain the text.
func (m *machine) metric(name, label string) (float64, error) {
	response, err := get(m.t.Context(), "http://"+m.address()+":4200/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	sum := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if key, value, found := strings.Cut(lines.Text(), "} "); found && strings.HasPrefix(key, name+"{") && strings.Contains(key, label) {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				return 0, err
			}
			sum += v
		} else if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			if _, err := fmt.Sscan(value, &sum); err != nil {
				return 0, err
			}
		}
	}
	return sum, lines.Err()
}

// requestsOf counts the requests of the API that a node has answered.
func requestsOf(t *testing.T, m *machine) float64 {
	t.Helper()
	n, err := m.metric("sluice_http_request_duration_seconds_count", `route="/flow_runs`)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// waitingClaims is nil when so many agents wait for work.
func (s *site) waitingClaims(want float64) error {
	sum := 0.0
	for i := range 3 { // only the leader's count
		n, err := s.machine(fmt.Sprint("n", i+1)).metric("sluice_work_queue_waiting_agents", "")
		if err != nil {
			return err
		}
		sum += n
	}
	if sum != want {
		return fmt.Errorf("%v agents wait", sum)
	}
	return nil
}
