// Command goflows holds the flows that `sluice bench go` measures.
package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/flow"
)

type none = struct{}

var noop = flow.New("bench-go", func(context.Context, none) (none, error) { return none{}, nil })

var nothing = flow.NewTask("nothing", func(context.Context, int) (none, error) { return none{}, nil })

// Load says how many no-op tasks to run, and how many at once.
type Load struct {
	Tasks int `json:"tasks"`
}

// Measured is what the load took.
type Measured struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"`
	PeakMiB float64 `json:"peak_rss_mib"`
}

// tasks maps a no-op task over numbers and tells what that took.
var tasks = flow.New("bench-tasks", func(ctx context.Context, l Load) (Measured, error) {
	began := time.Now()
	_, err := nothing.Map(ctx, func(yield func(int) bool) {
		for i := range l.Tasks {
			if !yield(i) {
				return
			}
		}
	}).Results(ctx)
	took := time.Since(began)
	var used syscall.Rusage
	if failed := syscall.Getrusage(syscall.RUSAGE_SELF, &used); failed != nil {
		return Measured{}, fmt.Errorf("read the use of resources: %w", failed)
	}
	return Measured{Seconds: took.Seconds(), CPU: time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds(), PeakMiB: float64(used.Maxrss) / 1024}, err
})

func main() {
	flow.Main(noop, tasks, noop.Deployment("exec", none{}, flow.DeployTags("bench-exec")), noop.Deployment("serve", none{}, flow.DeployTags("bench-serve")))
}
