package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/scheduler"
)

// What a follower asks the leader's services for its clients. All of it is harmless to repeat: claims carry ids, renewals renew.
const (
	methodClaim    = "claim"
	methodRenew    = "renew"
	methodPresence = "presence"
)

// presenceLimit bounds how long a reader waits to learn who was heard from: what it reads beside that is on this node.
const presenceLimit = time.Second

// claimQuestion and the like are the questions and answers between nodes, as JSON. Fields are only added.
type claimQuestion struct {
	AgentID api.ID        `json:"agent"`
	ClaimID api.ID        `json:"claim"`
	Queues  []api.ID      `json:"queues"`
	Limit   int           `json:"limit"`
	Wait    time.Duration `json:"wait"`
}

type claimAnswer struct {
	Grants       [][]byte `json:"grants,omitempty"` // encoded row.Grant
	Missing      []api.ID `json:"missing,omitempty"`
	Index        uint64   `json:"index"`
	UnknownAgent bool     `json:"unknown_agent,omitempty"`
	Draining     bool     `json:"draining,omitempty"`
}

type renewal struct {
	AgentID api.ID                `json:"agent"`
	Leases  []scheduler.HeldLease `json:"leases,omitempty"`
}

type presenceAnswer struct {
	Agents  []agentPresence `json:"agents,omitempty"`
	Renewed []renewedLease  `json:"renewed,omitempty"`
}

type agentPresence struct {
	ID       api.ID    `json:"id"`
	LastSeen time.Time `json:"seen"`
	Live     bool      `json:"live"`
	Asking   bool      `json:"asking,omitempty"`
}

type renewedLease struct {
	ID api.ID    `json:"id"`
	At time.Time `json:"at"`
}

// serve is what this node answers other nodes while it leads.
func (s *services) serve() map[string]cluster.Serve {
	return map[string]cluster.Serve{methodClaim: s.serveClaim, methodRenew: s.serveRenew, methodPresence: s.servePresence}
}

// leading says in the cluster's words that the services do not run here.
func leading(err error) error {
	if errors.Is(err, scheduler.ErrEpochOver) {
		return fmt.Errorf("%w: %w", cluster.ErrNotLeader, err)
	}
	return err
}

// ask sends a question to the leader and decodes its answer.
func (s *services) ask(ctx context.Context, method string, question func() any, answer any) error {
	data, err := s.node.cluster.AskLeader(ctx, method, func() ([]byte, error) { return json.Marshal(question()) })
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("decode the leader's answer: %w", err)
	}
	return nil
}

// claim is scheduler.Services.Claim on whichever node leads.
func (s *services) claim(ctx context.Context, d scheduler.Demand) (scheduler.Granted, error) {
	began := time.Now()
	granted, err := s.scheduler.Claim(ctx, d)
	if !errors.Is(err, scheduler.ErrEpochOver) {
		return granted, err
	}
	var a claimAnswer
	err = s.ask(ctx, methodClaim, func() any {
		return claimQuestion{AgentID: d.AgentID, ClaimID: d.ClaimID, Queues: d.Queues, Limit: d.Limit, Wait: max(0, d.Wait-time.Since(began))}
	}, &a)
	switch {
	case err != nil:
		return scheduler.Granted{}, err
	case a.UnknownAgent:
		return scheduler.Granted{}, scheduler.ErrUnknownAgent
	}
	granted = scheduler.Granted{Missing: a.Missing, Draining: a.Draining, Index: a.Index, Grants: make([]*row.Grant, len(a.Grants))}
	for i, data := range a.Grants {
		granted.Grants[i] = new(row.Grant)
		if err := proto.Unmarshal(data, granted.Grants[i]); err != nil {
			return scheduler.Granted{}, fmt.Errorf("decode a grant of the leader: %w", err)
		}
	}
	return granted, nil
}

func (s *services) serveClaim(ctx context.Context, body []byte) ([]byte, error) {
	var q claimQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("decode a claim: %w", err)
	}
	granted, err := s.scheduler.Claim(ctx, scheduler.Demand(q))
	if errors.Is(err, scheduler.ErrUnknownAgent) {
		return json.Marshal(claimAnswer{UnknownAgent: true})
	}
	if err != nil {
		return nil, leading(err)
	}
	a := claimAnswer{Missing: granted.Missing, Draining: granted.Draining, Index: granted.Index}
	for _, g := range granted.Grants {
		data, err := proto.Marshal(g)
		if err != nil {
			return nil, fmt.Errorf("encode a grant: %w", err)
		}
		a.Grants = append(a.Grants, data)
	}
	return json.Marshal(a)
}

// renew is scheduler.Services.Renew on whichever node leads.
func (s *services) renew(ctx context.Context, agentID api.ID, held []scheduler.HeldLease) (scheduler.Renewed, error) {
	renewed, err := s.scheduler.Renew(ctx, agentID, held)
	if !errors.Is(err, scheduler.ErrEpochOver) {
		return renewed, err
	}
	return s.beats.send(ctx, renewal{agentID, held})
}

func (s *services) serveRenew(ctx context.Context, body []byte) ([]byte, error) {
	var all []renewal
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("decode renewals: %w", err)
	}
	answers := make([]scheduler.Renewed, len(all))
	for i, r := range all {
		var err error
		if answers[i], err = s.scheduler.Renew(ctx, r.AgentID, r.Leases); err != nil {
			return nil, leading(err)
		}
	}
	return json.Marshal(answers)
}

// presence is scheduler.Services.Presence on whichever node leads.
func (s *services) presence(ctx context.Context, flowRuns []api.ID) (scheduler.Presence, error) {
	p, err := s.scheduler.Presence(ctx, flowRuns...)
	if !errors.Is(err, scheduler.ErrEpochOver) {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, presenceLimit)
	defer cancel()
	var a presenceAnswer
	if err := s.ask(ctx, methodPresence, func() any { return flowRuns }, &a); err != nil {
		return scheduler.Presence{}, err
	}
	p = scheduler.Presence{Agents: map[api.ID]scheduler.AgentPresence{}, Renewed: map[api.ID]time.Time{}}
	for _, x := range a.Agents {
		p.Agents[x.ID] = scheduler.AgentPresence{LastSeen: x.LastSeen, Live: x.Live, Asking: x.Asking}
	}
	for _, x := range a.Renewed {
		p.Renewed[x.ID] = x.At
	}
	return p, nil
}

func (s *services) servePresence(ctx context.Context, body []byte) ([]byte, error) {
	var flowRuns []api.ID
	if err := json.Unmarshal(body, &flowRuns); err != nil {
		return nil, fmt.Errorf("decode flow runs: %w", err)
	}
	p, err := s.scheduler.Presence(ctx, flowRuns...)
	if err != nil {
		return nil, leading(err)
	}
	var a presenceAnswer
	for id, x := range p.Agents {
		a.Agents = append(a.Agents, agentPresence{id, x.LastSeen, x.Live, x.Asking})
	}
	for id, at := range p.Renewed {
		a.Renewed = append(a.Renewed, renewedLease{id, at})
	}
	return json.Marshal(a)
}
