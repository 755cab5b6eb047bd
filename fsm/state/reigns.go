package state

import "github.com/sluice-dev/sluice/fsm/row"

// reignsKept is how many leaders are remembered. Part of the stored format.
const reignsKept = 20

var reigns = &table[row.Reign, *row.Reign]{
	number: 88, name: "reign",
	key: func(dst []byte, r *row.Reign) []byte { return appendUint64(dst, r.Epoch) },
}

// EachReign walks the last leaders, the newest first.
func (v *View) EachReign(fn func(*row.Reign) (bool, error)) error {
	return reigns.each(v.r, prefix(kindRow, reigns.number), true, fn)
}

// AddReign remembers a new leader and forgets those of long ago.
func (tx *Tx) AddReign(r *row.Reign) error {
	var old []*row.Reign
	kept := 1
	err := reigns.each(tx.batch, prefix(kindRow, reigns.number), true, func(r *row.Reign) (bool, error) {
		if kept++; kept > reignsKept {
			old = append(old, r)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, r := range old {
		e, err := edit(tx, reigns, reigns.key(prefix(kindRow, reigns.number), r))
		if err != nil {
			return err
		}
		if err := e.Delete(); err != nil {
			return err
		}
	}
	return insert(tx, reigns, r).Save()
}
