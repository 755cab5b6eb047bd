package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/cluster"
)

const (
	// idleLimit is how long an ephemeral server outlives its last use.
	idleLimit = 15 * time.Second
	// hurriedLimit is the same when it was asked to end: long enough for a script that is about to create its run.
	hurriedLimit = 500 * time.Millisecond
	// startPatience bounds the wait for another process that starts or stops on the same data directory.
	startPatience = 10 * time.Second
	// startPause is the time between two looks at it.
	startPause = 50 * time.Millisecond
)

// runEphemeral serves as long as something uses the server, or points to the server that has the data directory already.
func runEphemeral(ctx context.Context, a *app, o serverOptions) error {
	announce := func(f serverFile, started bool) error {
		return json.NewEncoder(a.out).Encode(map[string]any{"api_url": f.APIURL, "pid": f.PID, "started": started})
	}
	o.HTTPAddr, o.InternalAddr, o.GossipAddr, o.BootstrapExpect = "127.0.0.1:0", "127.0.0.1:0", "", 1
	// Several processes may come here at once: one gets the directory, the others wait for its address.
	deadline := time.Now().Add(startPatience)
	for {
		if f, running := runningServer(ctx, o.DataDir); running {
			return announce(f, false)
		}
		s, err := startServer(ctx, o)
		if err == nil {
			if err := announce(serverFile{APIURL: s.apiURL(), PID: os.Getpid()}, true); err != nil {
				return errors.Join(fmt.Errorf("announce the address: %w", err), s.end())
			}
			detach()
			return s.waitIdle(ctx)
		}
		if !errors.Is(err, cluster.ErrDataDirInUse) || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// waitIdle serves until nothing has used the server for a while. When ctx ends, that while is short, but a run that is being
// executed still keeps the server: its script knows no other.
func (s *server) waitIdle(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		defer stop()
		tick := time.NewTicker(hurriedLimit / 2)
		defer tick.Stop()
		for {
			select {
			case <-serving.Done():
				return
			case <-tick.C:
				limit := idleLimit
				if ctx.Err() != nil {
					limit = hurriedLimit
				}
				if s.node.Idle(limit) {
					return
				}
			}
		}
	}()
	return s.wait(serving)
}

// startInPlace starts a server, in the place of an ephemeral one that script runs have left on the same data directory.
func startInPlace(ctx context.Context, a *app, o serverOptions) (*server, error) {
	asked := 0
	for {
		s, err := startServer(ctx, o)
		if !errors.Is(err, cluster.ErrDataDirInUse) {
			return s, err
		}
		// Asking it again for its health would keep it from being idle.
		if asked == 0 || syscall.Kill(asked, 0) != nil {
			f, running := runningServer(ctx, o.DataDir)
			if !running || !f.Ephemeral {
				return nil, err
			}
			a.note("Waiting for the server of script runs (pid %d) to end...", f.PID)
			if err := syscall.Kill(f.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return nil, fmt.Errorf("end the server of script runs (pid %d): %w", f.PID, err)
			}
			asked = f.PID
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(startPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
