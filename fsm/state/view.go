// Package state is the replicated state as typed tables: reads on a consistent View, writes through a Tx that only the
// state machine opens. See DESIGN.md.
package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// View reads one consistent moment of the state. Objects that do not exist are nil without an error. Rows belong to the
// caller. It is safe for concurrent use, and must be closed.
type View struct {
	r     kv.Reader
	index uint64
	close func() error
}

// NewView makes a View of r that shows at least everything up to the log index; close is called once by Close and may be nil.
func NewView(r kv.Reader, index uint64, close func() error) *View {
	return &View{r: r, index: index, close: close}
}

// Index returns the log index up to which the View certainly shows everything.
func (v *View) Index() uint64 { return v.index }

// Close releases what the View keeps alive.
func (v *View) Close() error {
	if v.close == nil {
		return nil
	}
	return v.close()
}

// Flow returns a flow by id.
func (v *View) Flow(id api.ID) (*row.Flow, error) {
	return flows.get(v.r, appendID(prefix(kindRow, flows.number), id[:]))
}

// FlowByName returns the flow of that name.
func (v *View) FlowByName(name string) (*row.Flow, error) {
	return flows.byIndex(v.r, appendText(indexKey(idxFlowName), name))
}

// EachFlow walks all flows by name.
func (v *View) EachFlow(fn func(*row.Flow) (bool, error)) error {
	under := indexKey(idxFlowName)
	return flows.eachByIndex(v.r, under, after(under), false, fn)
}

// Deployment returns a deployment by id.
func (v *View) Deployment(id api.ID) (*row.Deployment, error) {
	return deployments.get(v.r, appendID(prefix(kindRow, deployments.number), id[:]))
}

// DeploymentByName returns the deployment of that name of a flow.
func (v *View) DeploymentByName(flowID api.ID, name string) (*row.Deployment, error) {
	return deployments.byIndex(v.r, appendText(appendID(indexKey(idxDeploymentName), flowID[:]), name))
}

// EachDeployment walks all deployments by id.
func (v *View) EachDeployment(fn func(*row.Deployment) (bool, error)) error {
	return deployments.each(v.r, prefix(kindRow, deployments.number), false, fn)
}

// EachActiveSchedule walks the deployments that have a schedule and whose schedule is active, by id.
func (v *View) EachActiveSchedule(fn func(*row.Deployment) (bool, error)) error {
	under := indexKey(idxDeploymentSchedule)
	return deployments.eachByIndex(v.r, under, after(under), false, fn)
}

// WorkQueue returns a work queue by id.
func (v *View) WorkQueue(id api.ID) (*row.WorkQueue, error) {
	return workQueues.get(v.r, appendID(prefix(kindRow, workQueues.number), id[:]))
}

// WorkQueueByName returns the work queue of that name.
func (v *View) WorkQueueByName(name string) (*row.WorkQueue, error) {
	return workQueues.byIndex(v.r, appendText(indexKey(idxWorkQueueName), name))
}

// EachWorkQueue walks all work queues by name.
func (v *View) EachWorkQueue(fn func(*row.WorkQueue) (bool, error)) error {
	under := indexKey(idxWorkQueueName)
	return workQueues.eachByIndex(v.r, under, after(under), false, fn)
}

// SlotsInUse returns how many runs hold a slot of a work queue or of a concurrency limit. For a queue these are the flow
// runs it matches that are Pending or Running, whoever executes them; for a limit the Running task runs with its tag.
func (v *View) SlotsInUse(limitID api.ID) (int, error) {
	n, err := v.count(appendID(counterKey(countSlots), limitID[:]))
	return int(n), err
}

// Slots returns the runs that hold a slot of a work queue or of a concurrency limit, by id.
func (v *View) Slots(limitID api.ID) ([]api.ID, error) {
	var ids []api.ID
	err := slots.each(v.r, appendID(prefix(kindRow, slots.number), limitID[:]), false, func(s *row.Slot) (bool, error) {
		ids = append(ids, id16(s.RunId))
		return true, nil
	})
	return ids, err
}

// EachSlot walks the slots of a limit that are in use, by the id of the run, behind one if `behind` is not nil.
func (v *View) EachSlot(limitID api.ID, behind *api.ID, fn func(*row.Slot) (bool, error)) error {
	lower, upper := placed(appendID(prefix(kindRow, slots.number), limitID[:]), behind, false)
	return walk(v.r, lower, upper, false, func(_, value []byte) (bool, error) {
		s, err := slots.decode(value)
		if err != nil {
			return false, err
		}
		return fn(s)
	})
}

