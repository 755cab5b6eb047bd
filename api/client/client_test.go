package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// server counts the requests it gets and answers with handle.
type server struct {
	*httptest.Server
	hits atomic.Int64
}

func serve(t *testing.T, handle http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) api() string { return s.URL + "/api" }

// refused returns an address where nothing listens.
func refused(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String() + "/api"
}

func connect(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	config.Transport = client.NewTransport()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// hangUp closes the connection without an answer, as a server that dies in the middle of a request.
func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

const flowJSON = `{"id":"0f536aaa-216f-4c72-9c31-f3272bcdf977","name":"f","tags":[]}`

func TestADeadAddressIsPassedOverAndTheLiveOneKept(t *testing.T) {
	t.Parallel()
	live := serve(t, answer(flowJSON))
	c := connect(t, client.Config{Addresses: []string{refused(t), live.api()}})
	for range 3 {
		if _, err := c.CreateWorkQueue(t.Context(), api.WorkQueueCreate{Name: "q"}); err != nil {
			t.Fatal(err)
		}
	}
	if c.Address() != live.api() || live.hits.Load() != 3 {
		t.Errorf("address %s, %d hits", c.Address(), live.hits.Load())
	}
}

func TestAServerThatClosesWithItsAnswerIsLeftForAnotherAddress(t *testing.T) {
	t.Parallel()
	leaving, other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		answer(flowJSON)(w, r)
	}), serve(t, answer(flowJSON))
	c := connect(t, client.Config{Addresses: []string{leaving.api(), other.api()}})
	for range 3 {
		if _, err := c.Flow(t.Context(), api.NewID()); err != nil {
			t.Fatal(err)
		}
	}
	if leaving.hits.Load() != 1 || other.hits.Load() != 2 {
		t.Errorf("%d hits of the leaving server, %d of the other", leaving.hits.Load(), other.hits.Load())
	}
}

func TestNoServerIsToldWithAddressAndHint(t *testing.T) {
	t.Parallel()
	address := refused(t)
	c := connect(t, client.Config{Addresses: []string{address}})
	_, err := c.Flow(t.Context(), api.NewID())
	known, ok := errors.AsType[*api.Error](err)
	if !ok || known.Kind != api.KindUnreachable {
		t.Fatalf("got %#v", err)
	}
	if want := "cannot reach the Sluice API at " + address + ": connection refused"; known.Error() != want {
		t.Errorf("got %q, want %q", known.Error(), want)
	}
	if want := `start one with "sluice server start", or point to another with "sluice config set SLUICE_API_URL=http://HOST:4200/api"`; known.Hint != want {
		t.Errorf("got %q", known.Hint)
	}
}

func TestOnlyHarmlessRequestsAreRepeatedWhenTheOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	key := "once"
	for _, test := range []struct {
		name     string
		do       func(context.Context, *client.Client) error
		repeated bool
	}{
		{"a read", func(ctx context.Context, c *client.Client) error {
			_, err := c.FilterFlows(ctx, api.FilterRequest{})
			return err
		}, true},
		{"a claim", func(ctx context.Context, c *client.Client) error {
			_, err := c.Claim(ctx, api.NewID(), api.Claim{ClaimID: api.NewID()})
			return err
		}, true},
		{"numbered logs", func(ctx context.Context, c *client.Client) error {
			return c.CreateLogs(ctx, api.NewID(), 1, []api.LogCreate{{Message: "x"}})
		}, true},
		{"a creation with an idempotency key", func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateFlowRun(ctx, api.FlowRunCreate{IdempotencyKey: &key})
			return err
		}, true},
		{"an end of a run", func(ctx context.Context, c *client.Client) error {
			_, err := c.SetFlowRunState(ctx, api.NewID(), api.SetState{State: api.NewState(api.Completed, "")}, "t")
			return err
		}, true},
		{"a creation without a key", func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateFlowRun(ctx, api.FlowRunCreate{})
			return err
		}, false},
		{"logs without a number", func(ctx context.Context, c *client.Client) error {
			return c.CreateLogs(ctx, api.ID{}, 0, nil)
		}, false},
		{"a start of a run", func(ctx context.Context, c *client.Client) error {
			_, err := c.SetFlowRunState(ctx, api.NewID(), api.SetState{State: api.NewState(api.Running, "")}, "t")
			return err
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dying := serve(t, hangUp)
			live := serve(t, answer(`null`))
			c := connect(t, client.Config{Addresses: []string{dying.api(), live.api()}})
			err := test.do(t.Context(), c)
			if (err == nil) != test.repeated || (live.hits.Load() == 1) != test.repeated {
				t.Errorf("error %v, %d hits", err, live.hits.Load())
			}
		})
	}
}

