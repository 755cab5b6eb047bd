package pebblekv

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fence is the file system a store writes through. The first failed write to one of the store's own files freezes it:
// from then on nothing in the directory changes any more, as if the power had been cut at that moment, which is the
// one failure the database is built to recover from. Pebble itself panics or exits when its log or manifest cannot be
// written; behind the fence it never learns of it.
//
// After the freeze:
//   - tables cannot be written: an error in the middle of one, which Pebble unwinds cleanly; creating one blocks until the
//     store is closed, because Pebble retries a failed flush at once, forever. So what is in memory stays in memory.
//   - every other write (log, manifest, markers, directory) pretends to succeed, because Pebble panics or goes on with
//     broken structures when one fails. The store asks for the failure after every commit and reports it.
//
// While the database is being opened tables pretend too: Pebble's Open waits for the flush of what it recovered and would
// never return. The database is closed as soon as it does.
type fence struct {
	vfs.FS
	dir string
	// onFreeze is called once, without locks held.
	onFreeze func(error)

	// mu is held for reading by each write to the directory, for writing by freeze: when freeze returns, no write is
	// under way.
	mu  sync.RWMutex
	err error

	opening atomic.Bool

	// frozen is closed by the freeze, released when the store closes.
	frozen   chan struct{}
	released chan struct{}
	release  sync.Once
}

func newFence(fs vfs.FS, dir string, onFreeze func(error)) *fence {
	f := &fence{
		FS: fs, dir: filepath.Clean(dir), onFreeze: onFreeze,
		frozen: make(chan struct{}), released: make(chan struct{}),
	}
	f.opening.Store(true)
	return f
}

// failure returns what froze the fence, or nil.
func (f *fence) failure() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.err
}

// freeze stops all writes; the first cause wins.
func (f *fence) freeze(cause error) {
	f.mu.Lock()
	if f.err != nil {
		f.mu.Unlock()
		return
	}
	f.err = cause
	close(f.frozen)
	f.mu.Unlock()
	f.onFreeze(cause)
}

// unblock ends the waiting of table creations; for Close.
func (f *fence) unblock() { f.release.Do(func() { close(f.released) }) }

// write runs op unless frozen, and freezes when op fails. The returned bool tells whether op ran.
func (f *fence) write(op string, name string, do func() error) (bool, error) {
	f.mu.RLock()
	if err := f.err; err != nil {
		f.mu.RUnlock()
		return false, err
	}
	err := do()
	f.mu.RUnlock()
	if err != nil {
		f.freeze(fmt.Errorf("%s %s: %w", op, f.FS.PathBase(name), err))
	}
	return true, err
}

func (f *fence) owns(name string) bool { return filepath.Clean(f.FS.PathDir(name)) == f.dir }

// pretends tells whether writes of the file seem to succeed once frozen.
func (f *fence) pretends(name string) bool { return filepath.Ext(name) != ".sst" || f.opening.Load() }

// Unwrap implements vfs.FS.
func (f *fence) Unwrap() vfs.FS { return f.FS }

// open is the common part of the calls that return a writable file.
func (f *fence) open(op, name string, do func() (vfs.File, error)) (vfs.File, error) {
	if !f.owns(name) {
		return do()
	}
	var file vfs.File
	ran, err := f.write(op, name, func() (err error) {
		file, err = do()
		return err
	})
	switch {
	case err == nil:
		return &fencedFile{File: file, fence: f, name: name}, nil
	case f.pretends(name):
		return &fencedFile{File: vfs.NewMemFile(nil), fence: f, name: name}, nil
	case !ran:
		<-f.released
	}
	return nil, err
}

// Create implements vfs.FS.
func (f *fence) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("create", name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

// OpenReadWrite implements vfs.FS.
func (f *fence) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (f *fence) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("reuse", newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, category) })
}

// OpenDir implements vfs.FS.
func (f *fence) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil || filepath.Clean(name) != f.dir {
		return file, err
	}
	return &fencedFile{File: file, fence: f, name: name}, nil
}

// Rename implements vfs.FS.
func (f *fence) Rename(oldname, newname string) error {
	if !f.owns(newname) {
		return f.FS.Rename(oldname, newname)
	}
	_, err := f.write("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
	if f.pretends(newname) {
		return nil
	}
	return err
}

// Link implements vfs.FS. Links go into checkpoints, outside the directory.
func (f *fence) Link(oldname, newname string) error { return f.FS.Link(oldname, newname) }

// Remove implements vfs.FS. A file that cannot be removed costs space, not correctness: it does not freeze.
func (f *fence) Remove(name string) error {
	if !f.owns(name) {
		return f.FS.Remove(name)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.err != nil {
		return nil
	}
	return f.FS.Remove(name)
}

// fencedFile is an open file of the store's directory, or the directory.
type fencedFile struct {
	vfs.File
	fence *fence
	name  string
}

func (f *fencedFile) write(op string, do func() error) error {
	_, err := f.fence.write(op, f.name, do)
	if f.fence.pretends(f.name) {
		return nil
	}
	return err
}

func (f *fencedFile) Write(p []byte) (n int, err error) {
	n = len(p)
	return n, f.write("write", func() error {
		_, err := f.File.Write(p)
		return err
	})
}

func (f *fencedFile) WriteAt(p []byte, off int64) (n int, err error) {
	n = len(p)
	return n, f.write("write", func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
}

func (f *fencedFile) Preallocate(off, length int64) error {
	return f.write("preallocate", func() error { return f.File.Preallocate(off, length) })
}

func (f *fencedFile) Sync() error { return f.write("sync", f.File.Sync) }

func (f *fencedFile) SyncData() error { return f.write("sync", f.File.SyncData) }

func (f *fencedFile) SyncTo(length int64) (full bool, err error) {
	err = f.write("sync", func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close of a file that failed must not fail a second time in a place where Pebble panics.
func (f *fencedFile) Close() error {
	err := f.File.Close()
	if err != nil && f.fence.pretends(f.name) {
		if f.fence.failure() == nil {
			f.fence.freeze(fmt.Errorf("close %s: %w", f.fence.FS.PathBase(f.name), err))
		}
		return nil
	}
	return err
}
