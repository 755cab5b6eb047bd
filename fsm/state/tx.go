package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// ErrNotUnique is returned by Edit.Save when another row holds one of the row's unique keys, or a new row's primary key.
// Nothing was written.
var ErrNotUnique = errNotUnique

// Tx is a View whose reads see its own writes. One goroutine uses it: the state machine's. Nothing is stored before the
// batch is committed; Flush must come last.
type Tx struct {
	View
	batch kv.Batch
	hash  *Hash
	// version is the cluster version, 0 until it is needed.
	version uint64
	// deltas of counters, applied by Flush: many rows of one batch change the same few counters.
	deltas map[string]int64
	// sums are the changes of timelines' buckets of the finest level; timelines is how far each timeline is filled.
	sums      map[sumSpot]*bucketSums
	timelines map[byte]timelineState
	// removed counts the rows that were deleted, by table; nil while nobody asks.
	removed *removals
	// filled says how far the indexes of table.counted are filled, each once it was asked for.
	filled map[byte]fillState
}

// NewTx opens a transaction on store. The batch stays the caller's to commit and close.
func NewTx(batch kv.Batch) *Tx {
	return &Tx{View: View{r: batch}, batch: batch, deltas: map[string]int64{}, sums: map[sumSpot]*bucketSums{}, timelines: map[byte]timelineState{}}
}

// Batch returns the batch under the transaction.
func (tx *Tx) Batch() kv.Batch { return tx.batch }

// Flush writes the counters and the hash into the batch.
func (tx *Tx) Flush() error {
	for key, delta := range tx.deltas {
		if delta == 0 {
			continue
		}
		n, err := tx.View.count([]byte(key))
		if err != nil {
			return err
		}
		// Each key is written once, so the order of this map does not reach the store.
		if n += delta; n == 0 {
			err = tx.batch.Delete([]byte(key))
		} else {
			err = tx.batch.Set([]byte(key), binary.BigEndian.AppendUint64(nil, uint64(n)))
		}
		if err != nil {
			return fmt.Errorf("write a counter: %w", err)
		}
	}
	clear(tx.deltas)
	if err := tx.flushSums(); err != nil {
		return err
	}
	if tx.hash != nil {
		return tx.batch.Set(systemKey(sysHash), tx.hash.encode())
	}
	return nil
}

// SlotsInUse is View.SlotsInUse with this transaction's own changes.
func (tx *Tx) SlotsInUse(limitID api.ID) (int, error) {
	key := appendID(counterKey(countSlots), limitID[:])
	n, err := tx.View.count(key)
	return int(n + tx.deltas[string(key)]), err
}

// ClusterVersion is View.ClusterVersion with this transaction's own change.
func (tx *Tx) ClusterVersion() (uint64, error) {
	if tx.version == 0 {
		v, err := tx.View.ClusterVersion()
		if err != nil {
			return 0, err
		}
		tx.version = v
	}
	return tx.version, nil
}

// Hash is View.Hash with this transaction's own changes.
func (tx *Tx) Hash() (Hash, error) {
	h, err := tx.rowHash()
	if err != nil {
		return Hash{}, err
	}
	return *h, nil
}

func (tx *Tx) rowHash() (*Hash, error) {
	if tx.hash == nil {
		h, err := tx.View.Hash()
		if err != nil {
			return nil, err
		}
		tx.hash = &h
	}
	return tx.hash, nil
}

// Edit is one row loaded for change. Change Row, then Save or Delete; an Edit that is dropped changes nothing.
type Edit[S any, R message[S]] struct {
	Row R

	tx       *Tx
	table    *table[S, R]
	key      []byte
	old      []byte // encoded row as loaded; nil for a new one
	oldKeys  []indexEntry
	oldCount [][]byte
	oldFacts runFacts // what a timeline holds of the row
	// fresh says that the caller knows that none of the row's keys is taken.
	fresh bool
}

type indexEntry struct {
	key    []byte
	unique bool
}

// edit loads the row under key for change; nil when there is none.
func edit[S any, R message[S]](tx *Tx, t *table[S, R], key []byte) (*Edit[S, R], error) {
	value, err := tx.batch.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", t.name, err)
	}
	r, err := t.decode(value)
	if err != nil {
		return nil, err
	}
	version, err := tx.ClusterVersion()
	if err != nil {
		return nil, err
	}
	e := &Edit[S, R]{Row: r, tx: tx, table: t, key: key, old: value}
	e.oldKeys, e.oldCount = t.derived(r, version)
	if t.timeline != nil {
		e.oldFacts = t.timeline.of(r)
	}
	e.oldCount, err = t.countedOf(tx, key, r, e.oldCount)
	return e, err
}