// Agent returns an agent by id.
func (v *View) Agent(id api.ID) (*row.Agent, error) {
	return agents.get(v.r, appendID(prefix(kindRow, agents.number), id[:]))
}

// EachAgent walks all agents by id.
func (v *View) EachAgent(fn func(*row.Agent) (bool, error)) error {
	return agents.each(v.r, prefix(kindRow, agents.number), false, fn)
}

// Claim returns what was granted under a claim id, nil when nothing was or it is forgotten.
func (v *View) Claim(id api.ID) (*row.Claim, error) {
	return claims.get(v.r, appendID(prefix(kindRow, claims.number), id[:]))
}

// BlockSpec returns a block spec by id.
func (v *View) BlockSpec(id api.ID) (*row.BlockSpec, error) {
	return blockSpecs.get(v.r, appendID(prefix(kindRow, blockSpecs.number), id[:]))
}

// BlockSpecByName returns one version of a block spec.
func (v *View) BlockSpecByName(name, version string) (*row.BlockSpec, error) {
	return blockSpecs.byIndex(v.r, appendText(appendText(indexKey(idxBlockSpecName), name), version))
}

// EachBlockSpec walks all block specs by name, then version.
func (v *View) EachBlockSpec(fn func(*row.BlockSpec) (bool, error)) error {
	under := indexKey(idxBlockSpecName)
	return blockSpecs.eachByIndex(v.r, under, after(under), false, fn)
}

// Block returns a block by id.
func (v *View) Block(id api.ID) (*row.Block, error) {
	return blocks.get(v.r, appendID(prefix(kindRow, blocks.number), id[:]))
}

// EachBlock walks all blocks by id.
func (v *View) EachBlock(fn func(*row.Block) (bool, error)) error {
	return blocks.each(v.r, prefix(kindRow, blocks.number), false, fn)
}

// DefaultStorageBlock returns the block that is the default storage.
func (v *View) DefaultStorageBlock() (*row.Block, error) {
	id, err := v.system(sysDefaultStorage)
	if err != nil || len(id) == 0 {
		return nil, err
	}
	return v.Block(id16(id))
}

// ConcurrencyLimit returns a limit by id.
func (v *View) ConcurrencyLimit(id api.ID) (*row.ConcurrencyLimit, error) {
	return limits.get(v.r, appendID(prefix(kindRow, limits.number), id[:]))
}

// ConcurrencyLimitByTag returns the limit of a tag.
func (v *View) ConcurrencyLimitByTag(tag string) (*row.ConcurrencyLimit, error) {
	return limits.byIndex(v.r, appendText(indexKey(idxLimitTag), tag))
}

// EachConcurrencyLimit walks all limits by tag.
func (v *View) EachConcurrencyLimit(fn func(*row.ConcurrencyLimit) (bool, error)) error {
	under := indexKey(idxLimitTag)
	return limits.eachByIndex(v.r, under, after(under), false, fn)
}

// LogSegments walks the log batches of one flow run in the order they were accepted.
func (v *View) LogSegments(flowRunID api.ID, fn func(*row.LogSegment) (bool, error)) error {
	return logSegments.each(v.r, appendID(prefix(kindRow, logSegments.number), flowRunID[:]), false, fn)
}

// LogSegmentsAfter walks the log batches of one flow run that were accepted after (index, ordinal), in that order.
func (v *View) LogSegmentsAfter(flowRunID api.ID, index uint64, ordinal uint32, fn func(*row.LogSegment) (bool, error)) error {
	under := appendID(prefix(kindRow, logSegments.number), flowRunID[:])
	lower := appendUint64(appendUint64(append([]byte(nil), under...), index), uint64(ordinal)+1)
	return walk(v.r, lower, after(under), false, func(_, value []byte) (bool, error) {
		segment, err := logSegments.decode(value)
		if err != nil {
			return false, err
		}
		return fn(segment)
	})
}

// LogPlace is a batch of a flow run's logs.
type LogPlace struct {
	Index   uint64
	Ordinal uint32
}

// WalkLogSegments walks the log batches of one flow run in the order they were accepted, or the other way round, beginning with the
// one at `from`, nil is the first.
func (v *View) WalkLogSegments(flowRunID api.ID, from *LogPlace, reverse bool, fn func(*row.LogSegment) (bool, error)) error {
	under := appendID(prefix(kindRow, logSegments.number), flowRunID[:])
	lower, upper := under, after(under)
	if from != nil {
		at := appendUint64(appendUint64(append([]byte(nil), under...), from.Index), uint64(from.Ordinal))
		if reverse {
			upper = append(at, 0)
		} else {
			lower = at
		}
	}
	return walk(v.r, lower, upper, reverse, func(_, value []byte) (bool, error) {
		segment, err := logSegments.decode(value)
		if err != nil {
			return false, err
		}
		return fn(segment)
	})
}

