package bench

import (
	"context"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// beat is how often an agent renews its leases.
const beat = 4 * time.Second

// held are the leases of one agent.
type held struct {
	mu     sync.Mutex // guards what follows
	tokens map[api.ID]string
}

func (h *held) take(grants []api.Grant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range grants {
		h.tokens[g.FlowRun.ID] = g.Token
	}
}

func (h *held) drop(run api.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tokens, run)
}

// beat renews the leases until ctx ends, as an agent does. A heartbeat that fails is made good by the next one.
func (h *held) beat(ctx context.Context, conn *client.Client, agent api.ID) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var leases []api.HeldLease
		h.mu.Lock()
		for run, token := range h.tokens {
			leases = append(leases, api.HeldLease{FlowRunID: run, Token: token})
		}
		h.mu.Unlock()
		limit, cancel := context.WithTimeout(ctx, beat)
		_, _ = conn.Heartbeat(limit, agent, api.Heartbeat{Leases: leases})
		cancel()
	}
}
