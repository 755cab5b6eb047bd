package main

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/cluster"
)

// clockFileVariable is set by the linker in tests of wrong clocks: the environment variable that names a file with how far the clock of
// this node is ahead of the machine's. In every other build it is "" and the clock is the machine's.
var clockFileVariable string

// serverClock is the clock of a node; nil is the machine's.
func (a *app) serverClock() cluster.Clock {
	if clockFileVariable == "" || a.environment[clockFileVariable] == "" {
		return nil
	}
	return &shiftedClock{file: a.environment[clockFileVariable]}
}

type shiftedClock struct {
	file string

	mu     sync.Mutex // guards what follows
	looked time.Time
	ahead  time.Duration
}

// Now implements cluster.Clock. It has no monotonic reading: this clock may be set.
func (c *shiftedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > 10*time.Millisecond {
		c.looked = time.Now()
		if text, err := os.ReadFile(c.file); err == nil {
			if ahead, err := time.ParseDuration(strings.TrimSpace(string(text))); err == nil {
				c.ahead = ahead
			}
		}
	}
	return time.Now().Round(0).Add(c.ahead)
}
