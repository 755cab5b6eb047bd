package pebblekv

// Metrics is a moment's numbers of a store, for monitoring. Counters grow from the opening of the store.
type Metrics struct {
	// DiskBytes is everything the store keeps on disk: tables, logs and files waiting for removal.
	DiskBytes uint64
	// MemtableBytes is allocated by memtables; Memtables counts them.
	MemtableBytes uint64
	Memtables     int64
	// CacheBytes is in the block cache; hits and misses are counters.
	CacheBytes             int64
	CacheHits, CacheMisses int64
	// L0Sublevels is how many tables of level 0 a read may have to look at; ReadAmp counts all levels.
	L0Sublevels int32
	ReadAmp     int
	// Flushes, Compactions and Stalls (writes that had to wait for either) are counters.
	Flushes, Compactions, Stalls int64
	// CompactionDebtBytes is an estimate of what must still be compacted.
	CompactionDebtBytes uint64
	// LogBytesIn counts bytes given to the write-ahead log; BytesFlushed and BytesCompacted what was written to tables.
	LogBytesIn, BytesFlushed, BytesCompacted uint64
	// Snapshots counts open snapshots, iterators' included; ObsoleteBytes is kept on disk for them.
	Snapshots     int
	ObsoleteBytes uint64
}

// Metrics returns the store's numbers. It costs microseconds, not nanoseconds: for a scrape, not for a request.
func (s *Store) Metrics() Metrics {
	m := s.db.Metrics()
	total := m.Total()
	return Metrics{
		DiskBytes:           m.DiskSpaceUsage(),
		MemtableBytes:       m.MemTable.Size,
		Memtables:           m.MemTable.Count,
		CacheBytes:          m.BlockCache.Size,
		CacheHits:           m.BlockCache.Hits,
		CacheMisses:         m.BlockCache.Misses,
		L0Sublevels:         m.Levels[0].Sublevels,
		ReadAmp:             m.ReadAmp(),
		Flushes:             m.Flush.Count,
		Compactions:         m.Compact.Count,
		Stalls:              s.stalls.Load(),
		CompactionDebtBytes: m.Compact.EstimatedDebt,
		LogBytesIn:          m.WAL.BytesIn,
		BytesFlushed:        total.TableBytesFlushed,
		BytesCompacted:      total.TableBytesCompacted,
		Snapshots:           m.Snapshots.Count,
		ObsoleteBytes:       m.Table.ZombieSize,
	}
}

// DiskUsage returns the bytes the store keeps on disk.
func (s *Store) DiskUsage() uint64 { return s.db.Metrics().DiskSpaceUsage() }