func TestAnythingIsRepeatedWhenItWasSurelyNotDone(t *testing.T) {
	t.Parallel()
	var refusals atomic.Int64
	busy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if refusals.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"detail":"there is no leader","kind":"unavailable"}`)
			return
		}
		_, _ = io.WriteString(w, flowJSON)
	})
	c := connect(t, client.Config{Addresses: []string{busy.api()}, RetryFor: -1})
	if _, err := c.CreateFlowRun(t.Context(), api.FlowRunCreate{}); err != nil {
		t.Fatal(err)
	}
	if busy.hits.Load() != 3 {
		t.Errorf("%d hits", busy.hits.Load())
	}
}

func TestAnUnknownOutcomeIsNotRepeatedForAWrite(t *testing.T) {
	t.Parallel()
	lost := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"detail":"the leader was lost","kind":"unknown_outcome"}`)
	})
	c := connect(t, client.Config{Addresses: []string{lost.api()}, RetryFor: -1})
	_, err := c.CreateFlowRun(t.Context(), api.FlowRunCreate{})
	if api.KindOf(err) != api.KindUnknownOutcome || lost.hits.Load() != 1 {
		t.Errorf("got %v after %d hits", err, lost.hits.Load())
	}
}

func TestWithoutPatienceEachAddressIsTriedOnce(t *testing.T) {
	t.Parallel()
	unavailable := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	one, two := serve(t, unavailable), serve(t, unavailable)
	c := connect(t, client.Config{Addresses: []string{one.api(), two.api(), refused(t)}})
	_, err := c.Flow(t.Context(), api.NewID())
	if api.KindOf(err) != api.KindUnavailable || one.hits.Load() != 1 || two.hits.Load() != 1 {
		t.Errorf("got %v, hits %d %d", err, one.hits.Load(), two.hits.Load())
	}
}

func TestAnEndedContextStopsTheRepeating(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	busy := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := connect(t, client.Config{Addresses: []string{busy.api()}, RetryFor: -1})
	if _, err := c.Flow(ctx, api.NewID()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAReaderSeesItsOwnWriteOnAnotherNode(t *testing.T) {
	t.Parallel()
	var seen []string
	node := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get(api.HeaderMinIndex))
		w.Header().Set(api.HeaderIndex, fmt.Sprint("i", len(seen)))
		_, _ = io.WriteString(w, flowJSON)
	})
	c := connect(t, client.Config{Addresses: []string{node.api()}})
	for _, do := range []func() error{
		func() error { _, err := c.CreateFlow(t.Context(), api.FlowCreate{Name: "f"}); return err },
		func() error { _, err := c.Flow(t.Context(), api.NewID()); return err },
		func() error { _, err := c.Flow(t.Context(), api.NewID()); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(seen, []string{"", "i1", "i1"}) {
		t.Errorf("sent %q", seen)
	}
}

func TestHeadersSayWhoReports(t *testing.T) {
	t.Parallel()
	var got http.Header
	node := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		_, _ = io.WriteString(w, `{"state":null,"status":"ABORT","details":{"type":"abort_details","reason":"The lease on this flow run was lost."}}`)
	})
	c := connect(t, client.Config{Addresses: []string{node.api()}, Token: "secret"})
	result, err := c.SetTaskRunState(t.Context(), api.NewID(), api.SetState{State: api.NewState(api.Running, "")}, "lease-7")
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != api.Abort || result.Reason() != api.ReasonLeaseLost {
		t.Errorf("got %+v", result)
	}
	if got.Get(api.HeaderLease) != "lease-7" || got.Get("Authorization") != "Bearer secret" {
		t.Errorf("got %v", got)
	}
}

func TestErrorBodiesOfAllFormsBecomeErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		body   string
		want   api.Error
	}{
		{404, `{"detail":"Flow not found"}`, api.Error{Kind: api.KindNotFound, Message: "Flow not found"}},
		{404, `{"message":"Block not found"}`, api.Error{Kind: api.KindNotFound, Message: "Block not found"}},
		{404, `{"exception_message":"Work queue not found."}`, api.Error{Kind: api.KindNotFound, Message: "Work queue not found."}},
		{403, `{"detail":"no","kind":"forbidden","hint":"ask","request_id":"r1"}`, api.Error{Kind: api.KindForbidden, Message: "no", Hint: "ask", RequestID: "r1"}},
		{422, `{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","name"],"msg":"field required","type":"value_error.missing"},{"loc":["body","filter","tags",0],"msg":"str type expected","type":"t"}],"request_body":{}}`,
			api.Error{Kind: api.KindInvalid, Message: "name: field required; filter.tags.0: str type expected"}},
	} {
		node := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		c := connect(t, client.Config{Addresses: []string{node.api()}})
		_, err := c.Flow(t.Context(), api.NewID())
		if known, ok := errors.AsType[*api.Error](err); !ok || *known != test.want {
			t.Errorf("%s: got %#v", test.body, err)
		}
	}
}

func TestABalancerWithoutNodesLeadsToTheNodes(t *testing.T) {
	t.Parallel()
	balancer := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<html><body><h1>503 Service Unavailable</h1>")
	})
	_, err := connect(t, client.Config{Addresses: []string{balancer.api()}}).Flow(t.Context(), api.NewID())
	if known, ok := errors.AsType[*api.Error](err); !ok || !strings.Contains(known.Hint, "sluice cluster health --api http://NODE:4200/api") {
		t.Errorf("got %#v", err)
	}
}

