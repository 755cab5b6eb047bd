package state

import (
	"bytes"
	"encoding/binary"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// RetentionPolicyEdit changes the cluster's rules of retention.
type RetentionPolicyEdit = Edit[row.RetentionPolicy, *row.RetentionPolicy]

// RetentionPolicy returns the cluster's rules of retention, nil before the first leader stored them.
func (v *View) RetentionPolicy() (*row.RetentionPolicy, error) {
	return retentionPolicy.get(v.r, prefix(kindRow, retentionPolicy.number))
}

// NewRetentionPolicy returns the first rules of a cluster, to be saved.
func (tx *Tx) NewRetentionPolicy(r *row.RetentionPolicy) *RetentionPolicyEdit {
	return insert(tx, retentionPolicy, r)
}

// EditRetentionPolicy loads the cluster's rules for change, nil when there are none.
func (tx *Tx) EditRetentionPolicy() (*RetentionPolicyEdit, error) {
	return edit(tx, retentionPolicy, prefix(kindRow, retentionPolicy.number))
}

// FinishedRuns walks the finished runs of a deployment, those without one for the nil id, in the order in which they finished, beginning
// after that time and id (nil: from the first). It reads no rows.
func (v *View) FinishedRuns(deploymentID api.ID, afterTime int64, afterID api.ID, fn func(finished int64, id api.ID) (bool, error)) error {
	return v.eachDated(idxRunFinished, deploymentID, afterTime, afterID, fn)
}

// RunsWithLogs walks the flow runs of a deployment that have logs by the hour of their newest line. A run may be gone.
func (v *View) RunsWithLogs(deploymentID api.ID, afterTime int64, afterID api.ID, fn func(newest int64, id api.ID) (bool, error)) error {
	return v.eachDated(idxLogsNewest, deploymentID, afterTime, afterID, fn)
}

func (v *View) eachDated(index byte, deploymentID api.ID, afterTime int64, afterID api.ID, fn func(int64, api.ID) (bool, error)) error {
	under := appendID(indexKey(index), deploymentID[:])
	lower := under
	if !afterID.IsNil() {
		lower = append(appendID(appendTime(bytes.Clone(under), afterTime), afterID[:]), 0)
	}
	return walk(v.r, lower, after(under), false, func(key, _ []byte) (bool, error) {
		dated := key[len(under):]
		return fn(int64(binary.BigEndian.Uint64(dated)^(1<<63)), id16(dated[8:]))
	})
}

// CountFinishedRuns returns how many finished runs a deployment has, or how many have none for the nil id.
func (v *View) CountFinishedRuns(deploymentID api.ID) (int64, error) {
	return v.count(appendID(counterKey(countRunsFinished), deploymentID[:]))
}

// CountRunsWithLogs returns how many flow runs of a deployment have logs.
func (v *View) CountRunsWithLogs(deploymentID api.ID) (int64, error) {
	return v.count(appendID(counterKey(countRunsWithLogs), deploymentID[:]))
}

// DeploymentsWithHistory walks the deployments that have finished runs or logs; the nil id stands for none, and one may have been
// deleted. It costs a step for each of them, whatever they have.
func (v *View) DeploymentsWithHistory(fn func(api.ID) (bool, error)) error {
	for _, number := range []byte{countRunsFinished, countRunsWithLogs} {
		under := counterKey(number)
		more := true
		err := walk(v.r, under, after(under), false, func(key, _ []byte) (bool, error) {
			id := id16(key[len(under):])
			if number == countRunsWithLogs {
				n, err := v.CountFinishedRuns(id)
				if err != nil || n > 0 {
					return true, err // it was walked already
				}
			}
			var err error
			more, err = fn(id)
			return more, err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// CountFinishedRuns is View.CountFinishedRuns with this transaction's own changes.
func (tx *Tx) CountFinishedRuns(deploymentID api.ID) (int64, error) {
	key := appendID(counterKey(countRunsFinished), deploymentID[:])
	n, err := tx.View.count(key)
	return n + tx.deltas[string(key)], err
}

// CountRunsWithLogs is View.CountRunsWithLogs with this transaction's own changes.
func (tx *Tx) CountRunsWithLogs(deploymentID api.ID) (int64, error) {
	key := appendID(counterKey(countRunsWithLogs), deploymentID[:])
	n, err := tx.View.count(key)
	return n + tx.deltas[string(key)], err
}

// CountFlowRuns is View.CountFlowRuns with this transaction's own changes.
func (tx *Tx) CountFlowRuns(t row.StateType) (int64, error) {
	key := append(counterKey(countRunsByState), byte(t))
	n, err := tx.View.count(key)
	return n + tx.deltas[string(key)], err
}

// RetentionReady reports whether the indexes that retention goes by are complete.
func (v *View) RetentionReady() (bool, error) {
	for _, number := range []byte{idxRunFinished, idxLogsNewest, idxCacheExpiration} {
		s, err := v.IndexState(number)
		if err != nil || s != IndexReady {
			return false, err
		}
	}
	return true, nil
}

// DeleteLogSegments removes up to limit batches of a flow run's logs, the oldest first, and reports whether none is left.
func (tx *Tx) DeleteLogSegments(flowRunID []byte, limit int) (done bool, err error) {
	type segment = Edit[row.LogSegment, *row.LogSegment]
	var edits []*segment
	under := appendID(prefix(kindRow, logSegments.number), flowRunID)
	err = walk(tx.batch, under, after(under), false, func(key, _ []byte) (bool, error) {
		e, err := edit(tx, logSegments, bytes.Clone(key))
		edits = append(edits, e)
		return len(edits) <= limit, err
	})
	if err != nil {
		return false, err
	}
	if done = len(edits) <= limit; !done {
		edits = edits[:limit]
	}
	for _, e := range edits {
		if err := e.Delete(); err != nil {
			return false, err
		}
	}
	return done, nil
}

// DeleteCacheEntry removes the cache entry of a task run's state, if it has one.
func (tx *Tx) DeleteCacheEntry(s *row.State) error {
	key := s.GetDetails().GetCacheKey()
	if key == "" {
		return nil
	}
	e, err := edit(tx, cacheEntries, appendID(appendTime(appendText(prefix(kindRow, cacheEntries.number), key), s.Timestamp), s.Id))
	if err != nil || e == nil {
		return err
	}
	return e.Delete()
}

// DeleteExpiredCacheEntries removes up to limit entries of the task cache that expired before the given time, and returns how many.
func (tx *Tx) DeleteExpiredCacheEntries(before int64, limit int) (int, error) {
	var keys [][]byte
	under := indexKey(idxCacheExpiration)
	err := walk(tx.batch, under, appendTime(bytes.Clone(under), before), false, func(_, rowKey []byte) (bool, error) {
		keys = append(keys, bytes.Clone(rowKey))
		return len(keys) < limit, nil
	})
	for _, key := range keys {
		if err != nil {
			return 0, err
		}
		var e *Edit[row.CacheEntry, *row.CacheEntry]
		if e, err = edit(tx, cacheEntries, key); err == nil && e != nil {
			err = e.Delete()
		}
	}
	return len(keys), err
}

// ExpiredCacheEntries reports whether an entry of the task cache expired before the given time.
func (v *View) ExpiredCacheEntries(before int64) (found bool, err error) {
	under := indexKey(idxCacheExpiration)
	err = walk(v.r, under, appendTime(bytes.Clone(under), before), false, func(_, _ []byte) (bool, error) {
		found = true
		return false, nil
	})
	return found, err
}
