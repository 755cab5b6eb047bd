package logstore

import "github.com/hashicorp/raft"

// cache keeps the newest entries, contiguous, at most limit bytes.
type cache struct {
	limit   int
	bytes   int
	entries []cached // oldest first; indexes are contiguous
}

type cached struct {
	log  *raft.Log
	size int
}

func (c *cache) push(l *raft.Log, size int) {
	if n := len(c.entries); n > 0 && c.entries[n-1].log.Index+1 != l.Index {
		c.clear()
	}
	c.entries = append(c.entries, cached{l, size})
	c.bytes += size
	for c.bytes > c.limit && len(c.entries) > 0 {
		c.dropFront(c.entries[0].log.Index)
	}
}

func (c *cache) get(index uint64) *raft.Log {
	if len(c.entries) == 0 || index < c.entries[0].log.Index {
		return nil
	}
	i := index - c.entries[0].log.Index
	if i >= uint64(len(c.entries)) {
		return nil
	}
	return c.entries[i].log
}

func (c *cache) dropFront(index uint64) {
	for len(c.entries) > 0 && c.entries[0].log.Index <= index {
		c.bytes -= c.entries[0].size
		c.entries[0] = cached{}
		c.entries = c.entries[1:]
	}
}

func (c *cache) dropBack(index uint64) {
	for n := len(c.entries); n > 0 && c.entries[n-1].log.Index >= index; n = len(c.entries) {
		c.bytes -= c.entries[n-1].size
		c.entries[n-1] = cached{}
		c.entries = c.entries[:n-1]
	}
}

func (c *cache) clear() { c.entries, c.bytes = nil, 0 }
