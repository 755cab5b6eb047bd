package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// transfer sends a request whose body or answer is too large for memory and has no time limit as a whole; it ends when nothing moves
// for RequestTimeout. wait is what the server may take on top between the last byte of the body and the answer. Addresses are tried
// in turn while nothing was done; they are only asked again by the caller, who closes the answer's body.
func (c *Client) transfer(ctx context.Context, method, path string, wait time.Duration, prepare func(*http.Request) error) (*http.Response, error) {
	first := c.position()
	var last, told error // told: by a server, worth more than that another did not answer
	for i := range c.addresses {
		position := (first + i) % len(c.addresses)
		address := c.addresses[position]
		response, sent, err := c.transferOnce(ctx, address, call{method: method, path: path, wait: wait}, prepare)
		if err != nil {
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case !sent:
				return nil, err
			}
			last = unreachable(c.addresses, address, err)
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
		refusal := decodeError(response, answer)
		if outcomeOf(refusal.Kind) == final {
			return nil, refusal
		}
		told = refusal
	}
	if told != nil {
		return nil, told
	}
	return nil, last
}

// transferOnce sends it to one address. sent says that an error is the address's.
func (c *Client) transferOnce(ctx context.Context, address string, request call, prepare func(*http.Request) error) (response *http.Response, sent bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(c.config.RequestTimeout, func() { cancel(context.DeadlineExceeded) })
	end := func() {
		watch.Stop()
		cancel(nil)
	}
	r, err := c.newRequest(ctx, address, request, nil)
	if err == nil && prepare != nil {
		r.Header.Set("Content-Type", "application/octet-stream")
		err = prepare(r)
	}
	if err != nil {
		end()
		return nil, false, err
	}
	if r.Body != nil {
		r.Body = &moving{ReadCloser: r.Body, ctx: ctx, moved: func(ended bool) {
			if ended {
				watch.Reset(c.config.RequestTimeout + request.wait)
			} else {
				watch.Reset(c.config.RequestTimeout)
			}
		}}
	}
	if response, err = c.http.Do(r); err != nil {
		end()
		return nil, true, err
	}
	watch.Reset(c.config.RequestTimeout)
	response.Body = &moving{ReadCloser: response.Body, ctx: ctx, moved: func(bool) { watch.Reset(c.config.RequestTimeout) }, closed: end}
	return response, true, nil
}

// moving is a body that tells when some of it has been read.
type moving struct {
	io.ReadCloser
	ctx    context.Context // ends when nothing moved for too long
	moved  func(ended bool)
	closed func() // may be nil
}

// Read implements io.Reader.
func (m *moving) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if m.ctx.Err() == nil {
		m.moved(errors.Is(err, io.EOF))
	} else if err != nil && !errors.Is(err, io.EOF) {
		err = context.Cause(m.ctx) // and not that a connection was closed
	}
	return n, err
}

// Close implements io.Closer.
func (m *moving) Close() error {
	if m.closed != nil {
		m.closed()
	}
	return m.ReadCloser.Close()
}
