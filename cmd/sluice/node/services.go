package node

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/storage"
)

// services runs what only the leader does and stands before it for the API.
type services struct {
	node *Node
}

func newServices(n *Node, _ prometheus.Registerer) *services { return &services{node: n} }

// lead implements cluster.Config.Lead: it runs the leader's services until the epoch ends.
func (s *services) lead(ctx context.Context, epoch cluster.Epoch) error {
	if err := s.storeBlockSpecs(ctx, epoch); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// storeBlockSpecs makes the cluster know the kinds of storage this version knows.
func (s *services) storeBlockSpecs(ctx context.Context, epoch cluster.Epoch) error {
	var commands []*command.Envelope
	kind := storage.SpecType
	for _, spec := range storage.Specs {
		id, seed := api.NewID(), api.NewID()
		commands = append(commands, &command.Envelope{Actor: "server", Seed: seed[:], Command: &command.Envelope_CreateBlockSpec{
			CreateBlockSpec: &command.CreateBlockSpec{Id: id[:], Name: spec.Kind, Version: storage.SpecVersion, Type: &kind, FieldsJson: []byte(spec.Fields), IfAbsent: true}}})
	}
	if _, _, err := s.propose(ctx, epoch, commands); err != nil {
		return fmt.Errorf("store the known block specs: %w", err)
	}
	return nil
}

func (s *services) propose(ctx context.Context, epoch cluster.Epoch, commands []*command.Envelope) ([]*command.Result, uint64, error) {
	send := func(ctx context.Context, encoded [][]byte) ([][]byte, uint64, error) {
		return s.node.cluster.ProposeAsLeader(ctx, epoch, encoded)
	}
	return propose(ctx, send, commands)
}

var errNoServices = &api.Error{Kind: api.KindUnavailable, Message: "this node hands out no work yet"}

// Claim implements httpapi.Claims.
func (s *services) Claim(context.Context, httpapi.Demand) ([]*row.Grant, uint64, error) {
	return nil, 0, errNoServices
}

// Renew implements httpapi.Claims.
func (s *services) Renew(context.Context, api.ID, []httpapi.HeldLease) (httpapi.Renewed, error) {
	return httpapi.Renewed{}, errNoServices
}

// Presence implements httpapi.Claims.
func (s *services) Presence(context.Context, ...api.ID) (httpapi.Presence, error) {
	return httpapi.Presence{}, errNoServices
}
