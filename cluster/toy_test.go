package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

// toy is a state machine in memory together with its snapshot store. It outlives nodes, as a database on disk would.
// Commands are words; each is kept with its index. "epoch ..." sets epoch and cluster id, "raise N" the cluster version, "checkpoint"
// notes the hash of all words, "poison" halts, and "poison ID" only the node that is told to be the one.
type toy struct {
	mu      sync.Mutex
	s       toyState
	changed signal
	// onApply, when set, is called before each batch is applied.
	onApply func()
	victim  string    // whom "poison ID" halts
	halt    error     // survives restarts, as the product's mark does
	synced  *toyState // what a crash leaves: the state at the last local snapshot
}

type toyState struct {
	Index, Term uint64
	Witness     uint64 // index of the last local snapshot
	WitnessTerm uint64
	Config      raft.Configuration
	ConfigIndex uint64
	Cluster     string
	Version     uint64
	Noted       Checkpoint
	Epoch       uint64
	Words       []toyWord
	Sessions    map[string][][]byte // session/seq → results
	LastStamp   int64
}

type toyWord struct {
	Word  string
	Index uint64
}

func newToy() *toy { return &toy{s: toyState{Version: 1, Sessions: map[string][][]byte{}}} }

// copy returns the state as it is now.
func (t *toy) copy() *toy {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &toy{s: *t.s.clone()}
	if t.synced != nil {
		c.synced = t.synced.clone()
	}
	return c
}

// crash returns the state as a power loss leaves it: an earlier one, but not older than the last snapshot.
func (t *toy) crash() *toy {
	c := t.copy()
	if t.synced != nil {
		c.s = *t.synced
	} else {
		c = newToy()
	}
	return c
}

func (s *toyState) clone() *toyState {
	c := *s
	c.Words = slices.Clone(s.Words)
	c.Sessions = maps.Clone(s.Sessions)
	return &c
}

func toyEpoch(term uint64, nodeID, clusterID string) []byte {
	return fmt.Appendf(nil, "epoch %d %s %s", term, nodeID, clusterID)
}

func (t *toy) Apply(l *raft.Log) any { return t.ApplyBatch([]*raft.Log{l})[0] }

func (t *toy) ApplyBatch(logs []*raft.Log) []any {
	if t.onApply != nil {
		t.onApply()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]any, len(logs))
	for i, l := range logs {
		if t.halt != nil {
			out[i] = &command.EntryResult{Err: t.halt}
			continue
		}
		if l.Index <= t.s.Index {
			panic(fmt.Sprintf("entry %d applied again at %d", l.Index, t.s.Index))
		}
		if l.Type == raft.LogCommand {
			r := t.apply(l)
			out[i] = r
			if r.Err != nil {
				t.halt = r.Err
				continue
			}
		} else {
			t.s.Config, t.s.ConfigIndex = raft.DecodeConfiguration(l.Data), l.Index
		}
		t.s.Index, t.s.Term = l.Index, l.Term
	}
	t.changed.fire()
	return out
}

func (t *toy) apply(l *raft.Log) *command.EntryResult {
	e, err := command.DecodeEntry(l.Data)
	if err != nil {
		return &command.EntryResult{Err: err}
	}
	t.s.LastStamp = max(t.s.LastStamp, e.Stamp)
	res := &command.EntryResult{}
	for _, b := range e.Batches {
		key := fmt.Sprintf("%x/%d", b.Session, b.Seq)
		if old, ok := t.s.Sessions[key]; ok && b.Session != (command.SessionID{}) {
			res.Batches = append(res.Batches, command.BatchResult{Results: old, Replayed: true})
			continue
		}
		var results [][]byte
		for _, c := range b.Commands {
			w := string(c)
			switch {
			case w == "poison", w == "poison "+t.victim:
				return &command.EntryResult{Err: fmt.Errorf("%w at entry %d", command.ErrHalted, l.Index)}
			case strings.HasPrefix(w, "raise "):
				var v uint64
				if _, err := fmt.Sscanf(w, "raise %d", &v); err != nil {
					return &command.EntryResult{Err: err}
				}
				t.s.Version = max(t.s.Version, v)
			case w == "checkpoint":
				h := fnv.New64a()
				for _, w := range t.s.Words {
					fmt.Fprintln(h, w.Word, w.Index)
				}
				t.s.Noted = Checkpoint{l.Index, fmt.Sprintf("%016x", h.Sum64())}
			case strings.HasPrefix(w, "epoch "):
				var node, cluster string
				var term uint64
				if _, err := fmt.Sscanf(w, "epoch %d %s %s", &term, &node, &cluster); err != nil {
					return &command.EntryResult{Err: err}
				}
				t.s.Epoch = max(t.s.Epoch, term)
				if t.s.Cluster == "" {
					t.s.Cluster = cluster
				}
			default:
				t.s.Words = append(t.s.Words, toyWord{w, l.Index})
			}
			results = append(results, []byte("did "+w))
		}
		t.s.Sessions[key] = results
		res.Batches = append(res.Batches, command.BatchResult{Results: results})
	}
	return res
}