// EachLogSegment walks the log batches of all flow runs, run by run.
func (v *View) EachLogSegment(fn func(*row.LogSegment) (bool, error)) error {
	return logSegments.each(v.r, prefix(kindRow, logSegments.number), false, fn)
}

// Blob describes a value of the built-in store.
func (v *View) Blob(key string) (*row.Blob, error) {
	return blobs.get(v.r, appendText(prefix(kindRow, blobs.number), key))
}

// BlobData returns the value of the built-in store under key, nil when there is none.
func (v *View) BlobData(key string) ([]byte, error) {
	blob, err := v.Blob(key)
	if err != nil || blob == nil {
		return nil, err
	}
	data := make([]byte, 0, blob.Size)
	under := appendID(appendText(prefix(kindRow, blobChunks.number), key), blob.Version)
	err = blobChunks.each(v.r, under, false, func(c *row.BlobChunk) (bool, error) {
		data = append(data, c.Data...)
		return true, nil
	})
	if err == nil && uint64(len(data)) != blob.Size {
		err = fmt.Errorf("value %q of the built-in store: %d bytes found, %d expected", key, len(data), blob.Size)
	}
	return data, err
}

// System values.
const (
	sysEpoch          = 1
	sysTerm           = 2
	sysClusterID      = 3
	sysLastTime       = 4
	sysHash           = 5
	sysDefaultStorage = 6
	sysSchema         = 7
	sysIndex          = 8 // + index number: its state
	sysClusterVersion = 9
	sysCheckpoint     = 10 // index and hash of the newest checkpoint
	sysIncarnation    = 20
	sysLineage        = 21
)

func systemKey(number byte, more ...byte) []byte { return append(prefix(kindSystem, number), more...) }

func (v *View) system(number byte) ([]byte, error) {
	value, err := v.r.Get(systemKey(number))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

func (v *View) systemUint64(number byte) (uint64, error) {
	value, err := v.system(number)
	if err != nil || len(value) == 0 {
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}

// Epoch returns the leadership epoch: the index of the newest LeaderEpoch, 0 before the first.
func (v *View) Epoch() (uint64, error) { return v.systemUint64(sysEpoch) }

// ClusterID returns the id the first leader gave to the cluster, "" before.
func (v *View) ClusterID() (string, error) {
	id, err := v.system(sysClusterID)
	return string(id), err
}

// Incarnation counts how often an operator replaced the state: by a restored snapshot, or by a recovery that lost entries. Cursors
// of events are of one incarnation.
func (v *View) Incarnation() (uint32, error) {
	n, err := v.systemUint64(sysIncarnation)
	return uint32(n), err
}

// Lineage returns the ids of the clusters that this one continues: it was recovered from them, or restored from their snapshots.
func (v *View) Lineage() ([]string, error) {
	value, err := v.system(sysLineage)
	return strings.Fields(string(value)), err
}

// LastTime returns the state's own time in µs: no command is ever applied at an earlier one.
func (v *View) LastTime() (int64, error) {
	t, err := v.systemUint64(sysLastTime)
	return int64(t), err
}

// ClusterVersion returns the version that the cluster has been raised to, at least 1.
func (v *View) ClusterVersion() (uint64, error) {
	version, err := v.systemUint64(sysClusterVersion)
	return max(version, 1), err
}

// Checkpoint returns the hash of the rows that was noted last, and at which entry; index 0 when none was.
func (v *View) Checkpoint() (index uint64, hash Hash, err error) {
	value, err := v.system(sysCheckpoint)
	if err != nil || len(value) == 0 {
		return 0, Hash{}, err
	}
	return binary.BigEndian.Uint64(value), decodeHash(value[8:]), nil
}

// SchemaVersion returns the version of the stored format, 0 for an empty state.
func (v *View) SchemaVersion() (uint64, error) { return v.systemUint64(sysSchema) }

// Hash returns the hash of all rows.
func (v *View) Hash() (Hash, error) {
	value, err := v.system(sysHash)
	if err != nil || len(value) == 0 {
		return Hash{}, err
	}
	return decodeHash(value), nil
}

func (v *View) count(key []byte) (int64, error) {
	value, err := v.r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read a counter: %w", err)
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

// EachCacheEntry walks the entries of the task cache under one key, oldest first.
func (v *View) EachCacheEntry(key string, fn func(*row.CacheEntry) (bool, error)) error {
	return cacheEntries.each(v.r, appendText(prefix(kindRow, cacheEntries.number), key), false, fn)
}