// insert makes an Edit for a row that is not stored yet.
func insert[S any, R message[S]](tx *Tx, t *table[S, R], r R) *Edit[S, R] {
	return &Edit[S, R]{Row: r, tx: tx, table: t, key: t.key(prefix(kindRow, t.number), r)}
}

// insertFresh is insert for a row that cannot collide: its keys are derived from the entry, or the caller has looked them up in this
// transaction. Save does not look again: the store's misses are the dearest reads of the busiest commands.
func insertFresh[S any, R message[S]](tx *Tx, t *table[S, R], r R) *Edit[S, R] {
	e := insert(tx, t, r)
	e.fresh = true
	return e
}

// derived returns what follows from a row in a cluster of that version.
func (t *table[S, R]) derived(r R, version uint64) (keys []indexEntry, counters [][]byte) {
	keys = make([]indexEntry, 0, len(t.indexes))
	for i := range t.indexes {
		ix := &t.indexes[i]
		if ix.since > version {
			continue
		}
		ix.keys(r, func(key []byte) { keys = append(keys, indexEntry{key, ix.unique}) })
	}
	if t.counters != nil {
		t.counters(r, func(key []byte) { counters = append(counters, key) })
	}
	return keys, counters
}

// fillState is how far an index is filled: entirely, or up to a row's key.
type fillState struct {
	ready bool
	upTo  []byte
}

// countedOf adds to counters those of t.counted for which the row under key counts already.
func (t *table[S, R]) countedOf(tx *Tx, key []byte, r R, counters [][]byte) ([][]byte, error) {
	for i := range t.counted {
		c := &t.counted[i]
		f, known := tx.filled[c.index]
		if !known {
			value, err := tx.batch.Get(systemKey(sysIndex, c.index))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return nil, fmt.Errorf("read the state of index %d: %w", c.index, err)
			}
			if len(value) > 0 {
				f = fillState{IndexState(value[0]) == IndexReady, value[1:]}
			}
			if tx.filled == nil {
				tx.filled = map[byte]fillState{}
			}
			tx.filled[c.index] = f
		}
		if f.ready || len(f.upTo) > 0 && bytes.Compare(key, f.upTo) <= 0 {
			c.keys(r, func(key []byte) { counters = append(counters, key) })
		}
	}
	return counters, nil
}

// Save stores the row with its index keys, counters and hash. On ErrNotUnique nothing was written.
func (e *Edit[S, R]) Save() error {
	value, err := marshal.Marshal(e.Row)
	if err != nil {
		return fmt.Errorf("encode row of table %s: %w", e.table.name, err)
	}
	if e.old == nil && !e.fresh {
		if _, err := e.tx.batch.Get(e.key); err == nil {
			return ErrNotUnique
		} else if !errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("read table %s: %w", e.table.name, err)
		}
	}
	version, err := e.tx.ClusterVersion()
	if err != nil {
		return err
	}
	keys, counters := e.table.derived(e.Row, version)
	if counters, err = e.table.countedOf(e.tx, e.key, e.Row, counters); err != nil {
		return err
	}
	for _, k := range keys {
		if !k.unique || e.fresh || has(e.oldKeys, k.key) {
			continue
		}
		owner, err := e.tx.batch.Get(k.key)
		if err == nil && !bytes.Equal(owner, e.key) {
			return ErrNotUnique
		}
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("read an index of table %s: %w", e.table.name, err)
		}
	}
	if err := e.replace(value, keys, counters); err != nil {
		return fmt.Errorf("write table %s: %w", e.table.name, err)
	}
	return nil
}

// Delete removes the row with its index keys.
func (e *Edit[S, R]) Delete() error {
	if err := e.replace(nil, nil, nil); err != nil {
		return fmt.Errorf("delete from table %s: %w", e.table.name, err)
	}
	return nil
}

