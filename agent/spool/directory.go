// Package spool keeps the output of flow runs on disk until the server has
// stored it.
//
// Each flow run has one append-only file, held with a file lock by the process
// that writes it. The file survives its process: the next agent that opens the
// directory adopts every file nobody holds and ships what is left. Lines leave
// in batches numbered 1, 2, …; the bounds of a batch are written down before it
// is sent, so that a batch whose answer was lost is repeated exactly and the
// server can recognise it by (producer, sequence).
//
// Nothing is synced per write: a killed process loses nothing, a power failure
// may cost the last lines but never more than that.
package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sluice-dev/sluice/api"
)

// Limits of a Directory's files.
type Limits struct {
	// Unshipped is the number of bytes one file may hold that the server has not
	// acknowledged; 0 means 64 MiB. Append answers ErrFull beyond it.
	Unshipped int64
	// BatchLines and BatchBytes bound one batch; 0 means 1,000 lines, 256 KiB.
	BatchLines int
	BatchBytes int
}

func (l *Limits) setDefaults() {
	if l.Unshipped == 0 {
		l.Unshipped = 64 << 20
	}
	if l.BatchLines == 0 {
		l.BatchLines = 1000
	}
	if l.BatchBytes == 0 {
		l.BatchBytes = 256 << 10
	}
}

// Directory is a folder of spool files. Several agents may share one.
type Directory struct {
	path   string
	limits Limits
}

const (
	suffix           = ".spool"
	unfinishedSuffix = ".new"
)

// Open creates the folder when it is missing.
func Open(path string, limits Limits) (*Directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create the spool directory: %w", err)
	}
	limits.setDefaults()
	return &Directory{path: path, limits: limits}, nil
}

// Create starts the file of one flow run. The caller owns it and must Close it.
func (d *Directory) Create(flowRun api.ID) (*File, error) {
	for {
		producer := api.NewID()
		final := filepath.Join(d.path, producer.String()+suffix)
		unfinished := final + unfinishedSuffix
		raw, err := os.OpenFile(unfinished, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("create a spool file: %w", err)
		}
		// An agent that starts this instant may take the still unlocked file for
		// a leftover; then we make another one.
		if held, err := lock(raw); err != nil || !held {
			raw.Close()
			if err != nil {
				return nil, err
			}
			continue
		}
		f := newFile(raw, final, d.limits)
		f.flowRun, f.producer = flowRun, producer
		err = f.writeHeader()
		if err == nil {
			err = os.Rename(unfinished, final)
		}
		if err != nil {
			raw.Close()
			os.Remove(unfinished)
			return nil, fmt.Errorf("create a spool file: %w", err)
		}
		return f, nil
	}
}

// Adopt takes over every file that no process holds. Its files accept no more
// lines. A file that cannot be read is left where it is and named in the error;
// the other files are returned all the same.
func (d *Directory) Adopt() ([]*File, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list the spool directory: %w", err)
	}
	var files []*File
	var problems []error
	for _, entry := range entries {
		path := filepath.Join(d.path, entry.Name())
		finished := strings.HasSuffix(entry.Name(), suffix)
		if !finished && !strings.HasSuffix(entry.Name(), suffix+unfinishedSuffix) {
			continue
		}
		f, err := d.adopt(path, finished)
		if err != nil {
			problems = append(problems, fmt.Errorf("adopt %s: %w", path, err))
		}
		if f != nil {
			files = append(files, f)
		}
	}
	return files, errors.Join(problems...)
}

func (d *Directory) adopt(path string, finished bool) (*File, error) {
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	held, err := lock(raw)
	if err != nil || !held {
		raw.Close()
		return nil, err
	}
	if !finished {
		os.Remove(path)
		raw.Close()
		return nil, nil
	}
	f := newFile(raw, path, d.limits)
	if err := f.recover(); err != nil {
		raw.Close()
		return nil, err
	}
	return f, nil
}

// lock takes the file for this process. It answers false when another process
// holds it, or removed it between our open and our lock.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &stat); err != nil {
		return false, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return stat.Nlink > 0, nil
}