func TestWhatANodeSaysOfASnapshotIsToldThoughOthersAreDown(t *testing.T) {
	t.Parallel()
	alone := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"detail":"no leader within 5s","kind":"unavailable","hint":"repeat it"}`)
	})
	c := connect(t, client.Config{Addresses: []string{refused(t), alone.api(), refused(t)}})
	if _, _, err := c.SaveSnapshot(t.Context(), false); err == nil || err.Error() != "no leader within 5s" {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsNoJSONNamesTheAddress(t *testing.T) {
	t.Parallel()
	node := serve(t, answer("<html>"))
	c := connect(t, client.Config{Addresses: []string{node.api()}})
	_, err := c.Flow(t.Context(), api.NewID())
	if err == nil || !strings.Contains(err.Error(), node.api()) {
		t.Errorf("got %v", err)
	}
}

func TestNoDefaultStorageIsNil(t *testing.T) {
	t.Parallel()
	node := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	c := connect(t, client.Config{Addresses: []string{node.api()}})
	if block, err := c.DefaultStorage(t.Context()); block != nil || err != nil {
		t.Errorf("got %v, %v", block, err)
	}
}

func TestAStreamThatBroughtNoEventYetGoesOnWhereItBegan(t *testing.T) {
	t.Parallel()
	breaking := serve(t, answer("id: 7\n\n: \n\n"))
	resumedFrom := make(chan string, 1)
	resuming := serve(t, func(w http.ResponseWriter, r *http.Request) {
		resumedFrom <- r.Header.Get("Last-Event-ID")
		_, _ = io.WriteString(w, "id: 8\nevent: flow_run\ndata: {}\n\n")
	})
	c := connect(t, client.Config{Addresses: []string{breaking.api(), resuming.api()}})
	var events []client.Event
	err := c.StreamFlowRunEvents(t.Context(), "", func(e client.Event) error {
		events = append(events, e)
		return client.ErrStop
	})
	if from := <-resumedFrom; err != nil || from != "7" || len(events) != 1 || events[0].ID != "8" {
		t.Errorf("resumed after %q with %v: %v", from, events, err)
	}
}

func TestAStreamResumesOnAnotherAddress(t *testing.T) {
	t.Parallel()
	const first = ": hello\n\nid: 1\nevent: state\ndata: {\"name\":\ndata: \"Running\"}\n\n"
	breaking := serve(t, answer(first+"id: 2\nevent: state\n")) // ends inside an event
	var mutex sync.Mutex
	var resumedFrom string
	resuming := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		resumedFrom = r.Header.Get("Last-Event-ID")
		mutex.Unlock()
		_, _ = io.WriteString(w, "id: 2\nevent: state\ndata: {}\n\nid: 3\nevent: end\ndata: {}\n\n")
	})
	c := connect(t, client.Config{Addresses: []string{breaking.api(), resuming.api()}})
	var got []string
	err := c.StreamFlowRun(t.Context(), api.NewID(), true, "", func(event client.Event) error {
		got = append(got, event.ID+" "+event.Kind)
		if !json.Valid(event.Data) {
			t.Errorf("data %s", event.Data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mutex.Lock()
	defer mutex.Unlock()
	if !slices.Equal(got, []string{"1 state", "2 state", "3 end"}) || resumedFrom != "1" {
		t.Errorf("got %q, resumed from %q", got, resumedFrom)
	}
}

func TestAStreamOfAnUnknownRunIsNotRepeated(t *testing.T) {
	t.Parallel()
	node := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"detail":"Flow run not found"}`)
	})
	c := connect(t, client.Config{Addresses: []string{node.api()}, RetryFor: time.Minute})
	err := c.StreamFlowRun(t.Context(), api.NewID(), false, "", func(client.Event) error { return nil })
	if !api.IsNotFound(err) || node.hits.Load() != 1 {
		t.Errorf("got %v after %d hits", err, node.hits.Load())
	}
}

func TestAHandlersErrorEndsTheStream(t *testing.T) {
	t.Parallel()
	node := serve(t, answer("event: state\ndata: {}\n\n"))
	c := connect(t, client.Config{Addresses: []string{node.api()}, RetryFor: -1})
	mine := errors.New("mine")
	err := c.StreamFlowRunEvents(t.Context(), "", func(client.Event) error { return mine })
	if !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
}

func TestPagesAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	node := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var page api.Page
		if err := json.NewDecoder(r.Body).Decode(&page); err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(make([]api.WorkQueue, max(0, min(*page.Limit, 450-page.Offset))))
	})
	c := connect(t, client.Config{Addresses: []string{node.api()}})
	queues, err := client.Each(func(page api.Page) ([]api.WorkQueue, error) { return c.FilterWorkQueues(t.Context(), page) })
	if err != nil || len(queues) != 450 || node.hits.Load() != 3 {
		t.Errorf("%d queues in %d pages, %v", len(queues), node.hits.Load(), err)
	}
}

func TestBadAddressesAreRefused(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"", " , ", "localhost:4200", "ftp://h/api", "http://"} {
		if addresses, err := client.ParseAddresses(list); api.KindOf(err) != api.KindInvalid {
			t.Errorf("%q gave %q, %v", list, addresses, err)
		}
	}
	addresses, err := client.ParseAddresses("http://a:4200/api/, http://b:4200/api")
	if err != nil || !slices.Equal(addresses, []string{"http://a:4200/api", "http://b:4200/api"}) {
		t.Errorf("got %q, %v", addresses, err)
	}
}
