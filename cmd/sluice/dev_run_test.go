package main

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestDevEndsWithItsServerAndItsServerLast(t *testing.T) {
	t.Parallel()
	untilDone := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	t.Run("a server that fails ends the agent", func(t *testing.T) {
		t.Parallel()
		broken := errors.New("the listener is gone")
		if err := workBeside(t.Context(), func(context.Context) error { return broken }, untilDone); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("Ctrl-C ends the agent, then the server", func(t *testing.T) {
		t.Parallel()
		ctx, interrupt := context.WithCancel(t.Context())
		serving := make(chan struct{})
		var ended []string
		err := workBeside(ctx, func(ctx context.Context) error {
			close(serving)
			<-ctx.Done()
			ended = append(ended, "server")
			return nil
		}, func(ctx context.Context) error {
			<-serving
			interrupt()
			<-ctx.Done()
			ended = append(ended, "agent")
			return nil
		})
		if err != nil || !slices.Equal(ended, []string{"agent", "server"}) {
			t.Errorf("ended %v, %v", ended, err)
		}
	})
}
