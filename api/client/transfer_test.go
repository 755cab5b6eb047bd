package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// silent answers nothing until the client has gone.
func silent(_ http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err == nil { // else it has gone
		<-r.Context().Done()
	}
}

const impatience = time.Second

func TestATransferLeavesANodeThatHangs(t *testing.T) {
	t.Parallel()
	t.Run("for another one, with its body from the beginning", func(t *testing.T) {
		t.Parallel()
		tested := make(chan struct{})
		hangs := serve(t, func(http.ResponseWriter, *http.Request) { <-tested })
		t.Cleanup(func() { close(tested) })
		const size = 64 << 20 // more than a connection takes that nobody reads from
		lives := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n != size {
				t.Errorf("got %d bytes, %v", n, err)
			}
			_, _ = io.WriteString(w, `{"due":7}`)
		})
		c := connect(t, client.Config{Addresses: []string{hangs.api(), lives.api()}, RequestTimeout: impatience})
		opened := 0
		staged, err := c.StageSnapshot(t.Context(), size, false, func() (io.ReadCloser, error) {
			opened++
			return io.NopCloser(io.LimitReader(zeros{}, size)), nil
		})
		if err != nil || staged.Due != 7 || opened != 2 || c.Address() != lives.api() {
			t.Errorf("got %+v, %v after %d attempts at %s", staged, err, opened, c.Address())
		}
	})
	t.Run("and says so when there is no other", func(t *testing.T) {
		t.Parallel()
		c := connect(t, client.Config{Addresses: []string{serve(t, silent).api()}, RequestTimeout: impatience})
		_, _, err := c.SaveSnapshot(t.Context(), false)
		if api.KindOf(err) != api.KindUnreachable || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("in the middle of its answer", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		c := connect(t, client.Config{Addresses: []string{s.api()}, RequestTimeout: impatience})
		stream, err := c.DebugBundle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if got, err := io.ReadAll(stream); string(got) != "half" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// zeros is a file without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestATransferThatMovesHasNoTimeLimit(t *testing.T) {
	t.Parallel()
	const parts, pause = 10, 300 * time.Millisecond
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range parts {
			_, _ = io.WriteString(w, "part")
			w.(http.Flusher).Flush()
			time.Sleep(pause) // all parts together take longer than the client waits for one
		}
	})
	c := connect(t, client.Config{Addresses: []string{s.api()}, RequestTimeout: parts * pause * 2 / 3})
	stream, _, err := c.SaveSnapshot(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got, err := io.ReadAll(stream); err != nil || string(got) != strings.Repeat("part", parts) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAFileThatCannotBeOpenedIsNotTheServersFault(t *testing.T) {
	t.Parallel()
	s := serve(t, silent)
	c := connect(t, client.Config{Addresses: []string{s.api()}})
	gone := errors.New("the file is gone")
	if _, err := c.StageSnapshot(t.Context(), 1, false, func() (io.ReadCloser, error) { return nil, gone }); !errors.Is(err, gone) || s.hits.Load() != 0 {
		t.Errorf("got %v after %d requests", err, s.hits.Load())
	}
}
