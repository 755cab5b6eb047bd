package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// SchemaVersion is the newest version of the stored format that this binary reads. It writes the one that belongs to the cluster
// version.
const SchemaVersion = 1

// schemaAt is the stored format of a cluster version. Every member writes it from the entry on that raised the version.
func schemaAt(uint64) uint64 { return 1 }

// ErrSchemaTooNew is returned by Tx.InitSchema and CheckSchema for a state written by a newer binary.
var ErrSchemaTooNew = errors.New("the stored state was written by a newer version of sluice")

// ErrUnknownIndex is returned by Tx.BuildIndex for an index that only a newer binary declares.
var ErrUnknownIndex = errors.New("there is no such index")

// IndexState says whether an index may be read.
type IndexState byte

const (
	// IndexBuilding: new rows are indexed, old ones not all yet.
	IndexBuilding IndexState = 'b'
	// IndexReady: every row is indexed.
	IndexReady IndexState = 'r'
)

func (tx *Tx) setUint64(number byte, v uint64) error {
	return tx.batch.Set(systemKey(number), binary.BigEndian.AppendUint64(nil, v))
}

// SetEpoch records a new leadership epoch.
func (tx *Tx) SetEpoch(epoch, term uint64) error {
	return errors.Join(tx.setUint64(sysEpoch, epoch), tx.setUint64(sysTerm, term))
}

// SetClusterID records the cluster's id. It changes only where an operator makes one cluster of another.
func (tx *Tx) SetClusterID(id string) error { return tx.batch.Set(systemKey(sysClusterID), []byte(id)) }

// SetClusterVersion records the cluster version; the caller sees to it that it grows.
func (tx *Tx) SetClusterVersion(version uint64) error {
	tx.version = version
	return tx.setUint64(sysClusterVersion, version)
}

// SetCheckpoint notes the hash of the rows at the entry index.
func (tx *Tx) SetCheckpoint(index uint64) (Hash, error) {
	h, err := tx.Hash()
	if err != nil {
		return Hash{}, err
	}
	return h, tx.batch.Set(systemKey(sysCheckpoint), append(binary.BigEndian.AppendUint64(nil, index), h.encode()...))
}

// ForgetCheckpoint forgets the hash that was noted last: it is of an entry of another log.
func (tx *Tx) ForgetCheckpoint() error { return tx.batch.Delete(systemKey(sysCheckpoint)) }

// SetIncarnation records how often the state was replaced by an operator.
func (tx *Tx) SetIncarnation(n uint32) error { return tx.setUint64(sysIncarnation, uint64(n)) }

// SetLineage records which clusters this one continues.
func (tx *Tx) SetLineage(ids []string) error {
	return tx.batch.Set(systemKey(sysLineage), []byte(strings.Join(ids, " ")))
}

// SetLastTime records the state's own time.
func (tx *Tx) SetLastTime(t int64) error { return tx.setUint64(sysLastTime, uint64(t)) }

// SetDefaultStorage makes a block the default storage; an empty id clears it.
func (tx *Tx) SetDefaultStorage(blockID []byte) error {
	if len(blockID) == 0 {
		return tx.batch.Delete(systemKey(sysDefaultStorage))
	}
	return tx.batch.Set(systemKey(sysDefaultStorage), blockID)
}

// CheckSchema refuses a state that this binary must not read.
func (v *View) CheckSchema() error {
	version, err := v.SchemaVersion()
	if err != nil {
		return err
	}
	if version > SchemaVersion {
		return fmt.Errorf("%w: schema %d, this binary reads up to %d: run the newer binary", ErrSchemaTooNew, version, SchemaVersion)
	}
	return nil
}

// InitSchema brings the description of the stored format up to the cluster version's: in an empty state every index is ready at
// once; in an older one an index it does not know begins as building, to be filled by BuildIndex.
func (tx *Tx) InitSchema() error {
	version, err := tx.SchemaVersion()
	if err != nil {
		return err
	}
	clusterVersion, err := tx.ClusterVersion()
	if err != nil {
		return err
	}
	clear(tx.filled)
	for _, ix := range indexesSince(clusterVersion) {
		key := systemKey(sysIndex, ix.number)
		_, err := tx.batch.Get(key)
		if err == nil {
			continue
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("read the state of index %s: %w", ix.name, err)
		}
		s := IndexReady
		if version != 0 {
			s = IndexBuilding
		}
		if err := tx.batch.Set(key, []byte{byte(s)}); err != nil {
			return fmt.Errorf("write the state of index %s: %w", ix.name, err)
		}
	}
	clear(tx.timelines)
	if now := schemaAt(clusterVersion); version < now {
		return tx.setUint64(sysSchema, now)
	}
	return nil
}

