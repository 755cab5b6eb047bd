package httpapi

import (
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var (
	conflictWords = []string{"queue", "skip", "cancel-running"}
	overlapWords  = []string{"allow", "queue", "skip", "cancel-running"}
	skippedWords  = []string{"shift", "skip"}
	repeatedWords = []string{"last", "first", "both"}
)

// inOrder are the values of a protobuf enumeration, which begin with 0.
func inOrder[E ~int32](n int) []E {
	values := make([]E, n)
	for i := range values {
		values[i] = E(i)
	}
	return values
}

var dstSpec = body.Strict(
	body.Optional("skipped", body.Enum(skippedWords, inOrder[row.Policy_Skipped](2)), func(v *row.Policy) *row.Policy_Skipped { return &v.DstSkipped }),
	body.Optional("repeated", body.Enum(repeatedWords, inOrder[row.Policy_Repeated](3)), func(v *row.Policy) *row.Policy_Repeated { return &v.DstRepeated }),
)

const mostCrashRetries = 100

var onCrashSpec = body.Strict(
	body.Required("retries", int32Between(0, mostCrashRetries), func(v *row.RunPolicy) *int32 { return &v.CrashRetries }),
	body.Optional("delay_seconds", secondsFrom(0), func(v *row.RunPolicy) *int64 { return &v.CrashDelay }),
)

// secondsFrom takes a duration of at least that many µs, in µs.
func secondsFrom(least int64) body.Kind[int64] {
	return func(d *body.Decoder, n int) (int64, bool) {
		v, ok := body.Duration(d, n)
		switch {
		case !ok:
			return 0, false
		case v < least && least > 0:
			d.Fail("ensure this value is greater than 0", "value_error.number.not_gt", `{"limit_value":0}`)
			return 0, false
		case v < 0:
			d.Fail("ensure this value is greater than or equal to 0", "value_error.number.not_ge", `{"limit_value":0}`)
			return 0, false
		case v > longestDelay*1e6:
			d.Fail("ensure this value is less than or equal to "+strconv.Itoa(longestDelay), "value_error.number.not_le", `{"limit_value":`+strconv.Itoa(longestDelay)+`}`)
			return 0, false
		}
		return v, true
	}
}

var (
	timeoutKind  = secondsFrom(1)
	priorityKind = int32Between(1, orchestration.LowestPriority)
)

// policyFields are the fields of a deployment's policy. at makes the policy when there is none.
func policyFields[T any](at func(*T) *row.Policy) []body.Field[T] {
	run := func(v *T) *row.RunPolicy {
		p := at(v)
		if p.Run == nil {
			p.Run = &row.RunPolicy{}
		}
		return p.Run
	}
	return []body.Field[T]{
		body.Nullable("concurrency_limit", queueLimit, func(v *T) **int32 { return &at(v).ConcurrencyLimit }),
		body.Nullable("on_conflict", body.Enum(conflictWords, inOrder[row.Policy_Conflict](3)), func(v *T) *row.Policy_Conflict { return &at(v).OnConflict }),
		body.Nullable("overlap", body.Enum(overlapWords, inOrder[row.Policy_Overlap](4)), func(v *T) *row.Policy_Overlap { return &at(v).Overlap }),
		body.NullableInto("dst", dstSpec, at),
		body.NullableInto("on_crash", onCrashSpec, run),
		body.Nullable("queue_timeout_seconds", timeoutKind, func(v *T) *int64 { return &run(v).QueueTimeout }),
		body.Nullable("run_timeout_seconds", timeoutKind, func(v *T) *int64 { return &run(v).RunTimeout }),
		body.Nullable("priority", priorityKind, func(v *T) *int32 { return &run(v).Priority }),
	}
}

// runPolicyFields are what a request may say of one run.
func runPolicyFields(at func(*command.CreateFlowRun) *row.RunPolicy) []body.Field[command.CreateFlowRun] {
	return []body.Field[command.CreateFlowRun]{
		body.Nullable("priority", priorityKind, func(v *command.CreateFlowRun) *int32 { return &at(v).Priority }),
		body.Nullable("queue_timeout_seconds", timeoutKind, func(v *command.CreateFlowRun) *int64 { return &at(v).QueueTimeout }),
		body.Nullable("run_timeout_seconds", timeoutKind, func(v *command.CreateFlowRun) *int64 { return &at(v).RunTimeout }),
	}
}

func policyOfRun(v *command.CreateFlowRun) *row.RunPolicy {
	if v.Policy == nil {
		v.Policy = &row.RunPolicy{}
	}
	return v.Policy
}

func policyOfPut(v *command.PutDeployment) *row.Policy {
	if v.Policy == nil {
		v.Policy = &row.Policy{}
	}
	return v.Policy
}

func policyOfPatch(v *command.PatchDeployment) *row.Policy {
	if v.Policy == nil {
		v.Policy = &row.Policy{}
	}
	return v.Policy
}

// plainPolicy is a policy as it is stored: none at all where everything is the default.
func plainPolicy(p *row.Policy) *row.Policy {
	if p == nil {
		return nil
	}
	if p.Run != nil && proto.Size(p.Run) == 0 {
		p.Run = nil
	}
	if proto.Size(p) == 0 {
		return nil
	}
	return p
}

// revisionKind reads a revision as answers show it.
func revisionKind(d *body.Decoder, n int) (*uint64, bool) {
	text, ok := body.Text(d, n)
	if !ok {
		return nil, false
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		d.Fail("value is not a revision, as `revision` of a deployment shows it", "value_error", "")
		return nil, false
	}
	return &v, true
}

func policyObject(p *row.Policy) api.Policy {
	o := api.Policy{
		OnConflict: api.Conflict(word32(conflictWords, p.GetOnConflict())), Overlap: api.Overlap(word32(overlapWords, p.GetOverlap())),
		DST:          &api.DST{Skipped: word32(skippedWords, p.GetDstSkipped()), Repeated: word32(repeatedWords, p.GetDstRepeated())},
		OnCrash:      &api.OnCrash{Retries: int(p.GetRun().GetCrashRetries()), Delay: durationOf(p.GetRun().GetCrashDelay())},
		QueueTimeout: durationRef(p.GetRun().GetQueueTimeout()), RunTimeout: durationRef(p.GetRun().GetRunTimeout()),
		Priority: priorityRef(p.GetRun()),
	}
	if p != nil && p.ConcurrencyLimit != nil {
		limit := int(*p.ConcurrencyLimit)
		o.ConcurrencyLimit = &limit
	}
	return o
}

func priorityRef(p *row.RunPolicy) *int {
	priority := int(p.GetPriority())
	if priority == 0 {
		priority = orchestration.DefaultPriority
	}
	return &priority
}

// durationRef is null for no duration.
func durationRef(micros int64) *api.Duration {
	if micros == 0 {
		return nil
	}
	d := durationOf(micros)
	return &d
}

// word32 is the word for a value of an enumeration; one that only a newer binary knows has none.
func word32[E ~int32](words []string, v E) string {
	if v < 0 || int(v) >= len(words) {
		return ""
	}
	return words[v]
}
