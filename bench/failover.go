package bench

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// FailoverConfig says how often the leader of three nodes is lost.
type FailoverConfig struct {
	// Kills is how often it is killed with SIGKILL, Stops how often it is told to stop with SIGTERM.
	Kills, Stops int
	// Progress is told each time; may be nil.
	Progress func(signal string, downtime time.Duration)
}

// FailoverResult is how long no write was accepted.
type FailoverResult struct {
	// Killed: from SIGKILL to the leader until another node has answered a write that was sent after it.
	Killed Downtimes `json:"killed"`
	// Stopped: the longest time between two writes answered by other nodes, from SIGTERM to the leader until it has ended.
	Stopped Downtimes `json:"stopped"`
}

// Downtimes are the quantiles of one kind.
type Downtimes struct {
	Times    int     `json:"times"`
	Median   float64 `json:"median_ms"`
	P99      float64 `json:"p99_ms"`
	Shortest float64 `json:"min_ms"`
	Longest  float64 `json:"max_ms"`
}

func downtimes(s samples) Downtimes {
	return Downtimes{Times: len(s), Median: milliseconds(s.quantile(0.5)), P99: milliseconds(s.quantile(0.99)),
		Shortest: milliseconds(s.quantile(0)), Longest: milliseconds(s.quantile(1))}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Failover takes the leader away again and again while a writer at each other node writes on, and starts it again.
func Failover(ctx context.Context, n *Nodes, c FailoverConfig) (FailoverResult, error) {
	if c.Progress == nil {
		c.Progress = func(string, time.Duration) {}
	}
	flow, err := createFlow(n.all[0].host, "bench-failover")
	if err != nil {
		return FailoverResult{}, err
	}
	var killed, stopped samples
	for i := range c.Kills + c.Stops {
		sig, all, name := syscall.SIGKILL, &killed, "SIGKILL"
		if i >= c.Kills {
			sig, all, name = syscall.SIGTERM, &stopped, "SIGTERM"
		}
		down, err := loseLeader(ctx, n, flow, sig)
		if err != nil {
			return FailoverResult{}, fmt.Errorf("%s number %d: %w", name, i+1, err)
		}
		*all = append(*all, down)
		c.Progress(name, down)
	}
	return FailoverResult{Killed: downtimes(killed), Stopped: downtimes(stopped)}, nil
}

// ack is one write that was answered.
type ack struct{ sent, answered time.Time }

// settle is how long the writers write before the leader is lost.
const settle = 500 * time.Millisecond

// loseLeader returns how long no write was accepted.
func loseLeader(ctx context.Context, n *Nodes, flow string, sig syscall.Signal) (time.Duration, error) {
	lead, err := n.leader(ctx)
	if err != nil {
		return 0, err
	}
	acks := make(chan ack, 1<<16)
	writing, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for _, s := range n.others(lead) {
		writers.Go(func() { write(writing, s.host, flow, acks) })
	}
	defer func() { stop(); writers.Wait() }()
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	at := time.Now()
	lead.signal(sig)
	ended := make(chan struct{})
	go func() { lead.wait(); close(ended) }()
	down, err := watchWrites(ctx, acks, at, sig, ended)
	<-ended
	stop()
	writers.Wait()
	if err != nil {
		return 0, err
	}
	return down, lead.restart(ctx)
}

// watchWrites measures from the answers of the writers.
func watchWrites(ctx context.Context, acks <-chan ack, at time.Time, sig syscall.Signal, ended <-chan struct{}) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	last, longest := at, time.Duration(0)
	gone := false
	for {
		select {
		case a := <-acks:
			if a.sent.Before(at) {
				continue
			}
			if sig == syscall.SIGKILL {
				return a.answered.Sub(at), nil
			}
			longest = max(longest, a.answered.Sub(last))
			if a.answered.After(last) {
				last = a.answered
			}
			if gone {
				return longest, nil
			}
		case <-ended:
			gone, ended = true, nil // one more write is to follow
		case <-ctx.Done():
			return 0, fmt.Errorf("no write was accepted within %s", readyPatience)
		}
	}
}

// write creates flow runs at one node, the next when the one before was answered, until ctx ends. A refused one is sent again.
func write(ctx context.Context, host, flow string, acks chan<- ack) {
	body := []byte(`{"flow_id":"` + flow + `","state":{"type":"SCHEDULED"}}`)
	for ctx.Err() == nil {
		c, err := dial(host)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(readyPoll):
			}
			continue
		}
		end := context.AfterFunc(ctx, c.close)
		for err == nil {
			sent := time.Now()
			var status int
			if status, _, err = c.post("/api/flow_runs/", body); err == nil && status == 201 {
				acks <- ack{sent, time.Now()}
			}
		}
		end()
		c.close()
	}
}

// createFlow returns the id of the flow of that name.
func createFlow(host, name string) (string, error) {
	c, err := dial(host)
	if err != nil {
		return "", err
	}
	defer c.close()
	_, answer, err := c.post("/api/flows/", []byte(`{"name":"`+name+`"}`))
	if err != nil {
		return "", err
	}
	id := field(answer, "id")
	if id == "" {
		return "", fmt.Errorf("create a flow: %s", answer)
	}
	return id, nil
}