func (t *toy) AppliedIndex() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s.Index
}

func (t *toy) Halted() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.halt
}

func (t *toy) ClusterVersion() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s.Version
}

func (t *toy) Checkpoint() (uint64, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s.Noted.Index, t.s.Noted.Hash
}

func (t *toy) ClusterID() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s.Cluster
}

func (t *toy) WaitApplied(ctx context.Context, index uint64) error {
	for {
		c := t.changed.wait()
		if t.AppliedIndex() >= index {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// words returns what was applied, in order.
func (t *toy) words() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, w := range t.s.Words {
		out = append(out, w.Word)
	}
	return out
}

func (t *toy) count(word string) int {
	n := 0
	for _, w := range t.words() {
		if w == word {
			n++
		}
	}
	return n
}

func (t *toy) Snapshot() (raft.FSMSnapshot, error) { return toySnapshot{}, nil }

type toySnapshot struct{}

func (toySnapshot) Persist(raft.SnapshotSink) error { return nil }
func (toySnapshot) Release()                        {}

func (t *toy) Restore(rc io.ReadCloser) error {
	var s toyState
	if err := json.NewDecoder(rc).Decode(&s); err != nil {
		return err
	}
	if s.Sessions == nil {
		s.Sessions = map[string][][]byte{}
	}
	t.mu.Lock()
	t.s, t.synced = s, s.clone()
	t.halt = nil
	t.mu.Unlock()
	t.changed.fire()
	return nil
}

// toySnapshots is the toy's raft.SnapshotStore: one live snapshot, and received ones until they are installed.
type toySnapshots struct {
	t  *toy
	mu sync.Mutex
	in map[string][]byte
}

func (s *toySnapshots) meta() *raft.SnapshotMeta {
	st := &s.t.s
	m := &raft.SnapshotMeta{Version: 1, ID: "live", Index: st.Index, Term: st.Term, Configuration: st.Config, ConfigurationIndex: st.ConfigIndex}
	if st.Witness > m.Index {
		m.Index, m.Term = st.Witness, st.WitnessTerm
	}
	return m
}

func (s *toySnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	m := s.meta()
	if m.Index == 0 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{m}, nil
}

func (s *toySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id != "live" {
		s.mu.Lock()
		defer s.mu.Unlock()
		b, ok := s.in[id]
		if !ok {
			return nil, nil, errors.New("no such snapshot")
		}
		delete(s.in, id)
		return &raft.SnapshotMeta{ID: id, Size: int64(len(b))}, io.NopCloser(bytes.NewReader(b)), nil
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	m := s.meta()
	st := s.t.s
	st.Index, st.Term = m.Index, m.Term
	b, err := json.Marshal(st)
	if err != nil {
		return nil, nil, err
	}
	m.Size = int64(len(b))
	return m, io.NopCloser(bytes.NewReader(b)), nil
}

func (s *toySnapshots) Create(_ raft.SnapshotVersion, index, term uint64, _ raft.Configuration, _ uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &toySink{s: s, index: index, term: term}, nil
}

type toySink struct {
	s           *toySnapshots
	index, term uint64
	buf         bytes.Buffer
}

func (k *toySink) Write(p []byte) (int, error) { return k.buf.Write(p) }
func (k *toySink) ID() string {
	if k.buf.Len() == 0 {
		return "live"
	}
	return fmt.Sprint("in-", k.index)
}
func (k *toySink) Cancel() error { return nil }
func (k *toySink) Close() error {
	if k.buf.Len() == 0 {
		k.s.t.mu.Lock()
		defer k.s.t.mu.Unlock()
		if k.index > k.s.t.s.Witness {
			k.s.t.s.Witness, k.s.t.s.WitnessTerm = k.index, k.term
		}
		k.s.t.synced = k.s.t.s.clone()
		return nil
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if k.s.in == nil {
		k.s.in = map[string][]byte{}
	}
	k.s.in[k.ID()] = k.buf.Bytes()
	return nil
}