func (e *Edit[S, R]) replace(value []byte, keys []indexEntry, counters [][]byte) error {
	hash, err := e.tx.rowHash()
	if err != nil {
		return err
	}
	b := e.tx.batch
	for _, k := range e.oldKeys {
		if !has(keys, k.key) {
			if err := b.Delete(k.key); err != nil {
				return err
			}
		}
	}
	for _, k := range keys {
		if !has(e.oldKeys, k.key) {
			if err := b.Set(k.key, e.key); err != nil {
				return err
			}
		}
	}
	for _, c := range e.oldCount {
		e.tx.deltas[string(c)]--
	}
	for _, c := range counters {
		e.tx.deltas[string(c)]++
	}
	if err := e.retime(value == nil); err != nil {
		return err
	}
	if e.old != nil {
		hash.remove(e.key, e.old)
		if value == nil && e.tx.removed != nil {
			e.tx.removed.add(e.table.name, len(e.key)+len(e.old))
		}
	}
	if value != nil {
		hash.add(e.key, value)
		err = b.Set(e.key, value)
	} else {
		err = b.Delete(e.key)
	}
	e.old, e.oldKeys, e.oldCount, e.fresh = value, keys, counters, false
	return err
}

func has(entries []indexEntry, key []byte) bool {
	for _, e := range entries {
		if bytes.Equal(e.key, key) {
			return true
		}
	}
	return false
}

// Edits of each kind of row.
type (
	FlowEdit       = Edit[row.Flow, *row.Flow]
	FlowRunEdit    = Edit[row.FlowRun, *row.FlowRun]
	TaskRunEdit    = Edit[row.TaskRun, *row.TaskRun]
	StateEdit      = Edit[row.State, *row.State]
	DeploymentEdit = Edit[row.Deployment, *row.Deployment]
	WorkQueueEdit  = Edit[row.WorkQueue, *row.WorkQueue]
	AgentEdit      = Edit[row.Agent, *row.Agent]
	BlockSpecEdit  = Edit[row.BlockSpec, *row.BlockSpec]
	BlockEdit      = Edit[row.Block, *row.Block]
	LimitEdit      = Edit[row.ConcurrencyLimit, *row.ConcurrencyLimit]
	SlotEdit       = Edit[row.Slot, *row.Slot]
	ClaimEdit      = Edit[row.Claim, *row.Claim]
	LogUsageEdit   = Edit[row.LogUsage, *row.LogUsage]
	ProducerEdit   = Edit[row.LogProducer, *row.LogProducer]
	BlobEdit       = Edit[row.Blob, *row.Blob]
	BlobChunkEdit  = Edit[row.BlobChunk, *row.BlobChunk]
	JobEdit        = Edit[row.Job, *row.Job]
	OutcomeEdit    = Edit[row.Outcome, *row.Outcome]
)

// New rows, to be saved. Save refuses one whose key or unique keys are taken.

func (tx *Tx) NewFlow(r *row.Flow) *FlowEdit                   { return insert(tx, flows, r) }
func (tx *Tx) NewDeployment(r *row.Deployment) *DeploymentEdit { return insert(tx, deployments, r) }
func (tx *Tx) NewWorkQueue(r *row.WorkQueue) *WorkQueueEdit    { return insert(tx, workQueues, r) }
func (tx *Tx) NewAgent(r *row.Agent) *AgentEdit                { return insert(tx, agents, r) }
func (tx *Tx) NewBlockSpec(r *row.BlockSpec) *BlockSpecEdit    { return insert(tx, blockSpecs, r) }
func (tx *Tx) NewBlock(r *row.Block) *BlockEdit                { return insert(tx, blocks, r) }
func (tx *Tx) NewConcurrencyLimit(r *row.ConcurrencyLimit) *LimitEdit {
	return insert(tx, limits, r)
}
func (tx *Tx) NewSlot(r *row.Slot) *SlotEdit                { return insert(tx, slots, r) }
func (tx *Tx) NewClaim(r *row.Claim) *ClaimEdit             { return insert(tx, claims, r) }
func (tx *Tx) NewBlob(r *row.Blob) *BlobEdit                { return insert(tx, blobs, r) }
func (tx *Tx) NewBlobChunk(r *row.BlobChunk) *BlobChunkEdit { return insert(tx, blobChunks, r) }

// New rows whose keys are free by construction or have been looked up: ids of states and log segments come from the entry that is
// applied, and a run's states follow one another in time. Of runs the caller must have looked up the id, the idempotency key and the
// dynamic key, of the others the row.

