package main

import (
	"context"
	"errors"
)

var errNotWired = errors.New("this build has no server and no agent")

// runServer runs one node until ctx ends.
func runServer(_ context.Context, _ *app, _ serverOptions) error { return errNotWired }

// runDev runs a node, an agent and a sample deployment until ctx ends.
func runDev(_ context.Context, _ *app, _ serverOptions) error { return errNotWired }

// runAgent runs an agent until ctx ends.
func runAgent(_ context.Context, _ *app, _ agentOptions) error { return errNotWired }
