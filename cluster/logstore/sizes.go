package logstore

import (
	"fmt"
	"math"

	"github.com/hashicorp/raft"
)

// entrySize approximates what an entry takes in the file: payload plus key and envelope.
func entrySize(l *raft.Log) int { return len(l.Data) + len(l.Extensions) + 64 }

// sizes holds the size of each entry of the log, oldest first. len(bytes) = last-first+1.
type sizes struct {
	first uint64 // index of bytes[0]; 0 when empty
	bytes []uint32
	total int64
}

// sampleLimit bounds how many entries are read at start to estimate the sizes of the log found on disk.
const sampleLimit = 512

// sample fills sizes for [first, last], reading at most sampleLimit entries; the others get their neighbour's size.
func (z *sizes) sample(s raft.LogStore, first, last uint64) error {
	step := (last-first)/sampleLimit + 1
	size := 0
	for i := first; i <= last; i++ {
		if (i-first)%step == 0 {
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil {
				return fmt.Errorf("read entry %d of the raft log: %w", i, err)
			}
			size = entrySize(&l)
		}
		z.push(i, size)
	}
	return nil
}

func (z *sizes) push(index uint64, size int) {
	if len(z.bytes) == 0 {
		z.first = index
	}
	z.bytes = append(z.bytes, uint32(size))
	z.total += int64(size)
}

// dropFront forgets entries up to and including index.
func (z *sizes) dropFront(index uint64) {
	for len(z.bytes) > 0 && z.first <= index {
		z.total -= int64(z.bytes[0])
		z.bytes = z.bytes[1:]
		z.first++
	}
}

// dropBack forgets entries from index on.
func (z *sizes) dropBack(index uint64) {
	for n := len(z.bytes); n > 0 && z.first+uint64(n)-1 >= index; n = len(z.bytes) {
		z.total -= int64(z.bytes[n-1])
		z.bytes = z.bytes[:n-1]
	}
}

// trailing returns how many of the newest entries fit into budget bytes, without a bound when all do.
func (z *sizes) trailing(budget int64) uint64 {
	if z.total <= budget {
		return math.MaxUint64
	}
	n := uint64(0)
	for i := len(z.bytes) - 1; i >= 0; i-- {
		budget -= int64(z.bytes[i])
		if budget < 0 {
			break
		}
		n++
	}
	return n
}