func (tx *Tx) NewFlowRun(r *row.FlowRun) *FlowRunEdit  { return insertFresh(tx, flowRuns, r) }
func (tx *Tx) NewTaskRun(r *row.TaskRun) *TaskRunEdit  { return insertFresh(tx, taskRuns, r) }
func (tx *Tx) NewFlowRunState(r *row.State) *StateEdit { return insertFresh(tx, flowRunStates, r) }
func (tx *Tx) NewTaskRunState(r *row.State) *StateEdit { return insertFresh(tx, taskRunStates, r) }
func (tx *Tx) NewLogProducer(r *row.LogProducer) *ProducerEdit {
	return insertFresh(tx, logProducers, r)
}
func (tx *Tx) NewLogUsage(r *row.LogUsage) *LogUsageEdit { return insertFresh(tx, logUsages, r) }
func (tx *Tx) AddLogSegment(r *row.LogSegment) error     { return insertFresh(tx, logSegments, r).Save() }

// Stored rows, loaded for change; nil when there is none.

func (tx *Tx) EditFlow(id []byte) (*FlowEdit, error) {
	return edit(tx, flows, appendID(prefix(kindRow, flows.number), id))
}
func (tx *Tx) EditFlowRun(id []byte) (*FlowRunEdit, error) { return edit(tx, flowRuns, flowRunKey(id)) }
func (tx *Tx) EditTaskRun(id []byte) (*TaskRunEdit, error) { return edit(tx, taskRuns, taskRunKey(id)) }
func (tx *Tx) EditDeployment(id []byte) (*DeploymentEdit, error) {
	return edit(tx, deployments, appendID(prefix(kindRow, deployments.number), id))
}
func (tx *Tx) EditWorkQueue(id []byte) (*WorkQueueEdit, error) {
	return edit(tx, workQueues, appendID(prefix(kindRow, workQueues.number), id))
}
func (tx *Tx) EditAgent(id []byte) (*AgentEdit, error) {
	return edit(tx, agents, appendID(prefix(kindRow, agents.number), id))
}
func (tx *Tx) EditBlockSpec(id []byte) (*BlockSpecEdit, error) {
	return edit(tx, blockSpecs, appendID(prefix(kindRow, blockSpecs.number), id))
}
func (tx *Tx) EditBlock(id []byte) (*BlockEdit, error) {
	return edit(tx, blocks, appendID(prefix(kindRow, blocks.number), id))
}
func (tx *Tx) EditConcurrencyLimit(id []byte) (*LimitEdit, error) {
	return edit(tx, limits, appendID(prefix(kindRow, limits.number), id))
}
func (tx *Tx) EditSlot(limitID, runID []byte) (*SlotEdit, error) {
	return edit(tx, slots, appendID(appendID(prefix(kindRow, slots.number), limitID), runID))
}
func (tx *Tx) EditClaim(id []byte) (*ClaimEdit, error) {
	return edit(tx, claims, appendID(prefix(kindRow, claims.number), id))
}
func (tx *Tx) EditLogProducer(flowRunID, producer []byte) (*ProducerEdit, error) {
	return edit(tx, logProducers, appendID(appendID(prefix(kindRow, logProducers.number), flowRunID), producer))
}
func (tx *Tx) EditLogUsage(flowRunID []byte) (*LogUsageEdit, error) {
	return edit(tx, logUsages, appendID(prefix(kindRow, logUsages.number), flowRunID))
}
func (tx *Tx) EditBlob(key string) (*BlobEdit, error) {
	return edit(tx, blobs, appendText(prefix(kindRow, blobs.number), key))
}
func (tx *Tx) EditBlobChunk(key string, version []byte, ordinal uint32) (*BlobChunkEdit, error) {
	return edit(tx, blobChunks, appendUint64(appendID(appendText(prefix(kindRow, blobChunks.number), key), version), uint64(ordinal)))
}