// IndexState returns the state of the index with that number; an index the state does not know yet counts as building.
func (v *View) IndexState(number byte) (IndexState, error) {
	value, err := v.r.Get(systemKey(sysIndex, number))
	if errors.Is(err, kv.ErrNotFound) {
		return IndexBuilding, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the state of index %d: %w", number, err)
	}
	if len(value) == 0 {
		return 0, fmt.Errorf("the state of index %d is empty", number)
	}
	return IndexState(value[0]), nil
}

// BuildingIndexes returns the numbers of the indexes that wait to be filled, in order. Those that come with a later cluster version
// are not among them.
func (v *View) BuildingIndexes() ([]byte, error) {
	version, err := v.ClusterVersion()
	if err != nil {
		return nil, err
	}
	var numbers []byte
	for _, ix := range indexesSince(version) {
		s, err := v.IndexState(ix.number)
		if err != nil {
			return nil, err
		}
		if s == IndexBuilding {
			numbers = append(numbers, ix.number)
		}
	}
	return numbers, nil
}

// BuildIndex indexes up to limit more rows of a building index, and makes it ready after the last one. Where it stands is
// part of the state, so that every replica does the same work at the same entry.
func (tx *Tx) BuildIndex(number byte, limit int) (done bool, err error) {
	for _, ix := range declaredIndexes() {
		if ix.number != number {
			continue
		}
		key := systemKey(sysIndex, number)
		value, err := tx.batch.Get(key)
		if err != nil {
			return false, fmt.Errorf("read the state of index %s: %w", ix.name, err)
		}
		if IndexState(value[0]) == IndexReady {
			return true, nil
		}
		delete(tx.timelines, number)
		delete(tx.filled, number)
		last, err := ix.fill(tx, value[1:], limit)
		if err != nil {
			return false, fmt.Errorf("fill index %s: %w", ix.name, err)
		}
		if last == nil {
			return true, tx.batch.Set(key, []byte{byte(IndexReady)})
		}
		return false, tx.batch.Set(key, append([]byte{byte(IndexBuilding)}, last...))
	}
	return false, fmt.Errorf("%w: %d", ErrUnknownIndex, number)
}

// declaredIndex is an index without its row type.
type declaredIndex struct {
	number byte
	name   string
	since  uint64
	// fill indexes up to limit rows after the row key `after` (nil: from the first) and returns the last one's key, nil at the end.
	fill func(tx *Tx, after []byte, limit int) (last []byte, err error)
}

// indexesSince returns the indexes that a cluster of that version has.
func indexesSince(version uint64) []declaredIndex {
	return slices.DeleteFunc(declaredIndexes(), func(ix declaredIndex) bool { return ix.since > version })
}

func declaredIndexes() []declaredIndex {
	var all []declaredIndex
	all = append(all, flows.declared()...)
	all = append(all, flowRuns.declared()...)
	all = append(all, flowRunStates.declared()...)
	all = append(all, taskRuns.declared()...)
	all = append(all, taskRunStates.declared()...)
	all = append(all, deployments.declared()...)
	all = append(all, workQueues.declared()...)
	all = append(all, agents.declared()...)
	all = append(all, blockSpecs.declared()...)
	all = append(all, blocks.declared()...)
	all = append(all, limits.declared()...)
	all = append(all, savedSearches.declared()...)
	all = append(all, slots.declared()...)
	all = append(all, cacheEntries.declared()...)
	all = append(all, logSegments.declared()...)
	all = append(all, logProducers.declared()...)
	all = append(all, logUsages.declared()...)
	all = append(all, claims.declared()...)
	all = append(all, blobs.declared()...)
	all = append(all, blobChunks.declared()...)
	all = append(all, jobs.declared()...)
	all = append(all, outcomes.declared()...)
	all = append(all, tokens.declared()...)
	all = append(all, audits.declared()...)
	all = append(all, retentionPolicy.declared()...)
	all = append(all, webhooks.declared()...)
	all = append(all, artifacts.declared()...)
	all = append(all, deliveries.declared()...)
	all = append(all, reigns.declared()...)
	return all
}

func (t *table[S, R]) declared() []declaredIndex {
	var all []declaredIndex
	for i := range t.indexes {
		ix := &t.indexes[i]
		all = append(all, declaredIndex{ix.number, t.name + "." + ix.name, ix.since, func(tx *Tx, from []byte, limit int) ([]byte, error) {
			var counts []func(R, func([]byte))
			for _, c := range t.counted {
				if c.index == ix.number {
					counts = append(counts, c.keys)
				}
			}
			type entry struct{ key, rowKey []byte }
			var found []entry
			rows := 0
			last, err := t.chunk(tx, from, limit, func(r R, rowKey []byte) {
				ix.keys(r, func(k []byte) { found = append(found, entry{k, rowKey}) })
				for _, keys := range counts {
					keys(r, func(k []byte) { tx.deltas[string(k)]++ })
				}
				rows++
			})
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				if err := tx.batch.Set(f.key, f.rowKey); err != nil {
					return nil, err
				}
			}
			if rows < limit {
				return nil, nil
			}
			return last, nil
		}})
	}
	return append(all, t.declaredTimeline()...)
}
