package engine

import (
	"context"
	"fmt"

	"github.com/sluice-dev/sluice/api"
)

// Show stores an artifact of the run that ctx belongs to; outside of one it does nothing.
func Show(ctx context.Context, artifact api.ArtifactCreate) error {
	r := FlowRunOf(ctx)
	if r == nil {
		return nil
	}
	artifact.FlowRunID = r.ID
	if t := TaskRunOf(ctx); t != nil {
		artifact.TaskRunID = &t.ID
	}
	if err := r.conn.CreateArtifact(ctx, artifact); err != nil {
		return fmt.Errorf("artifact %q: %w", artifact.Key, err)
	}
	return nil
}
