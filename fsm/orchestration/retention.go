package orchestration

import (
	"github.com/sluice-dev/sluice/fsm/row"
)

// Rule bounds what is kept of something; a bound of 0 is none.
type Rule struct {
	MaxAge   int64 // µs
	MaxCount int64
}

// Retention is how long the finished runs of a deployment, and their logs, are kept.
type Retention struct {
	Runs, Logs Rule
}

const (
	// RetentionGap is how far the state's time may move between two notes of it that are an hour apart. More means that no node ran,
	// or that a clock is wrong: which of them, only people know.
	RetentionGap = 25 * hour
	// RetentionHold is how long nothing goes for its age after such a jump, in µs: time to correct a clock.
	RetentionHold = 24 * hour
	// RetentionNote is how often the time is noted, in µs.
	RetentionNote = hour

	hour = int64(3_600_000_000)
)

// RetentionOf returns the rules for a deployment, nil for runs without one: its own where it has them, else the cluster's.
func RetentionOf(policy *row.RetentionPolicy, d *row.Deployment) Retention {
	own, all := d.GetRetention(), policy.GetRetention()
	return Retention{Runs: rule(own.GetRuns(), all.GetRuns()), Logs: rule(own.GetLogs(), all.GetLogs())}
}

func rule(own, all *row.RetentionRule) Rule {
	r := Rule{MaxAge: all.GetMaxAge(), MaxCount: all.GetMaxCount()}
	if own != nil && own.MaxAge != nil {
		r.MaxAge = own.GetMaxAge()
	}
	if own != nil && own.MaxCount != nil {
		r.MaxCount = own.GetMaxCount()
	}
	return r
}

// RetentionCutoff is the time before which what finished goes for its age, and whether there is one: not without a bound, and not while
// the time is in doubt.
func RetentionCutoff(policy *row.RetentionPolicy, r Rule, now int64) (before int64, some bool) {
	if r.MaxAge <= 0 || RetentionHeld(policy, now) {
		return 0, false
	}
	return now - r.MaxAge, true
}

// RetentionHeld reports whether nothing may go for its age at that time.
func RetentionHeld(policy *row.RetentionPolicy, now int64) bool {
	return policy == nil || now < policy.HeldUntil || now-policy.Seen > RetentionGap
}

// LogsAge is when logs whose newest line came in that hour count as written: at the hour's end.
func LogsAge(newest int64) int64 { return newest + hour }

// LogsHour is the hour in which lines that come at that time are the newest.
func LogsHour(now int64) int64 { return now - now%hour }
