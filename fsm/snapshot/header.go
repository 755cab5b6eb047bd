package snapshot

import (
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Info says whose state a snapshot holds, and of when. Fields are only added.
type Info struct {
	ClusterID   string `json:"cluster_id,omitempty"`
	ClusterName string `json:"cluster_name,omitempty"`
	NodeID      string `json:"node_id,omitempty"`
	// Version is the binary's that wrote the snapshot.
	Version string `json:"version,omitempty"`
	// Schema is the version of the stored rows, Incarnation counts the restores before.
	Schema      uint64 `json:"schema,omitempty"`
	Incarnation uint32 `json:"incarnation,omitempty"`
	// ClusterVersion is the version that the cluster had.
	ClusterVersion uint64 `json:"cluster_version,omitempty"`
	// Time is the writing node's clock; StateTime is the state's own time, before which nothing happened in it that it lacks.
	Time      time.Time `json:"time,omitzero"`
	StateTime time.Time `json:"state_time,omitzero"`
}

// Header is what a snapshot says of itself before its bulk.
type Header struct {
	Info
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// PebbleFormat is the format of the tables in it.
	PebbleFormat uint64 `json:"pebble_format"`
	Files        int    `json:"files"`
	// Bytes is the size of the whole stream.
	Bytes int64 `json:"bytes"`
}

func (m manifest) header(bytes int64) Header {
	return Header{Info: m.Info, Index: m.Index, Term: m.Term, PebbleFormat: m.PebbleFormat, Files: len(m.Files), Bytes: bytes}
}

// Check reads a whole snapshot and verifies it without storing anything. The errors are ErrForeign, ErrNewer and ErrCorrupt,
// wrapped, and the reader's.
func Check(r io.Reader) (Header, error) {
	c := &counter{r: r}
	m, err := decode(c, func(string) (fileWriter, error) { return discard{}, nil }, func(manifest) error { return nil })
	return m.header(c.n), err
}

// Extract is Check, and leaves the database in the new directory dir, which is for the caller to remove, also after an error.
func Extract(r io.Reader, fs vfs.FS, dir string) (Header, error) {
	c := &counter{r: r}
	m, err := decodeInto(c, fs, dir, func(manifest) error { return nil })
	return m.header(c.n), err
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// discard takes a file's bytes and forgets them.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Sync() error                 { return nil }
func (discard) Close() error                { return nil }
