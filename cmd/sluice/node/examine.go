package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// ObjectNames are the kinds that ExamineSnapshot counts and people know, in the order in which they are shown.
var ObjectNames = []string{"flow", "deployment", "work_queue", "block", "concurrency_limit", "flow_run", "task_run", "log_segment", "blob", "agent"}

// ExamineSnapshot reads all of a snapshot and verifies everything that can be: checksums, versions, that the database opens and stands
// where the header says, and the hash of all rows. It needs room for a copy in the directory for temporary files.
func ExamineSnapshot(r io.Reader) (h snapshot.Header, objects map[string]int64, hash string, err error) {
	dir, err := os.MkdirTemp("", "sluice-snapshot-")
	if err != nil {
		return h, nil, "", fmt.Errorf("make room for a copy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, "db")
	if h, err = snapshot.Extract(r, vfs.Default, copied); err != nil {
		return h, nil, "", err
	}
	store, err := pebblekv.Open(copied, pebblekv.Options{ReadOnly: true})
	if err != nil {
		return h, nil, "", fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := fsm.CheckState(store, command.Supported()); err != nil {
		return h, nil, "", err
	}
	meta, err := snapshot.ReadMeta(store)
	if err != nil {
		return h, nil, "", err
	}
	if index, term := meta.Last(); index != h.Index || term != h.Term {
		return h, nil, "", fmt.Errorf("%w: its state stands at index %d (term %d), its header says %d (term %d)", snapshot.ErrCorrupt, index, term, h.Index, h.Term)
	}
	v := state.NewView(store, 0, nil)
	objects, found, err := v.Census()
	if err != nil {
		return h, nil, "", fmt.Errorf("%w: %w", snapshot.ErrCorrupt, err)
	}
	stored, err := v.Hash()
	if err != nil {
		return h, nil, "", err
	}
	if found != stored {
		return h, nil, "", fmt.Errorf("%w: its rows have the hash %s, noted is %s", snapshot.ErrCorrupt, found, stored)
	}
	return h, objects, stored.String(), nil
}

// WriteDurably writes a file that appears, complete and synced, only when fn has succeeded. Without replace it must not exist.
func WriteDurably(path string, replace bool, fn func(io.Writer) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	if err = fn(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = place(f.Name(), path, replace)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// place gives a complete file its name.
func place(temporary, path string, replace bool) error {
	if replace {
		return os.Rename(temporary, path)
	}
	// A link is refused where a file is; a rename would replace it.
	err := os.Link(temporary, path)
	switch {
	case err == nil:
		return os.Remove(temporary)
	case errors.Is(err, os.ErrExist):
		return err
	}
	// Not every file system has links.
	if _, serr := os.Lstat(path); serr == nil {
		return fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	return os.Rename(temporary, path)
}
