package httpapi

import (
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var errNoCluster = notFound("This server was started without access to its cluster's membership.")

func readCluster(s *Server, x *exchange) error {
	if s.cluster == nil {
		return errNoCluster
	}
	var err error
	if x.out, err = appendJSON(x.out, s.cluster.Describe(x.ctx)); err != nil {
		return err
	}
	return x.send(200)
}

func readClusterHealth(s *Server, x *exchange) error {
	if s.cluster == nil {
		return errNoCluster
	}
	var err error
	if x.out, err = appendJSON(x.out, s.cluster.Health(x.ctx)); err != nil {
		return err
	}
	return x.send(200)
}

// readDebugBundle streams the bundle. When it fails midway the answer ends without its last file.
func readDebugBundle(s *Server, x *exchange) error {
	if s.cluster == nil {
		return errNoCluster
	}
	x.Header().Set("Content-Type", "application/gzip")
	x.Header().Set("Cache-Control", "no-store")
	x.Header().Set("X-Accel-Buffering", "no") // a proxy must not hold back what shows progress
	control := http.NewResponseController(x.ResponseWriter)
	if err := s.cluster.DebugBundle(x.ctx, x, func() { _ = control.Flush() }); err != nil { // not every writer flushes
		s.logger.Warn("a debug bundle ended early", "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

type transferRequest struct{ to string }

var transferSpec = body.Parameters(
	body.Optional("to", body.Text, func(v *transferRequest) *string { return &v.to }),
)

func transferLeadership(s *Server, x *exchange) error {
	if s.cluster == nil {
		return errNoCluster
	}
	var in transferRequest
	if err := decode(x, transferSpec, &in); err != nil {
		return err
	}
	if err := s.cluster.TransferLeadership(x.ctx, in.to); err != nil {
		return err
	}
	return x.empty()
}

func removeMember(s *Server, x *exchange) error {
	if s.cluster == nil {
		return errNoCluster
	}
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	if err := s.cluster.RemoveMember(x.ctx, api.ID(id).String()); err != nil {
		return err
	}
	return x.empty()
}

// leaveCluster takes this node out; it stops afterwards.
func leaveCluster(s *Server, x *exchange) error {
	if s.cluster == nil {
		return errNoCluster
	}
	if err := s.cluster.Leave(x.ctx); err != nil {
		return err
	}
	return x.empty()
}
