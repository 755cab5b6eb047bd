package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/scheduler"
)

// leaderOfBeats answers each renewal with its own leases as lost, so that a swapped answer shows.
type leaderOfBeats struct {
	fail     error
	messages []int // renewals in each
	at       []time.Time
}

func (l *leaderOfBeats) ask(ctx context.Context, all []renewal) ([]scheduler.Renewed, error) {
	l.messages, l.at = append(l.messages, len(all)), append(l.at, time.Now())
	if err := errors.Join(ctx.Err(), l.fail); err != nil {
		return nil, err
	}
	answers := make([]scheduler.Renewed, len(all))
	for i, r := range all {
		for _, held := range r.Leases {
			answers[i].Lost = append(answers[i].Lost, scheduler.LostLease{FlowRunID: held.FlowRunID})
		}
	}
	return answers, nil
}

func TestHeartbeatsThatReachAFollower(t *testing.T) {
	t.Parallel()
	bubble := func(name string, test func(t *testing.T, leader *leaderOfBeats, b *beats, end context.CancelFunc)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				leader := &leaderOfBeats{}
				life, end := context.WithCancel(t.Context())
				b := &beats{life: life, ask: leader.ask}
				test(t, leader, b, end)
				end()
				b.work.Wait()
			})
		})
	}
	bubble("of a hundred agents are one message a second, each agent gets its own answer", func(t *testing.T, leader *leaderOfBeats, b *beats, _ context.CancelFunc) {
		const agents, beatsEach = 100, 15
		var all sync.WaitGroup
		for i := range agents {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 40 * time.Millisecond) // their phases are spread over the beat
				for range beatsEach {
					began := time.Now()
					run := api.NewID()
					answer, err := b.send(t.Context(), renewal{AgentID: api.NewID(), Leases: []scheduler.HeldLease{{FlowRunID: run}}})
					if err != nil || len(answer.Lost) != 1 || answer.Lost[0].FlowRunID != run {
						t.Errorf("%+v %v", answer, err)
					}
					if waited := time.Since(began); waited > beatEvery {
						t.Errorf("the answer took %s", waited)
					}
					time.Sleep(4*time.Second - time.Since(began)) // the beat, in the time of the bubble
				}
			})
		}
		all.Wait()
		total := 0
		for _, n := range leader.messages {
			total += n
		}
		if total != agents*beatsEach {
			t.Errorf("%d renewals in the messages, of %d", total, agents*beatsEach)
		}
		for i := 1; i < len(leader.at); i++ {
			if pause := leader.at[i].Sub(leader.at[i-1]); pause < beatEvery {
				t.Errorf("two messages within %s", pause)
			}
		}
	})
	bubble("go at once when none went for a second", func(t *testing.T, _ *leaderOfBeats, b *beats, _ context.CancelFunc) {
		for range 3 {
			began := time.Now()
			if _, err := b.send(t.Context(), renewal{}); err != nil || time.Since(began) != 0 {
				t.Errorf("%v after %s", err, time.Since(began))
			}
			time.Sleep(2 * time.Second) // in the time of the bubble: two messages are due
		}
	})
	bubble("do not wait when they fill a message", func(t *testing.T, leader *leaderOfBeats, b *beats, _ context.CancelFunc) {
		began := time.Now()
		for range 3 {
			if _, err := b.send(t.Context(), renewal{Leases: make([]scheduler.HeldLease, beatLeases)}); err != nil {
				t.Error(err)
			}
		}
		if time.Since(began) != 0 || !slices.Equal(leader.messages, []int{1, 1, 1}) {
			t.Errorf("messages %v after %s", leader.messages, time.Since(began))
		}
	})
	bubble("fail together when the leader does not answer", func(t *testing.T, leader *leaderOfBeats, b *beats, _ context.CancelFunc) {
		leader.fail = cluster.ErrNoLeader
		for range 2 {
			if _, err := b.send(t.Context(), renewal{}); !errors.Is(err, cluster.ErrNoLeader) {
				t.Errorf("got %v", err)
			}
		}
	})
	bubble("are refused when the node stops", func(t *testing.T, _ *leaderOfBeats, b *beats, end context.CancelFunc) {
		if _, err := b.send(t.Context(), renewal{}); err != nil {
			t.Error(err)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := b.send(t.Context(), renewal{}); !errors.Is(err, context.Canceled) {
				t.Errorf("a heartbeat that waited: %v", err)
			}
		})
		synctest.Wait()
		end()
		waiting.Wait()
		if _, err := b.send(t.Context(), renewal{}); !errors.Is(err, cluster.ErrStopped) {
			t.Errorf("got %v", err)
		}
	})
}
