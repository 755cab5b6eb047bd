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
	response, err := c.transfer(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, 0, err
	}
	return response.Body, response.ContentLength, nil
}

// StageSnapshot sends a snapshot to the cluster, which verifies it and changes nothing yet. open opens it from its beginning, once for
// each address that is tried.
func (c *Client) StageSnapshot(ctx context.Context, size int64, foreign bool, open func() (io.ReadCloser, error)) (*api.StagedSnapshot, error) {
	path := "/cluster/snapshot"
	if foreign {
		path += "?foreign=true"
	}
	response, err := c.transfer(ctx, http.MethodPost, path, func(r *http.Request) error {
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

// transfer sends a request whose body or answer is too large for memory and time limits. Addresses are tried in turn while nothing
// was done; they are only asked again by the caller.
func (c *Client) transfer(ctx context.Context, method, path string, prepare func(*http.Request) error) (*http.Response, error) {
	first := c.position()
	var last error
	for i := range c.addresses {
		position := (first + i) % len(c.addresses)
		address := c.addresses[position]
		request, err := c.newRequest(ctx, address, call{method: method, path: path}, nil)
		if err != nil {
			return nil, err
		}
		if prepare != nil {
			if err := prepare(request); err != nil {
				return nil, err
			}
			request.Header.Set("Content-Type", "application/octet-stream")
		}
		response, err := c.http.Do(request)
		if err != nil {
			last = unreachable(c.addresses, address, err)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue
		}
		if response.StatusCode < 400 {
			c.current.Store(int64(position))
			return response, nil
		}
		answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		_ = response.Body.Close()
		if err != nil {
			last = unreachable(c.addresses, address, err)
			continue
		}
		told := decodeError(response, answer)
		if outcomeOf(told.Kind) == final {
			return nil, told
		}
		last = told
	}
	return nil, last
}
