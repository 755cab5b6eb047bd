package node

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/bench/dataset"
)

func TestAFilledDataDirectoryIsOneOfANode(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	c := dataset.Config{Runs: 400, Seed: 7, Until: time.Now().UTC(), Span: 48 * time.Hour}
	dir := t.TempDir()
	if _, err := Fill(t.Context(), dir, "test", c, log, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Fill(t.Context(), dir, "test", c, log, nil); err == nil {
		t.Error("a data directory was filled twice")
	}
	hashOf(t, dir) // verifies indexes and counters
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := Start(t.Context(), Config{DataDir: dir, Listener: listener.(*net.TCPListener), InternalAddr: "127.0.0.1:0", BootstrapExpect: 1, Version: "test", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop(t.Context()) })
	if err := n.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := client.New(client.Config{Addresses: []string{"http://" + n.Addr() + "/api"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ended := []api.StateType{api.Completed, api.Failed, api.Cancelled}
	count, err := conn.CountFlowRuns(t.Context(), api.Filters{FlowRuns: &api.FlowRunFilter{State: &api.StateFilter{Type: &api.StateTypeAny{Any: ended}}}})
	if err != nil {
		t.Fatal(err)
	}
	if count < c.Runs*9/10 {
		t.Errorf("%d of %d flow runs have ended", count, c.Runs)
	}
}
