package fsm

import (
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// logOverhead is what a line counts against the quota beside its text, in bytes.
const logOverhead = 64

const levelWarning = 30

// writeLogs stores one batch per flow run. A producer's batch that was stored before is dropped: that is how a retry stays
// harmless.
func (a *applier) writeLogs(c *command.WriteLogs) (*command.Result, error) {
	result := &command.Result{}
	for _, run := range c.Runs {
		if len(c.Producer) != 0 {
			repeated, err := a.seenBefore(run.FlowRunId, c.Producer, c.Sequence)
			if err != nil {
				return nil, err
			}
			if repeated {
				continue
			}
		}
		logs, err := a.withinQuota(run.FlowRunId, run.Logs, c.Quota)
		if err != nil {
			return nil, err
		}
		if len(logs) == 0 {
			continue
		}
		segment := &row.LogSegment{FlowRunId: run.FlowRunId, Index: a.index, Ordinal: a.nextPlace(), Seed: a.newID(), Created: a.now, Logs: logs}
		if err := a.tx.AddLogSegment(segment); err != nil {
			return nil, err
		}
		a.emit(watch.Event{Topic: watch.TopicLogs, Logs: segment})
		result.Count += int32(len(logs))
	}
	return result, nil
}

func (a *applier) seenBefore(flowRunID, producer []byte, sequence uint64) (bool, error) {
	e, err := a.tx.EditLogProducer(flowRunID, producer)
	if err != nil {
		return false, err
	}
	if e == nil {
		e = a.tx.NewLogProducer(&row.LogProducer{FlowRunId: flowRunID, Producer: producer})
	}
	if sequence <= e.Row.Sequence {
		return true, nil
	}
	e.Row.Sequence = sequence
	return false, e.Save()
}

// withinQuota returns the lines that fit into what is left of the run's quota, and once a marker in the place of the rest. It notes
// when they came: retention goes by it.
func (a *applier) withinQuota(flowRunID []byte, logs []*row.Log, quota int64) ([]*row.Log, error) {
	if len(logs) == 0 {
		return logs, nil
	}
	e, err := a.tx.EditLogUsage(flowRunID)
	if err != nil {
		return nil, err
	}
	if e == nil {
		run, err := a.tx.FlowRun(id16(flowRunID))
		if err != nil {
			return nil, err
		}
		e = a.tx.NewLogUsage(&row.LogUsage{FlowRunId: flowRunID, DeploymentId: run.GetDeploymentId()})
	}
	hour := orchestration.LogsHour(a.now)
	moved := hour != e.Row.Newest
	e.Row.Newest = hour
	switch {
	case quota == 0 && moved:
		return logs, e.Save()
	case quota == 0:
		return logs, nil
	case e.Row.Truncated:
		return nil, nil
	}
	for i, line := range logs {
		size := int64(len(line.Message)) + logOverhead
		if e.Row.Bytes+size > quota {
			e.Row.Truncated = true
			marker := &row.Log{Name: "sluice.logs", Level: levelWarning, Timestamp: line.Timestamp,
				Message: fmt.Sprintf("The log quota of %d bytes of this flow run is used up: further lines are dropped.", quota)}
			return append(logs[:i:i], marker), e.Save()
		}
		e.Row.Bytes += size
	}
	return logs, e.Save()
}
