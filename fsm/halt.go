package fsm

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/snapshot"
)

// Reason says what kind of obstacle halted the machine.
type Reason string

const (
	// ReasonUnknown is an entry that only a newer release can apply.
	ReasonUnknown Reason = "unknown_command"
	// ReasonMalformed is an entry that cannot be read at all.
	ReasonMalformed Reason = "malformed"
	// ReasonPanic is a defect met while applying.
	ReasonPanic Reason = "panic"
	// ReasonState is a state or an order of entries that contradicts itself.
	ReasonState Reason = "state"
	// ReasonStorage is a store that fails. It passes with a restart once the disk works, so no mark is left.
	ReasonStorage Reason = "storage"
)

// Halt is why a machine applies nothing more: it met an entry that it must not skip, or could not store what it must. It wraps
// command.ErrHalted and its cause.
type Halt struct {
	Index  uint64 // the entry that was not applied; 0 when it was none
	Reason Reason
	cause  error
	// Marked is how a machine knows of a halt from before the process began.
	Marked bool
}

func (h *Halt) Error() string {
	text := fmt.Sprintf("entry %d was not applied (%s): %v", h.Index, h.Reason, h.cause)
	if remedy := h.remedy(); remedy != "" {
		text += "; " + remedy
	}
	return text
}

// Unwrap makes the cause and command.ErrHalted known to errors.Is.
func (h *Halt) Unwrap() []error { return []error{command.ErrHalted, h.cause} }

// poison reports whether the entry itself is to blame, so that it would halt the machine again.
func (h *Halt) poison() bool {
	return h.Reason == ReasonUnknown || h.Reason == ReasonMalformed || h.Reason == ReasonPanic
}

// remedy is what an operator does about it.
func (h *Halt) remedy() string {
	switch h.Reason {
	case ReasonUnknown:
		return "start this node with the release that the other nodes run, which applies the entry"
	case ReasonMalformed, ReasonPanic:
		return "if the other nodes went on (sluice cluster members), stop this one, move its data directory away and start it with --join, so that it takes the state from them; " +
			"if all stopped here, start a release that applies the entry"
	case ReasonState:
		return "stop this node, move its data directory away and start it with --join, so that it takes the state from the other nodes"
	}
	return ""
}

// errPanic wraps what a panic while applying said.
var errPanic = errors.New("panic")

// errOrder is returned for entries that do not follow the applied one.
var errOrder = errors.New("entries out of order")

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, command.ErrUnknownCommand), errors.Is(err, command.ErrEntryTooNew):
		return ReasonUnknown
	case errors.Is(err, command.ErrMalformedEntry):
		return ReasonMalformed
	case errors.Is(err, errPanic):
		return ReasonPanic
	case errors.Is(err, errOrder):
		return ReasonState
	}
	return ReasonStorage
}

// mark is what the store remembers of a halt, as JSON. Fields are only added.
type mark struct {
	Index    uint64           `json:"index"`
	Reason   Reason           `json:"reason"`
	Cause    string           `json:"cause"`
	Release  string           `json:"release"` // that halted; another one tries the entry again
	Versions command.Versions `json:"versions"`
}

// halt stops the machine for good. A poisoned entry is remembered in the store, so that a restart says the same instead of meeting
// it again.
func (f *FSM) halt(index uint64, cause error) error {
	h := &Halt{Index: index, Reason: reasonOf(cause), cause: cause}
	if !f.halted.CompareAndSwap(nil, h) {
		return f.halted.Load()
	}
	f.log.Error("state machine halted: this node applies nothing more", "index", index, "reason", h.Reason, "error", cause)
	if h.poison() {
		if err := f.remember(h); err != nil {
			f.log.Error("the halt could not be marked on disk; a restart meets the entry again", "error", err)
		}
	}
	f.wake()
	return h
}

func (f *FSM) remember(h *Halt) error {
	value, err := json.Marshal(mark{Index: h.Index, Reason: h.Reason, Cause: h.cause.Error(), Release: f.release, Versions: f.versions})
	if err != nil {
		return err
	}
	return snapshot.StoreHalt(f.storage.Current(), value)
}

// recall halts the machine again when a former process met a poisoned entry that this one would meet too.
func (f *FSM) recall() error {
	value, err := snapshot.ReadHalt(f.storage.Current())
	if err != nil || value == nil {
		return err
	}
	var m mark
	if err := json.Unmarshal(value, &m); err != nil {
		return fmt.Errorf("read the mark of a halt: %w", err)
	}
	if m.Index <= f.applied.Load() || m.Release != f.release || m.Versions != f.versions {
		f.log.Warn("this node halted before and tries again", "index", m.Index, "reason", m.Reason, "release", m.Release, "error", m.Cause)
		return snapshot.StoreHalt(f.storage.Current(), nil)
	}
	h := &Halt{Index: m.Index, Reason: m.Reason, cause: errors.New(m.Cause), Marked: true}
	f.halted.Store(h)
	f.log.Error("this node halted before a restart and applies nothing more", "index", m.Index, "reason", m.Reason, "error", h)
	return nil
}

// Halt returns why the machine stopped applying, nil while it works.
func (f *FSM) Halt() *Halt { return f.halted.Load() }

// Halted is Halt as an error.
func (f *FSM) Halted() error {
	if h := f.halted.Load(); h != nil {
		return h
	}
	return nil
}

// recovered turns a panic while applying into an error: the process stays up for diagnosis.
func (f *FSM) recovered(err *error) {
	if p := recover(); p != nil {
		f.log.Error("panic while applying an entry", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("%w: %v", errPanic, p)
	}
}
