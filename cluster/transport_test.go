package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// plainTransport is a transport that knows no pre-vote.
type plainTransport struct{ raft.Transport }

func TestTransport(t *testing.T) {
	t.Parallel()
	_, memory := raft.NewInmemTransportWithTimeout("here", time.Second)
	t.Run("pipelining is refused whatever the transport offers", func(t *testing.T) {
		t.Parallel()
		_, other := raft.NewInmemTransportWithTimeout("there", time.Second)
		memory.Connect("there", other)
		pipeline, err := memory.AppendEntriesPipeline("there", "there")
		if err != nil {
			t.Fatalf("the transport itself offers none: %v", err)
		}
		defer func() { _ = pipeline.Close() }()
		wrapped, err := keepOpen(memory, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wrapped.AppendEntriesPipeline("there", "there"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("one without pre-vote is refused", func(t *testing.T) {
		t.Parallel()
		if _, err := keepOpen(plainTransport{memory}, nil, nil); err == nil {
			t.Error("it was taken")
		}
		c := Config{}
		c.defaults()
		if c.raftConfig("a", nil).PreVoteDisabled {
			t.Error("pre-vote is off")
		}
	})
}
