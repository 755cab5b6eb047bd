//go:build linux

package e2e

import (
	"testing"

	"github.com/sluice-dev/sluice/bench"
)

// TestSchedulesLoseAndDoubleNothingWhenTheLeaderIsKilled plays the benchmark, which starts three nodes, completes the runs of all
// deployments, and compares them with the schedules.
func TestSchedulesLoseAndDoubleNothingWhenTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	deployments, duration := "100", "15s"
	if long() {
		deployments, duration = "500", "60s"
	}
	out := newShell(t).ok("bench", "schedules", "--deployments", deployments, "--duration", duration, "--kills", "1", "-o", "json")
	told := decode[struct{ Schedules bench.SchedulesResult }](t, out).Schedules
	if told.Fires == 0 || told.Lateness.Runs+told.Failover.Runs != told.Fires {
		t.Errorf("of %d fire times %d and %d runs were looked at", told.Fires, told.Lateness.Runs, told.Failover.Runs)
	}
	t.Logf("%+v", told)
}

// TestTheLeaderIsMissedForAMoment plays the benchmark of failovers; its figures are for docs/performance.md.
func TestTheLeaderIsMissedForAMoment(t *testing.T) {
	t.Parallel()
	kills, stops := "2", "1"
	if long() {
		kills, stops = "30", "10"
	}
	out := newShell(t).ok("bench", "failover", "--kills", kills, "--stops", stops, "-o", "json")
	told := decode[struct{ Failover bench.FailoverResult }](t, out).Failover
	if told.Killed.Median <= 0 || told.Stopped.Median <= 0 {
		t.Errorf("nothing was measured: %+v", told)
	}
	t.Logf("killed %+v, stopped %+v", told.Killed, told.Stopped)
}
