package state

import (
	"slices"
	"strings"
)

// Removed is how many rows of a table were deleted, and how large they were.
type Removed struct {
	Table       string
	Rows, Bytes int64
}

type removals struct {
	rows   int64
	tables []Removed
}

func (r *removals) add(table string, bytes int) {
	r.rows++
	i := slices.IndexFunc(r.tables, func(t Removed) bool { return t.Table == table })
	if i < 0 {
		i = len(r.tables)
		r.tables = append(r.tables, Removed{Table: table})
	}
	r.tables[i].Rows++
	r.tables[i].Bytes += int64(bytes)
}

// CountRemoved counts what is deleted from now on; the function ends that and returns it by table, in order of their names.
func (tx *Tx) CountRemoved() func() []Removed {
	counted := &removals{}
	tx.removed = counted
	return func() []Removed {
		tx.removed = nil
		slices.SortFunc(counted.tables, func(a, b Removed) int { return strings.Compare(a.Table, b.Table) })
		return counted.tables
	}
}

// RemovedRows returns how many rows were deleted since CountRemoved.
func (tx *Tx) RemovedRows() int64 {
	if tx.removed == nil {
		return 0
	}
	return tx.removed.rows
}
