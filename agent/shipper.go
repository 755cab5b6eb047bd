package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
)

const (
	logName  = "sluice.flow_runs"
	logLevel = 20 // info

	// gather is how long a shipper that has caught up waits for more lines before
	// it sends the next request.
	gather = 200 * time.Millisecond
)

// shipper sends the lines of one spool file to the server, in order.
type shipper struct {
	api      API
	clock    Clock
	log      *slog.Logger
	file     *spool.File
	finished <-chan struct{} // closed when no more lines come
	done     chan struct{}   // closed when run has returned
}

// run ships until everything is acknowledged, or ctx ends; what is left then
// stays on disk.
func (s *shipper) run(ctx context.Context) {
	defer close(s.done)
	defer func() {
		if err := s.file.Close(); err != nil {
			s.log.Error("Cannot close a spool file", "flow_run_id", s.file.FlowRun(), "error", err)
		}
	}()
	for {
		batch, err := s.file.Next(ctx)
		switch {
		case errors.Is(err, io.EOF) || ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("Cannot read the kept output of a flow run; the rest of it stays on disk", "flow_run_id", s.file.FlowRun(), "error", err)
			return
		}
		if !s.send(ctx, batch) {
			return
		}
		if err := s.file.Acknowledge(); err != nil {
			s.log.Error("Cannot note that output was shipped", "flow_run_id", s.file.FlowRun(), "error", err)
			return
		}
		if s.file.Drained() {
			select {
			case <-s.finished:
			case <-s.clock.After(gather):
			case <-ctx.Done():
			}
		}
	}
}

// send repeats one batch until the server has decided about it. It answers false
// when ctx ended first.
func (s *shipper) send(ctx context.Context, batch spool.Batch) bool {
	logs := make([]api.LogCreate, 0, len(batch.Lines))
	for _, line := range batch.Lines {
		logs = append(logs, api.LogCreate{Name: logName, Level: logLevel, Message: line.Text,
			Timestamp: api.At(line.Time), FlowRunID: s.file.FlowRun()})
	}
	return sendLogs(ctx, s.api, s.clock, s.log, batch.Producer, batch.Sequence, logs)
}

// sendLogs repeats a batch of lines until the server has decided about it. It answers false when ctx ended first.
func sendLogs(ctx context.Context, to API, clock Clock, log *slog.Logger, producer api.ID, sequence uint64, logs []api.LogCreate) bool {
	pauses := backoff{clock: clock}
	for {
		err := to.CreateLogs(ctx, producer, sequence, logs)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case !passing(err) && api.KindOf(err) != api.KindUnauthenticated && api.KindOf(err) != api.KindForbidden:
			// A token can be mended; lines that are refused for themselves cannot.
			log.Error("The server refuses log lines of a flow run; they are dropped", "flow_run_id", logs[0].FlowRunID, "lines", len(logs), "error", err)
			return true
		}
		if pauses.pause(ctx) != nil {
			return false
		}
	}
}
