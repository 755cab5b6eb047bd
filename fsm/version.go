package fsm

import (
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/state"
)

// Option changes what New makes.
type Option func(*FSM)

// WithVersions replaces the range of cluster versions that the binary supports, for tests of upgrades.
func WithVersions(v command.Versions) Option { return func(f *FSM) { f.versions = v } }

// WithRelease names the binary. A poisoned entry is tried again by another release than the one that it halted.
func WithRelease(release string) Option { return func(f *FSM) { f.release = release } }

// WithOnVersion has fn called, under the apply lock, whenever the cluster version of the state becomes known or changes, and for every
// store that is installed.
func WithOnVersion(fn func(version uint64)) Option { return func(f *FSM) { f.onVersion = fn } }

// ErrVersion is returned for a state whose cluster version this binary does not support.
var ErrVersion = errors.New("the cluster version is not supported")

// CheckState refuses a state that a node of that range must not open or install. It reads only.
func CheckState(r kv.Reader, supported command.Versions) error {
	view := state.NewView(r, 0, nil)
	schema, err := view.SchemaVersion()
	if err != nil || schema == 0 {
		return err // nothing was applied yet: it has no version
	}
	version, err := view.ClusterVersion()
	if err != nil {
		return err
	}
	if err := CheckVersion(version, supported); err != nil {
		return err
	}
	return view.CheckSchema()
}

// CheckVersion is CheckState for a version that is known.
func CheckVersion(version uint64, supported command.Versions) error {
	if supported.Contains(version) {
		return nil
	}
	return fmt.Errorf("%w: the state belongs to a cluster of version %d, this binary supports %s: %s", ErrVersion, version, supported, supported.Remedy(version))
}

// Versions is the range of cluster versions that this machine supports.
func (f *FSM) Versions() command.Versions { return f.versions }

// ClusterVersion is the version of the cluster as far as this node has applied.
func (f *FSM) ClusterVersion() uint64 { return f.version.Load() }

// Checkpoint returns the hash of the state that was noted last and its entry; 0 when none was.
func (f *FSM) Checkpoint() (index uint64, hash string) {
	if c := f.noted.Load(); c != nil {
		return c.index, c.hash
	}
	return 0, ""
}

type checkpoint struct {
	index uint64
	hash  string
}

// learn reads what the machine keeps in memory of a store that became the current one, or in which it changed. The apply lock is held.
func (f *FSM) learn(r kv.Reader, replaced bool) error {
	view := state.NewView(r, 0, nil)
	version, err := view.ClusterVersion()
	if err != nil {
		return err
	}
	index, hash, err := view.Checkpoint()
	if err != nil {
		return err
	}
	f.noted.Store(nil)
	if index != 0 {
		f.noted.Store(&checkpoint{index, hash.String()})
	}
	if (f.version.Swap(version) != version || replaced) && f.onVersion != nil {
		f.onVersion(version)
	}
	return nil
}
