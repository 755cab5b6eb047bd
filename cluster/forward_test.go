package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm/command"
)

func TestForwarding(t *testing.T) {
	t.Parallel()
	t.Run("writes through all nodes are applied once each while leaders are stopped", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		var words atomic.Int64
		var all sync.WaitGroup
		var mu sync.Mutex // guards done and lost
		done, lost := map[string]bool{}, map[string]bool{}
		quit := make(chan struct{})
		write := func(n *Node) {
			for {
				select {
				case <-quit:
					return
				default:
				}
				w := fmt.Sprint("word", words.Add(1))
				_, _, err := n.Propose(testContext(t), [][]byte{[]byte(w)})
				mu.Lock()
				switch {
				case err == nil:
					done[w] = true
				case errors.Is(err, ErrNotDone):
					lost[w] = true
				}
				mu.Unlock()
				if errors.Is(err, ErrStopped) {
					return
				}
			}
		}
		for range 4 {
			lead := f.leader()
			for _, m := range f.members {
				if m != lead {
					n := m.node
					for range 4 {
						all.Go(func() { write(n) })
					}
				}
			}
			mu.Lock()
			before := len(done)
			mu.Unlock()
			progress := func(what string, count int) {
				until(t, what, func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(done) >= before+count
				})
			}
			progress("writes are accepted", 20)
			f.down(lead)
			progress("writes are accepted without the old leader", 60)
			f.up(lead)
		}
		close(quit)
		all.Wait()
		f.agree("after")
		counts := map[string]int{}
		for _, w := range f.members[0].toy.words() {
			counts[w]++
		}
		for w := range done {
			if counts[w] != 1 {
				t.Errorf("%s was acknowledged and is there %d times", w, counts[w])
			}
		}
		for w := range lost {
			if counts[w] != 0 {
				t.Errorf("%s was said not to be done and is there %d times", w, counts[w])
			}
		}
		for w, n := range counts {
			if n > 1 {
				t.Errorf("%s is there %d times", w, n)
			}
		}
		t.Logf("%d acknowledged, %d refused, of %d", len(done), len(lost), words.Load())
	})
	t.Run("a question reaches whoever leads, and an error of its handler comes back", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		var mu sync.Mutex
		asked := map[string]int{}
		f.change = func(c *Config) {
			id := c.DataDir.NodeID()
			c.Serve = map[string]Serve{
				"who": func(_ context.Context, body []byte) ([]byte, error) {
					mu.Lock()
					defer mu.Unlock()
					for _, m := range f.members {
						if m.data != nil && m.data.NodeID() == id && m.node.leading() == nil {
							return nil, ErrNotLeader
						}
					}
					asked[id]++
					return append(body, id...), nil
				},
				"fail": func(context.Context, []byte) ([]byte, error) { return nil, fmt.Errorf("no: %w", ErrRefused) },
			}
		}
		mu.Lock() // nobody asks before all members are known
		f.up(f.members...)
		mu.Unlock()
		f.agree("before")
		lead := f.leader().node.ID()
		for _, m := range f.members {
			got, err := m.node.AskLeader(testContext(t), "who", func() ([]byte, error) { return []byte("it is "), nil })
			if err != nil || string(got) != "it is "+lead {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := m.node.AskLeader(testContext(t), "fail", func() ([]byte, error) { return nil, nil }); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
			if _, err := m.node.AskLeader(testContext(t), "what", nil); !errors.Is(err, link.ErrUnknownMethod) {
				t.Errorf("got %v", err)
			}
		}
		if asked[lead] != 3 {
			t.Errorf("asked %v", asked)
		}
	})
}

func TestWhatIsKnownAboutAForwardedBatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want []error
		not  error
	}{
		"not sent is not done, and may be tried again":  {fmt.Errorf("%w: refused", link.ErrNotSent), []error{ErrNotDone, ErrNoLeader}, ErrUnknownOutcome},
		"no answer is unknown":                          {fmt.Errorf("%w: reset", link.ErrBroken), []error{ErrUnknownOutcome}, ErrNotDone},
		"too many requests is not done":                 {fmt.Errorf("%w: full", link.ErrBusy), []error{ErrNotDone, ErrOverloaded}, ErrUnknownOutcome},
		"an older leader's ignorance is not done":       {link.ErrUnknownMethod, []error{ErrNotDone}, ErrUnknownOutcome},
		"what the leader says stays":                    {notDone(ErrNotLeader), []error{ErrNotDone, ErrNotLeader}, ErrUnknownOutcome},
		"what the leader does not know, nobody knows":   {unknown(ErrHalted), []error{ErrUnknownOutcome, ErrHalted}, ErrNotDone},
		"an error of which nothing is known is unknown": {errors.New("odd"), []error{ErrUnknownOutcome}, ErrNotDone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := forwardError(c.err)
			for _, want := range c.want {
				if !errors.Is(got, want) {
					t.Errorf("%v is not %v", got, want)
				}
			}
			if errors.Is(got, c.not) {
				t.Errorf("%v is %v", got, c.not)
			}
		})
	}
}

func TestABatchResultReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, r := range []command.BatchResult{
		{Results: [][]byte{[]byte("one"), {}, []byte("three")}},
		{Results: [][]byte{{}}, Replayed: true},
	} {
		data := encodeBatchResult(r, 1<<40)
		got, index, err := decodeBatchResult(data)
		if err != nil || index != 1<<40 || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v at %d, %v", got, index, err)
		}
		for n := range len(data) - 1 {
			// Cut between two results it reads as fewer, which the proposer compares with the number of commands.
			if got, _, err := decodeBatchResult(data[:n]); err == nil && len(got.Results) >= len(r.Results) {
				t.Errorf("%d of %d bytes gave %+v", n, len(data), got)
			}
		}
	}
}
