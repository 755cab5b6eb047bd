package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// Open sends any request below the API and returns its answer, whatever it is, which the caller closes. It ends when nothing moves
// for RequestTimeout. body is JSON, or nil for none.
func (c *Client) Open(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	return c.transfer(ctx, method, path, 0, func(r *http.Request) error {
		if body != nil {
			r.Header.Set("Content-Type", "application/json")
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		return nil
	})
}
