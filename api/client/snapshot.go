package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// SaveSnapshot opens a stream of a node's whole state; size is what it will have. The caller verifies and closes it. stale takes
// the state of a node that cannot know whether it is the newest.
func (c *Client) SaveSnapshot(ctx context.Context, stale bool) (stream io.ReadCloser, size int64, err error) {
	path := "/cluster/snapshot"
	if stale {
		path += "?consistency=stale"
	}
	response, err := c.transfer(ctx, http.MethodGet, path, 0, nil)
	if err != nil {
		return nil, 0, err
	}
	return response.Body, response.ContentLength, nil
}

// verifyWait is how long a cluster may take to verify a snapshot after it has all of it.
const verifyWait = 15 * time.Minute

// StageSnapshot sends a snapshot to the cluster, which verifies it and changes nothing yet. open opens it from its beginning, once for
// each address that is tried.
func (c *Client) StageSnapshot(ctx context.Context, size int64, foreign bool, open func() (io.ReadCloser, error)) (*api.StagedSnapshot, error) {
	path := "/cluster/snapshot"
	if foreign {
		path += "?foreign=true"
	}
	response, err := c.transfer(ctx, http.MethodPost, path, verifyWait, func(r *http.Request) error {
		body, err := open()
		r.Body, r.ContentLength = body, size
		return err
	})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	staged := new(api.StagedSnapshot)
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(staged); err != nil {
		return nil, fmt.Errorf("decode the answer about the snapshot: %w", err)
	}
	return staged, nil
}

// restoreWait is how long a restore may take on top of a request: a quorum of nodes receives the state.
const restoreWait = time.Hour

// RestoreSnapshot makes a staged snapshot the state of the cluster. missed is api.MissedSkip, api.MissedRun or, when nothing fell due
// since it was taken, "".
func (c *Client) RestoreSnapshot(ctx context.Context, id, missed string) (*api.RestoredSnapshot, error) {
	restored := new(api.RestoredSnapshot)
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/cluster/snapshot/" + url.PathEscape(id) + "/restore", body: api.RestoreRequest{Missed: missed},
		out: restored, wait: restoreWait})
	return restored, err
}

// DiscardSnapshot gives a staged snapshot up.
func (c *Client) DiscardSnapshot(ctx context.Context, id string) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/cluster/snapshot/" + url.PathEscape(id), harmless: true})
}
