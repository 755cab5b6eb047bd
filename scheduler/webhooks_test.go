package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// receivers are the other ends of webhooks, with their faults.
type receivers struct {
	mu     sync.Mutex
	got    map[string][]string // by webhook: run and state, as delivered
	tries  map[string]int
	answer func(w *row.Webhook, d *row.Delivery) Attempt // nil: delivered
}

func newReceivers() *receivers {
	return &receivers{got: map[string][]string{}, tries: map[string]int{}}
}

func (r *receivers) Deliver(ctx context.Context, w *row.Webhook, d *row.Delivery) Attempt {
	select { // as long as a network takes
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
		return Attempt{Error: "interrupted"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries[w.Name]++
	a := Attempt{Delivered: true, Code: 200}
	if r.answer != nil {
		a = r.answer(w, d)
	}
	if a.Delivered {
		r.got[w.Name] = append(r.got[w.Name], d.FlowRun.GetName()+" "+d.FlowRun.GetState().GetName())
	}
	return a
}

func (r *receivers) of(name string) (got []string, tries int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got[name]...), r.tries[name]
}

func (r *rig) webhook(name string, filter *row.WebhookFilter) api.ID {
	r.t.Helper()
	id := api.NewID()
	r.do(&command.Envelope{Command: &command.Envelope_CreateWebhook{CreateWebhook: &command.CreateWebhook{Id: id[:], Name: name, Url: "https://example.org", Filter: filter}}})
	return id
}

// lives has runs go through three states each, all mixed.
func (r *rig) lives(n int, tags ...string) {
	r.t.Helper()
	flow := r.flow()
	var ids []api.ID
	for i := range n {
		id := api.NewID()
		ids = append(ids, id)
		r.do(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id[:], Name: fmt.Sprint("run ", i), FlowId: flow[:], Tags: tags}}})
	}
	for _, t := range []row.StateType{row.StateType_RUNNING, row.StateType_COMPLETED} {
		for _, id := range ids {
			r.report(id, t)
		}
	}
}

// inOrder checks that each run's states came at least once and none for the first time after a later one.
func inOrder(t *testing.T, got []string, runs int) {
	t.Helper()
	rank := map[string]int{"Pending": 1, "Running": 2, "Completed": 3}
	reached := map[string]int{}
	for _, line := range got {
		at := strings.LastIndex(line, " ")
		run, state := line[:at], rank[line[at+1:]]
		if state > reached[run]+1 {
			t.Fatalf("%s came before what came before it: %v", line, got)
		}
		reached[run] = max(reached[run], state)
	}
	for i := range runs {
		if reached[fmt.Sprint("run ", i)] != 3 {
			t.Errorf("run %d was told up to state %d of 3", i, reached[fmt.Sprint("run ", i)])
		}
	}
}

func TestStatesAreToldInOrderForEachRunWhateverFails(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				ends := newReceivers()
				r.deliver = ends
				random := rand.New(rand.NewPCG(seed, 3))
				ends.answer = func(*row.Webhook, *row.Delivery) Attempt {
					if random.IntN(4) == 0 {
						return Attempt{Code: 500, Error: "the receiver answered 500"}
					}
					return Attempt{Delivered: true, Code: 200}
				}
				r.start()
				r.webhook("all", nil)
				r.inject(randomly(seed, 9))
				r.lives(20)
				r.pass(time.Second)
				r.stop() // in the middle
				r.start()
				r.pass(6 * time.Hour)
				got, _ := ends.of("all")
				inOrder(t, got, 20)
			})
		})
	}
}

func TestAReceiverThatIsAwayHoldsUpNobody(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		ends := newReceivers()
		r.deliver = ends
		ends.answer = func(w *row.Webhook, _ *row.Delivery) Attempt {
			if w.Name == "away" {
				return Attempt{Error: "connection refused"}
			}
			return Attempt{Delivered: true, Code: 200}
		}
		r.start()
		away := r.webhook("away", nil)
		r.webhook("here", &row.WebhookFilter{StateTypes: []row.StateType{row.StateType_COMPLETED}, Tags: []string{"prod"}})
		r.lives(100, "prod", "x")
		r.lives(3)
		r.pass(2 * time.Second)
		if got, _ := ends.of("here"); len(got) != 100 {
			t.Errorf("%d of 100 messages came to the receiver that is there", len(got))
		}
		r.pass(time.Hour)
		if _, tries := ends.of("away"); tries < 10 || tries > 60 {
			t.Errorf("the receiver that is away was tried %d times within an hour for 309 messages, want a probe every few minutes", tries)
		}
		v := r.view()
		n, err := v.CountWaitingDeliveries(away)
		if err != nil || n != 309 {
			t.Errorf("%d messages wait (%v), want 309", n, err)
		}
		_ = v.Close()
		// When it is back, everything comes.
		ends.mu.Lock()
		ends.answer = nil
		ends.mu.Unlock()
		r.pass(2 * time.Hour)
		got, _ := ends.of("away")
		if len(got) != 309 {
			t.Errorf("%d of 309 messages came after it was back", len(got))
		}
		r.do(&command.Envelope{Command: &command.Envelope_DeleteWebhook{DeleteWebhook: &command.Delete{Id: away[:]}}})
		r.pass(time.Second)
	})
}

func TestAMessageIsGivenUpAfterADayAndAGoneReceiverIsPaused(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		ends := newReceivers()
		r.deliver = ends
		ends.answer = func(w *row.Webhook, _ *row.Delivery) Attempt {
			if w.Name == "gone" {
				return Attempt{Gone: true, Code: 410, Error: "the receiver answered 410"}
			}
			return Attempt{Code: 500, Error: "the receiver answered 500"}
		}
		r.start()
		broken, gone := r.webhook("broken", nil), r.webhook("gone", nil)
		flow, id := r.flow(), api.NewID()
		r.do(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id[:], Name: "run 0", FlowId: flow[:]}}})
		r.pass(40 * time.Hour)
		v := r.view()
		defer v.Close()
		for hook, want := range map[api.ID]string{broken: "11 attempts, 1 given up, paused false", gone: "1 attempts, 1 given up, paused true"} {
			w, err := v.Webhook(hook)
			if err != nil {
				t.Fatal(err)
			}
			attempts := int32(0)
			err = v.EndedDeliveries(hook, true, func(d *row.Delivery) (bool, error) {
				attempts = d.Attempts
				return true, nil
			})
			if got := fmt.Sprintf("%d attempts, %d given up, paused %t", attempts, w.GivenUp, w.Paused); got != want || err != nil {
				t.Errorf("%s: %s (%v), want %s", w.Name, got, err, want)
			}
		}
	})
}
