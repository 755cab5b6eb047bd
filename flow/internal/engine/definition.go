// Package engine executes flow runs and task runs: what is reported when, and what ends a run. It knows no types of inputs and
// outputs; package flow puts them around it.
package engine

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Definition is what flows and tasks have in common.
type Definition struct {
	Name        string
	Description string
	Tags        []string
	Timeout     time.Duration // of a flow run, or of one attempt of a task run; 0: none
	NoResult    bool          // the result is not stored
	// Call runs the function.
	Call func(ctx context.Context, in any) (any, error)
	// Decode makes a value of the function's result type.
	Decode func(result []byte) (any, error)
	// Empty says that there is nothing in the result type, as in struct{}: it is recorded as null.
	Empty bool
}

// Flow is a flow.
type Flow struct {
	Definition
	Version  string
	MaxTasks int // task runs that execute at once; 0: DefaultMaxTasks
}

// DefaultMaxTasks bounds the task runs of a flow run that execute at once, and with them its requests and its memory.
const DefaultMaxTasks = 128

// Task is a task.
type Task struct {
	Definition
	Function string // the qualified name of the function
	Retries  int
	Backoff  Backoff
	CacheKey func(in any) (string, error) // nil: not cached
	CacheFor time.Duration                // 0: for ever
}

// Key identifies a task within its flow: the same in every run as long as name, function and tags stay. It is made as Python's is.
func (t *Task) Key() string {
	tags := slices.Sorted(slices.Values(t.Tags))
	for i, tag := range tags {
		tags[i] = "'" + strings.ReplaceAll(strings.ReplaceAll(tag, `\`, `\\`), `'`, `\'`) + "'"
	}
	return digest([]byte(t.Name + t.Function + "[" + strings.Join(tags, ", ") + "]"))
}

// InputHash is the cache key of a task that is cached by its input.
func (t *Task) InputHash(in any) (string, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("the input of task %q cannot be a cache key: %w", t.Name, err)
	}
	return digest([]byte(t.Key()), data), nil
}

// digest is for naming, not for security.
func digest(parts ...[]byte) string {
	sum := md5.New()
	for _, p := range parts {
		_, _ = sum.Write(p) // a hash never fails
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Backoff is the time between attempts: Base before the first repetition, Factor times as long before each further, at most Max,
// each changed by up to Jitter of itself.
type Backoff struct {
	Base, Max time.Duration
	Factor    float64
	Jitter    float64 // 0 to 1
}

// Fixed reports whether the time is the same before each attempt.
func (b Backoff) Fixed() bool { return b.Factor <= 1 && b.Jitter == 0 }

// Before returns the time before the nth repetition, counted from 1.
func (b Backoff) Before(n int) time.Duration {
	d := float64(b.Base)
	if b.Factor > 1 {
		d *= math.Pow(b.Factor, float64(n-1))
	}
	if b.Max > 0 {
		d = min(d, float64(b.Max))
	}
	if b.Jitter > 0 {
		d *= 1 + b.Jitter*(2*rand.Float64()-1)
	}
	return time.Duration(min(d, math.MaxInt64/2))
}
