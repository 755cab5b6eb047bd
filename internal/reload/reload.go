// Package reload keeps what was made of files up to date with them: certificates and keys are replaced under running processes.
package reload

import (
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Every is how often the files are looked at, at most.
const Every = time.Second

// Value is something made of files. It is safe for concurrent use.
type Value[T any] struct {
	what  string // the files are, for people
	files []string
	load  func() (T, error)
	log   *slog.Logger

	mu      sync.Mutex // guards what follows
	checked time.Time
	stamps  []stamp
	value   T
}

type stamp struct {
	size    int64
	changed time.Time
}

// New loads the value a first time. what names the files in the log: "TLS files". load is not called twice at once.
func New[T any](what string, files []string, load func() (T, error), log *slog.Logger) (*Value[T], error) {
	v := &Value[T]{what: what, files: files, load: load, log: log}
	stamps, err := v.look()
	if err != nil {
		return nil, err
	}
	if v.value, err = load(); err != nil {
		return nil, err
	}
	v.stamps, v.checked = stamps, time.Now()
	return v, nil
}

func (v *Value[T]) look() ([]stamp, error) {
	stamps := make([]stamp, len(v.files))
	for i, name := range v.files {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		stamps[i] = stamp{info.Size(), info.ModTime()}
	}
	return stamps, nil
}

// Current returns the value of the files as they were at most Every ago. Files that cannot be used leave the old value in force.
func (v *Value[T]) Current() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.checked) >= Every {
		v.refresh()
	}
	return v.value
}

// Refresh looks at the files now.
func (v *Value[T]) Refresh() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refresh()
}

func (v *Value[T]) refresh() {
	v.checked = time.Now()
	stamps, err := v.look()
	if err != nil {
		v.log.Warn(v.what+" cannot be looked at; the old ones stay in force", "error", err)
		return
	}
	if slices.Equal(stamps, v.stamps) {
		return
	}
	value, err := v.load()
	if err != nil {
		v.log.Error("changed "+v.what+" cannot be used; the old ones stay in force", "files", v.files, "error", err)
		return
	}
	v.value, v.stamps = value, stamps
	v.log.Info(v.what+" were read again", "files", v.files)
}
