package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// SessionWindow is how many batches of a session are remembered. A session has at most a few in flight, so a repetition
// comes long before its batch is forgotten.
const SessionWindow = 1024

func sessionKey(session [16]byte, seq uint64) []byte {
	key := append(make([]byte, 0, 32), namespaceDefault, kindSession)
	key = append(key, session[:]...)
	return appendUint64(key, seq)
}

// SessionResults returns what a batch of a session answered when it was applied, and whether it was.
func (v *View) SessionResults(session [16]byte, seq uint64) ([][]byte, bool, error) {
	value, err := v.r.Get(sessionKey(session, seq))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read a session: %w", err)
	}
	var results [][]byte
	for len(value) > 0 {
		n, width := binary.Uvarint(value)
		if width <= 0 || n > uint64(len(value)-width) {
			return nil, false, errors.New("read a session: malformed results")
		}
		results = append(results, bytes.Clone(value[width:width+int(n)]))
		value = value[width+int(n):]
	}
	return results, true, nil
}

func sessionTimeKey(session []byte) []byte {
	return append(append(make([]byte, 0, 32), namespaceDefault, kindSessionTime), session...)
}

// PurgeSessions forgets the sessions that were last heard of before the given time (µs): their nodes have long since got their
// answers, or ended.
func (tx *Tx) PurgeSessions(before int64) error {
	under := []byte{namespaceDefault, kindSessionTime}
	var old [][]byte
	err := walk(tx.batch, under, after(under), false, func(key, value []byte) (bool, error) {
		if len(value) == 8 && int64(binary.BigEndian.Uint64(value)) < before {
			old = append(old, bytes.Clone(key[len(under):]))
		}
		return true, nil
	})
	for _, session := range old {
		if err != nil {
			break
		}
		rows := append([]byte{namespaceDefault, kindSession}, session...)
		if err = tx.batch.DeleteRange(rows, after(rows)); err == nil {
			err = tx.batch.Delete(sessionTimeKey(session))
		}
	}
	if err != nil {
		return fmt.Errorf("forget old sessions: %w", err)
	}
	return nil
}

// ForgetSessions forgets all sessions.
func (tx *Tx) ForgetSessions() error {
	for _, kind := range []byte{kindSession, kindSessionTime} {
		under := []byte{namespaceDefault, kind}
		if err := tx.batch.DeleteRange(under, after(under)); err != nil {
			return fmt.Errorf("forget the sessions: %w", err)
		}
	}
	return nil
}

// PutSessionResults remembers the results of a batch, applied at now (µs), and forgets the one that leaves the window. Sessions
// are not part of the state hash: they are derived from the log alone.
func (tx *Tx) PutSessionResults(session [16]byte, seq uint64, results [][]byte, now int64) error {
	if err := tx.batch.Set(sessionTimeKey(session[:]), appendUint64(nil, uint64(now))); err != nil {
		return fmt.Errorf("remember a session: %w", err)
	}
	var value []byte
	for _, r := range results {
		value = binary.AppendUvarint(value, uint64(len(r)))
		value = append(value, r...)
	}
	if seq > SessionWindow {
		if err := tx.batch.Delete(sessionKey(session, seq-SessionWindow)); err != nil {
			return fmt.Errorf("forget a session's batch: %w", err)
		}
	}
	return tx.batch.Set(sessionKey(session, seq), value)
}
