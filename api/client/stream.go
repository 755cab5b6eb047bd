package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// silence is how long a stream may say nothing before it counts as dead; servers send a comment every 15 s.
const silence = 45 * time.Second

// Event is one server-sent event.
type Event struct {
	ID   string // opaque cursor; streaming from it continues after this event
	Kind string // one of the api.Event constants
	Data json.RawMessage
}

// ErrStop ends a stream without error when a handler returns it.
var ErrStop = errors.New("stop the stream")

// StreamFlowRun calls handle with the states of a run, and its logs if asked, from the cursor (or from the beginning, if
// empty) until the run has ended; the last event is api.EventEnd. It reconnects to any address and resumes.
func (c *Client) StreamFlowRun(ctx context.Context, id api.ID, logs bool, from string, handle func(Event) error) error {
	path := "/flow_runs/" + id.String() + "/stream?logs=" + strconv.FormatBool(logs)
	return c.stream(ctx, path, from, func(event Event) error {
		if err := handle(event); err != nil {
			return err
		}
		if event.Kind == api.EventEnd {
			return ErrStop
		}
		return nil
	})
}

// StreamFlowRunEvents calls handle with every change of a flow run's state from the cursor on. After api.EventReset the
// handler must list again: events were lost.
func (c *Client) StreamFlowRunEvents(ctx context.Context, from string, handle func(Event) error) error {
	return c.stream(ctx, "/events?topic=flow_run", from, handle)
}

// EventQuery selects events; the zero value is the flow runs'.
type EventQuery struct {
	Topics                                       []string
	ID, FlowRunID, DeploymentID, FlowID, AgentID *api.ID
	Deleted                                      bool // also what is deleted
}

// StreamEvents calls handle with every event that is selected, from the cursor on, or from now on if it is empty, until the handler
// returns an error or the context ends. It reconnects to any address and goes on. After api.EventReset the handler must list again.
func (c *Client) StreamEvents(ctx context.Context, wanted EventQuery, from string, handle func(Event) error) error {
	values := url.Values{}
	if len(wanted.Topics) > 0 {
		values.Set("topic", strings.Join(wanted.Topics, ","))
	}
	for name, id := range map[string]*api.ID{"id": wanted.ID, "flow_run_id": wanted.FlowRunID, "deployment_id": wanted.DeploymentID,
		"flow_id": wanted.FlowID, "agent_id": wanted.AgentID} {
		if id != nil {
			values.Set(name, id.String())
		}
	}
	if wanted.Deleted {
		values.Set("deleted", "true")
	}
	return c.stream(ctx, "/events?"+values.Encode(), from, handle)
}

// LogSearch selects lines of a flow run's logs; the zero value is all of them, in the order in which they were accepted.
type LogSearch struct {
	Text, Regex  string
	Level        int
	Since, Until time.Time
	TaskRunID    *api.ID
	Reverse      bool
	Limit        int    // per page; 0 is the server's
	Cursor       string // of the page before, or of a line: the page begins behind it
	At           string // the cursor of a line: the page begins with that line
}

// SearchLogs reads one page of the logs of a flow run. A page may be short, even empty, and yet not be the last.
func (c *Client) SearchLogs(ctx context.Context, run api.ID, wanted LogSearch) (*api.LogPage, error) {
	values := url.Values{}
	set := func(name, value string, given bool) {
		if given {
			values.Set(name, value)
		}
	}
	set("search", wanted.Text, wanted.Text != "")
	set("regex", wanted.Regex, wanted.Regex != "")
	set("level", strconv.Itoa(wanted.Level), wanted.Level > 0)
	set("since", api.At(wanted.Since).String(), !wanted.Since.IsZero())
	set("until", api.At(wanted.Until).String(), !wanted.Until.IsZero())
	if wanted.TaskRunID != nil {
		values.Set("task_run_id", wanted.TaskRunID.String())
	}
	set("order", "desc", wanted.Reverse)
	set("limit", strconv.Itoa(wanted.Limit), wanted.Limit > 0)
	set("cursor", wanted.Cursor, wanted.Cursor != "")
	set("at", wanted.At, wanted.At != "")
	return get[api.LogPage](ctx, c, "/flow_runs/"+run.String()+"/logs?"+values.Encode())
}

// stream reads events until the handler returns an error or the context ends. A broken connection is resumed as long as
// RetryFor allows since the last event; a stream that worked gets at least one more round of the addresses.
func (c *Client) stream(ctx context.Context, path, cursor string, handle func(Event) error) error {
	position := c.position()
	backoff := firstBackoff
	progress := time.Now()
	failures := 0
	for {
		address := c.addresses[position%len(c.addresses)]
		received := false
		result, err := c.streamOnce(ctx, address, path, cursor, func(event Event) error {
			received = true
			if event.ID != "" {
				cursor = event.ID
			}
			if event.Data == nil { // only where the stream is
				return nil
			}
			return handle(event)
		})
		if errors.Is(err, ErrStop) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if result == final {
			return err
		}
		if received {
			c.current.Store(int64(position % len(c.addresses)))
			progress, backoff, failures = time.Now(), firstBackoff, 0
		}
		c.config.Logger.Debug("stream broke", "address", address, "path", path, "error", err)
		failures++
		position++
		if failures >= len(c.addresses) {
			if c.config.RetryFor >= 0 && !received && time.Since(progress)+backoff > c.config.RetryFor {
				return err
			}
			if err := pause(ctx, jitter(backoff)); err != nil {
				return err
			}
			backoff = min(2*backoff, maxBackoff)
		}
	}
}

// streamOnce reads one connection. An error of the handler is final.
func (c *Client) streamOnce(ctx context.Context, address, path, cursor string, handle func(Event) error) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()

	request, err := c.newRequest(ctx, address, call{method: http.MethodGet, path: path}, nil)
	if err != nil {
		return final, err
	}
	request.Header.Set("Accept", "text/event-stream")
	if cursor != "" {
		request.Header.Set("Last-Event-ID", cursor)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return unknown, unreachable(c.addresses, address, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		if err != nil {
			return unknown, unreachable(c.addresses, address, err)
		}
		apiErr := decodeError(response, answer)
		return outcomeOf(apiErr.Kind), apiErr
	}
	handlerFailed := false
	err = readEvents(response.Body, func() { watchdog.Reset(silence) }, func(event Event) error {
		err := handle(event)
		handlerFailed = err != nil
		return err
	})
	if handlerFailed {
		return final, err
	}
	return unknown, unreachable(c.addresses, address, err)
}

// readEvents parses server-sent events; one without data only tells an id. alive is called for each line. It returns why the stream ended, io.EOF at its end.
func readEvents(body io.Reader, alive func(), handle func(Event) error) error {
	reader := bufio.NewReaderSize(body, 64<<10)
	var event Event
	var data []string
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
		alive()
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			if len(data) > 0 {
				event.Data = json.RawMessage(strings.Join(data, "\n"))
			}
			if event.Data != nil || event.ID != "" {
				if err := handle(event); err != nil {
					return err
				}
			}
			event, data = Event{}, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			event.ID = value
		case "event":
			event.Kind = value
		case "data":
			data = append(data, value)
		}
	}
}