// SlotsOfRun returns the slots a run holds.
func (tx *Tx) SlotsOfRun(runID []byte) ([]*SlotEdit, error) {
	under := appendID(indexKey(idxSlotRun), runID)
	var keys [][]byte
	err := walk(tx.batch, under, after(under), false, func(_, rowKey []byte) (bool, error) {
		keys = append(keys, bytes.Clone(rowKey))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	edits := make([]*SlotEdit, 0, len(keys))
	for _, key := range keys {
		e, err := edit(tx, slots, key)
		if err != nil {
			return nil, err
		}
		edits = append(edits, e)
	}
	return edits, nil
}

// AddCacheEntry adds an entry and removes those of the same key that can never be found again: they have expired at r's time,
// or end no later than r does.
func (tx *Tx) AddCacheEntry(r *row.CacheEntry) error {
	var dead []*Edit[row.CacheEntry, *row.CacheEntry]
	err := cacheEntries.each(tx.batch, appendText(prefix(kindRow, cacheEntries.number), r.Key), false, func(c *row.CacheEntry) (bool, error) {
		ends := c.Expiration != 0 && (c.Expiration <= r.StateTimestamp || r.Expiration == 0 || c.Expiration <= r.Expiration)
		if !ends && !(c.Expiration == 0 && r.Expiration == 0) {
			return true, nil
		}
		e, err := edit(tx, cacheEntries, cacheEntries.key(prefix(kindRow, cacheEntries.number), c))
		dead = append(dead, e)
		return true, err
	})
	for _, e := range dead {
		if err != nil {
			return err
		}
		err = e.Delete()
	}
	if err != nil {
		return err
	}
	return insert(tx, cacheEntries, r).Save()
}

// CachedState returns the newest state cached under key that has not expired at now (µs), nil when there is none.
func (tx *Tx) CachedState(key string, now int64) (*row.State, error) {
	var found *row.State
	err := cacheEntries.each(tx.batch, appendText(prefix(kindRow, cacheEntries.number), key), true, func(c *row.CacheEntry) (bool, error) {
		if c.Expiration != 0 && c.Expiration <= now {
			return true, nil
		}
		// The state may have been deleted with its run; an older entry may still do.
		s, err := taskRunStates.get(tx.batch, appendTime(appendID(prefix(kindRow, taskRunStates.number), c.TaskRunId), c.StateTimestamp))
		found = s
		return found == nil, err
	})
	return found, err
}

// DeleteLogProducers forgets who has written which batches of a flow run's logs.
func (tx *Tx) DeleteLogProducers(flowRunID []byte) error {
	return deleteUnder(tx, logProducers, flowRunID)
}

// DeleteFlowRunStates removes all states of a flow run; DeleteTaskRunStates those of a task run.
func (tx *Tx) DeleteFlowRunStates(id []byte) error { return deleteUnder(tx, flowRunStates, id) }

// DeleteTaskRunStates removes all states of a task run.
//
// What the task cache knows of them goes along.
func (tx *Tx) DeleteTaskRunStates(id []byte) error {
	states, err := tx.TaskRunStates(id16(id))
	for _, s := range states {
		if err != nil {
			return err
		}
		err = tx.DeleteCacheEntry(s)
	}
	if err != nil {
		return err
	}
	return deleteUnder(tx, taskRunStates, id)
}

// DeleteBlobChunks removes the chunks of a value whose version is older than before (empty: of all versions). That takes what
// unfinished uploads of the value left along. Versions sort by the time their upload began.
func (tx *Tx) DeleteBlobChunks(key string, before []byte) error {
	var edits []*BlobChunkEdit
	under := appendText(prefix(kindRow, blobChunks.number), key)
	err := blobChunks.each(tx.batch, under, false, func(c *row.BlobChunk) (bool, error) {
		if len(before) != 0 && bytes.Compare(c.Version, before) >= 0 {
			return false, nil
		}
		e, err := tx.EditBlobChunk(c.Key, c.Version, c.Ordinal)
		edits = append(edits, e)
		return true, err
	})
	for _, e := range edits {
		if err != nil {
			return err
		}
		err = e.Delete()
	}
	return err
}

func deleteUnder[S any, R message[S]](tx *Tx, t *table[S, R], id []byte) error {
	return deleteAll(tx, t, appendID(prefix(kindRow, t.number), id))
}

func deleteAll[S any, R message[S]](tx *Tx, t *table[S, R], under []byte) error {
	var edits []*Edit[S, R]
	err := t.each(tx.batch, under, false, func(r R) (bool, error) {
		e, err := edit(tx, t, t.key(prefix(kindRow, t.number), r))
		edits = append(edits, e)
		return true, err
	})
	for _, e := range edits {
		if err != nil {
			return err
		}
		err = e.Delete()
	}
	return err
}

// OldClaims returns up to limit ids of claims made before the given time.
func (tx *Tx) OldClaims(before int64, limit int) ([][]byte, error) {
	var ids [][]byte
	under := indexKey(idxClaimCreated)
	err := claims.eachByIndex(tx.batch, under, appendTime(append([]byte(nil), under...), before), false, func(c *row.Claim) (bool, error) {
		ids = append(ids, c.ClaimId)
		return len(ids) < limit, nil
	})
	return ids, err
}
