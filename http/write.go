package httpapi

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/state"
)

// newID mints a time-ordered id for an object or the seed of a command.
func newID() []byte {
	id := api.NewID()
	return id[:]
}

// envelope is a command by the caller.
func (x *exchange) envelope() *command.Envelope {
	e := &command.Envelope{Actor: x.who.name, Seed: newID(), Idempotency: x.nextKey()}
	if x.who.token != nil {
		e.TokenId = x.who.token.Id // in every one: the token may be revoked between two
	}
	if !x.recorded { // a request of several commands leaves one record, with the first
		e.Audit, x.recorded = x.auditEntry(), true
	}
	return e
}

// largestCommand leaves room for the envelope around a command.
const largestCommand = command.MaxBytes - 4096

// propose orders one command and returns its result, whatever its code.
func (x *exchange) propose(e *command.Envelope) (*command.Result, uint64, error) {
	// Only a large body can make a large command; small ones need no counting.
	if len(x.data) > largestCommand/2 && proto.Size(e) > largestCommand {
		return nil, 0, &failure{
			status: 413, kind: api.KindTooLarge, detail: "The object is larger than what one write may hold (1 MiB).",
			hint: "Keep large values in a storage and refer to them.",
		}
	}
	results, index, err := x.order(func(ctx context.Context) ([]*command.Result, uint64, error) {
		return x.server.proposer.Propose(ctx, e)
	})
	if err != nil {
		return nil, 0, err
	}
	x.at(index)
	if results[0].Replayed {
		x.Header()[api.HeaderReplayed] = []string{"true"}
	}
	return results[0], index, nil
}

// order runs a proposal; for an Orion client, which gives up on anything but 429, it waits longer for a leader.
func (x *exchange) order(propose func(context.Context) ([]*command.Result, uint64, error)) ([]*command.Result, uint64, error) {
	results, index, err := propose(x.ctx)
	if err == nil || !x.strict || api.KindOf(err) != api.KindUnavailable {
		return results, index, err
	}
	// Unavailable means surely not done, so proposing again is safe.
	ctx, cancel := context.WithTimeout(x.ctx, x.server.strictHold)
	defer cancel()
	for api.KindOf(err) == api.KindUnavailable {
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, 0, err
		}
		results, index, err = propose(ctx)
	}
	return results, index, err
}

// proposeObject orders a command and, if it was done, lets answer read the object from a view that has it.
func (x *exchange) proposeObject(
	e *command.Envelope, notFoundText, conflictText string, answer func(*state.View, *command.Result) error,
) error {
	r, index, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, notFoundText, conflictText); err != nil {
		return err
	}
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	return answer(view, r)
}

// written opens a view of this node that contains the entry at index.
func (x *exchange) written(index uint64) (*state.View, error) {
	view, _, err := x.server.reader.View(x.ctx, Stale, index)
	if err == nil {
		return view, nil
	}
	if api.KindOf(err) == api.KindUnavailable || errors.Is(err, context.DeadlineExceeded) {
		// The write was done; only its answer could not be read.
		return nil, &api.Error{
			Kind: api.KindUnknownOutcome, Message: "The write was made, but this node could not read it back in time.",
			Hint: "Read the object to see it.", Err: err,
		}
	}
	return nil, err
}

// created chooses between 201 and 200.
func created(r *command.Result) int {
	if r.Created {
		return 201
	}
	return 200
}
