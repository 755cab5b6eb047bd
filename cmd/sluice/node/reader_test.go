package node

import (
	"testing"

	httpapi "github.com/sluice-dev/sluice/http"
)

// An agent or a client keeps the index of the last answer it got, also across a server whose data was replaced.
func TestAnIndexOfAnotherHistoryDoesNotBlockReads(t *testing.T) {
	t.Parallel()
	n, _ := startNode(t, t.TempDir())
	for _, consistency := range []httpapi.Consistency{httpapi.Linearizable, httpapi.Stale} {
		view, index, err := reader{n.cluster, n.fsm}.View(t.Context(), consistency, 1<<60)
		if err != nil || index == 0 {
			t.Fatalf("at %d: %v", index, err)
		}
		if err := view.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
