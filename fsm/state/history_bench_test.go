package state

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// BenchmarkHistory asks for charts over SLUICE_RUNS flow runs (default 20,000) that are spread over 90 days.
func BenchmarkHistory(b *testing.B) {
	runs := 20_000
	if n, err := strconv.Atoi(os.Getenv("SLUICE_RUNS")); err == nil {
		runs = n
	}
	s, err := pebblekv.Open("", pebblekv.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 0))
	const days = 90
	span := days * 86400 * testSecond
	for done := 0; done < runs; {
		batch := s.NewBatch()
		tx := NewTx(batch)
		if done == 0 {
			err = tx.InitSchema()
		}
		for range 5000 {
			expected := testNow - span + int64(float64(span)*float64(done)/float64(runs)) + random.Int64N(testSecond)
			r := &row.FlowRun{Id: number(done), FlowId: number(1), ExpectedStartTime: expected, StartTime: expected + random.Int64N(testSecond),
				TotalRunTime: random.Int64N(testSecond), State: &row.State{Type: row.StateType_COMPLETED, Name: "Completed", Timestamp: expected + 2*testSecond}}
			switch random.IntN(50) {
			case 0, 1, 2:
				r.State.Type, r.State.Name = row.StateType_FAILED, "Failed"
			case 3:
				r.State.Type, r.State.Name = row.StateType_FAILED, "Crashed"
			}
			err = errors.Join(err, tx.NewFlowRun(r).Save())
			done++
		}
		if err = errors.Join(err, tx.Flush(), s.Commit(batch, false), batch.Close()); err != nil {
			b.Fatal(err)
		}
	}
	for _, chart := range []struct {
		name   string
		last   int64
		n      int
		offset int64
	}{{"the last day by the hour", 86400, 24, 7}, {"the last week in 60 parts", 7 * 86400, 60, 123_457}, {"90 days in 60 parts", days * 86400, 60, 123_457}} {
		b.Run(fmt.Sprintf("%s, %d runs", chart.name, runs), func(b *testing.B) {
			var edges []int64
			for i := range chart.n + 1 {
				edges = append(edges, testNow-chart.last*testSecond-chart.offset+int64(i)*chart.last*testSecond/int64(chart.n))
			}
			v := NewView(s, 0, nil)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begin := threadTime(b)
			for b.Loop() {
				h := NewHistory(edges, testNow)
				if ready, err := v.FlowRunHistory(h); err != nil || !ready {
					b.Fatal(ready, err)
				}
			}
			b.ReportMetric(float64(threadTime(b)-begin)/float64(b.N), "cpu-ns/op")
		})
	}
}

// threadTime is the processor time of this thread: what a loaded machine changes least.
func threadTime(b *testing.B) time.Duration {
	var spent syscall.Rusage
	const thisThread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thisThread, &spent); err != nil {
		b.Fatal(err)
	}
	return time.Duration(spent.Utime.Nano() + spent.Stime.Nano())
}
