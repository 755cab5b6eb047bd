package httpapi

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var errNoSnapshots = notFound("This server was started without access to its state's snapshots.")

// snapshotStall is how long one read or write of a snapshot's bytes may take.
const snapshotStall = 30 * time.Second

// saveSnapshot streams this node's whole state.
func saveSnapshot(s *Server, x *exchange) error {
	if s.snapshots == nil {
		return errNoSnapshots
	}
	stop := x.until(ordinary)
	saved, err := s.snapshots.Save(x.ctx, x.consistency())
	stop()
	if err != nil {
		return err
	}
	defer saved.Stream.Close()
	ctx, cancel := x.streamContext()
	defer cancel()
	h := x.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(saved.Bytes, 10))
	x.at(saved.Index)
	x.WriteHeader(http.StatusOK)
	control := http.NewResponseController(x.ResponseWriter)
	buffer := make([]byte, 256<<10)
	for ctx.Err() == nil {
		n, err := saved.Stream.Read(buffer)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(snapshotStall)) // not every writer has one
			if _, werr := x.ResponseWriter.Write(buffer[:n]); werr != nil {
				return nil // the client is gone
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			s.logger.Error("a snapshot could not be read to its end", "request_id", x.id, "error", err)
			break
		}
	}
	// The client must not take what it has for the whole.
	panic(http.ErrAbortHandler)
}

// slowBody reads a request's body with a deadline for each part of it.
type slowBody struct {
	r       io.Reader
	control *http.ResponseController
}

func (b slowBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(snapshotStall)) // not every writer has one
	return b.r.Read(p)
}

// stageSnapshot receives a snapshot for a restore.
func stageSnapshot(s *Server, x *exchange) error {
	if s.snapshots == nil {
		return errNoSnapshots
	}
	foreign := x.r.URL.Query().Get("foreign") == "true"
	control := http.NewResponseController(x.ResponseWriter)
	_ = control.SetWriteDeadline(time.Time{}) // it takes as long as the upload takes
	ctx, cancel := x.streamContext()
	defer cancel()
	staged, err := s.snapshots.Stage(ctx, slowBody{x.r.Body, control}, x.r.ContentLength, foreign)
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(snapshotStall))
	if err != nil {
		x.refuseBody()
		return err
	}
	if x.out, err = appendJSON(x.out, staged); err != nil {
		return err
	}
	return x.send(201)
}

var restoreSpec = body.Parameters(
	body.Optional("missed", body.Text, func(v *api.RestoreRequest) *string { return &v.Missed }),
)

// restoreSnapshot makes a staged snapshot the state of the cluster.
func restoreSnapshot(s *Server, x *exchange) error {
	if s.snapshots == nil {
		return errNoSnapshots
	}
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	var in api.RestoreRequest
	if err := decode(x, restoreSpec, &in); err != nil {
		return err
	}
	switch in.Missed {
	case "", api.MissedSkip, api.MissedRun:
	default:
		return unprocessable([]body.Error{{Loc: []any{"body", "missed"}, Msg: "permitted: 'skip', 'run'", Type: "value_error"}})
	}
	control := http.NewResponseController(x.ResponseWriter)
	_ = control.SetWriteDeadline(time.Time{}) // a quorum of nodes receives the state meanwhile
	restored, err := s.snapshots.Restore(x.ctx, id, in.Missed)
	_ = control.SetWriteDeadline(time.Now().Add(snapshotStall))
	if err != nil {
		return err
	}
	x.at(restored.Index)
	if x.out, err = appendJSON(x.out, restored); err != nil {
		return err
	}
	return x.send(200)
}

// discardSnapshot gives a staged snapshot up.
func discardSnapshot(s *Server, x *exchange) error {
	if s.snapshots == nil {
		return errNoSnapshots
	}
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	if err := s.snapshots.Discard(x.ctx, id); err != nil {
		return err
	}
	return x.empty()
}
