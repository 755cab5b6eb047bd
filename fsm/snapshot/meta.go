package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// Prefix begins every key of this package. They describe where the database stands in the Raft log, differ between nodes
// that hold the same state, and are no part of the state's hash.
const Prefix = 0x00

var (
	keyApplied       = []byte{Prefix, 'r', 'a'}
	keyConfiguration = []byte{Prefix, 'r', 'c'}
	keyWitness       = []byte{Prefix, 'r', 'w'}
	keyHalt          = []byte{Prefix, 'r', 'h'}
)

// Meta is where a database stands in the Raft log.
type Meta struct {
	// Applied and AppliedTerm are of the last entry whose effect is in the database; 0 for a new one.
	Applied, AppliedTerm uint64
	// WitnessIndex and WitnessTerm are of the last snapshot Raft took of this database. Raft counts entries the state
	// machine never sees, so WitnessIndex may be above Applied: the entries between changed nothing.
	WitnessIndex, WitnessTerm uint64
	// Configuration is the newest cluster configuration at or before Last, ConfigurationIndex its entry.
	Configuration      raft.Configuration
	ConfigurationIndex uint64
}

// Last returns the position up to which the Raft log is not needed any more: the later of applied and witnessed.
func (m Meta) Last() (index, term uint64) {
	if m.WitnessIndex > m.Applied {
		return m.WitnessIndex, m.WitnessTerm
	}
	return m.Applied, m.AppliedTerm
}

// WriteApplied records that b brings the database to the entry index. It belongs in the same batch as the entry's
// effects.
func WriteApplied(b kv.Batch, index, term uint64) error {
	return b.Set(keyApplied, encodePosition(index, term))
}

// WriteConfiguration records the cluster configuration that the entry index carries, in the batch that applies it.
func WriteConfiguration(b kv.Batch, index uint64, conf raft.Configuration) error {
	return b.Set(keyConfiguration, encodeConfiguration(nil, index, conf))
}

// writeWitness records the snapshot Raft took. It has its own key because it is written while entries are being applied,
// and must never move the applied index.
func writeWitness(b kv.Batch, index, term, confIndex uint64, conf raft.Configuration) error {
	return b.Set(keyWitness, encodeConfiguration(encodePosition(index, term), confIndex, conf))
}

// ReadMeta reads where the database stands. The reader must be a consistent state: a snapshot, or a store that is not
// being written to.
func ReadMeta(r kv.Reader) (Meta, error) {
	var m Meta
	v, err := optional(r, keyApplied)
	if err != nil {
		return Meta{}, err
	}
	if v != nil {
		if m.Applied, m.AppliedTerm, _, err = decodePosition(v); err != nil {
			return Meta{}, fmt.Errorf("read applied index: %w", err)
		}
	}
	if v, err = optional(r, keyConfiguration); err != nil {
		return Meta{}, err
	}
	if v != nil {
		if m.ConfigurationIndex, m.Configuration, err = decodeConfiguration(v); err != nil {
			return Meta{}, fmt.Errorf("read configuration: %w", err)
		}
	}
	if v, err = optional(r, keyWitness); err != nil {
		return Meta{}, err
	}
	if v == nil {
		return m, nil
	}
	if m.WitnessIndex, m.WitnessTerm, v, err = decodePosition(v); err != nil {
		return Meta{}, fmt.Errorf("read snapshot index: %w", err)
	}
	confIndex, conf, err := decodeConfiguration(v)
	if err != nil {
		return Meta{}, fmt.Errorf("read snapshot configuration: %w", err)
	}
	if confIndex > m.ConfigurationIndex {
		m.ConfigurationIndex, m.Configuration = confIndex, conf
	}
	return m, nil
}

// StoreHalt durably records why this node applies nothing more, in the state machine's words; nil removes the record.
func StoreHalt(store kv.Store, value []byte) error {
	b := store.NewBatch()
	defer b.Close()
	write := b.Delete(keyHalt)
	if value != nil {
		write = b.Set(keyHalt, value)
	}
	if write != nil {
		return fmt.Errorf("record a halt: %w", write)
	}
	return store.Commit(b, true)
}

// ReadHalt returns what StoreHalt recorded, nil for nothing.
func ReadHalt(r kv.Reader) ([]byte, error) { return optional(r, keyHalt) }

func optional(r kv.Reader, key []byte) ([]byte, error) {
	v, err := r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read raft position: %w", err)
	}
	return v, nil
}

var errShortMeta = errors.New("the record is too short; the state directory is damaged, restore it from another node")

func encodePosition(index, term uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, index), term)
}

func decodePosition(v []byte) (index, term uint64, rest []byte, err error) {
	if len(v) < 16 {
		return 0, 0, nil, errShortMeta
	}
	return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), v[16:], nil
}

func encodeConfiguration(to []byte, index uint64, conf raft.Configuration) []byte {
	return append(binary.BigEndian.AppendUint64(to, index), raft.EncodeConfiguration(conf)...)
}

func decodeConfiguration(v []byte) (index uint64, conf raft.Configuration, err error) {
	if len(v) < 8 {
		return 0, conf, errShortMeta
	}
	// Raft's decoder panics on garbage; a damaged record must be an error.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v; the state directory is damaged, restore it from another node", p)
		}
	}()
	return binary.BigEndian.Uint64(v), raft.DecodeConfiguration(v[8:]), nil
}
