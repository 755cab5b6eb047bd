package agent_test

import (
	"log/slog"
	"testing"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/api"
)

// BenchmarkRun measures a whole flow run through an agent, against a server that
// costs next to nothing: due → claimed → started → output and end reported.
func BenchmarkRun(b *testing.B) {
	for name, add := range map[string]func(*fakeServer) api.ID{
		"command": func(s *fakeServer) api.ID { return s.addCommand("/bin/true") },
		"python":  func(s *fakeServer) api.ID { return s.addPython("RUNNING COMPLETED") },
	} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b)
			config := testConfig(s.url(), b.TempDir())
			config.Logger = slog.New(slog.DiscardHandler)
			a, err := agent.New(config)
			if err != nil {
				b.Fatal(err)
			}
			if err := a.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer a.Stop()
			for b.Loop() {
				s.final(b, add(s))
			}
		})
	}
}
