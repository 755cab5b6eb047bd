package fsm

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// What is kept of requests with a key: outcomesKept of them for outcomeKept, each of outcomeBytes at most.
const (
	outcomeKept  = 24 * time.Hour
	outcomesKept = 50_000
	outcomeBytes = 1024
)

// once applies the command unless the request that it belongs to was seen before: then it answers what it answered. Only what was
// done is kept. A refusal changed nothing, so the repetition may as well succeed.
func (a *applier) once(name *command.Idempotency) (*command.Result, error) {
	if len(name.Key) != 16 || len(name.Request) != 16 {
		return failed(command.Result_INVALID, "the idempotency key is malformed"), nil
	}
	before := a.now - outcomeKept.Microseconds()
	known, err := a.tx.EditOutcome(name.Key, name.Ordinal)
	if err != nil {
		return nil, err
	}
	if known != nil && known.Row.Created >= before {
		if !bytes.Equal(known.Row.Request, name.Request) {
			return failed(command.Result_KEY_REUSED, "the idempotency key belongs to another request"), nil
		}
		result, err := command.DecodeResult(known.Row.Result)
		if err != nil {
			return nil, err
		}
		result.Replayed = true
		return result, nil
	}
	result, err := a.perform()
	if err != nil || result.Code != command.Result_OK {
		return result, err
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(result)
	if err != nil {
		return nil, err
	}
	if len(encoded) > outcomeBytes {
		// Ids and counts alone: what does not fit is only said once.
		encoded, err = proto.MarshalOptions{Deterministic: true}.Marshal(&command.Result{Id: result.Id, Created: result.Created, State: result.State, Count: result.Count})
		if err != nil {
			return nil, err
		}
	}
	if known != nil {
		if err := known.Delete(); err != nil {
			return nil, err
		}
	}
	kept := &row.Outcome{Key: name.Key, Ordinal: name.Ordinal, Request: name.Request, Created: a.now, Result: encoded}
	if err := a.tx.NewOutcome(kept).Save(); err != nil {
		return nil, err
	}
	return result, a.tx.DropOldOutcomes(before, outcomesKept)
}
