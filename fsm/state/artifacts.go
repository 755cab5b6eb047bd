package state

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	idxArtifactRun = 130
	idxArtifactKey = 131
)

var artifacts = &table[row.Artifact, *row.Artifact]{
	number: 65, name: "artifact",
	key: func(dst []byte, r *row.Artifact) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Artifact]{
		{idxArtifactRun, "flow_run", false, first, func(r *row.Artifact, add func([]byte)) {
			add(appendID(appendTime(appendID(indexKey(idxArtifactRun), r.FlowRunId), r.Created), r.Id))
		}},
		{idxArtifactKey, "key", false, first, func(r *row.Artifact, add func([]byte)) {
			add(appendID(appendTime(appendText(indexKey(idxArtifactKey), r.Key), r.Created), r.Id))
		}},
	},
}

// Artifact returns an artifact by id.
func (v *View) Artifact(id api.ID) (*row.Artifact, error) {
	return artifacts.get(v.r, appendID(prefix(kindRow, artifacts.number), id[:]))
}

// EachArtifact walks all artifacts, the newest first.
func (v *View) EachArtifact(fn func(*row.Artifact) (bool, error)) error {
	return artifacts.each(v.r, prefix(kindRow, artifacts.number), true, fn)
}

// ArtifactsOfRun walks the artifacts of a flow run, the newest first.
func (v *View) ArtifactsOfRun(run api.ID, fn func(*row.Artifact) (bool, error)) error {
	under := appendID(indexKey(idxArtifactRun), run[:])
	return artifacts.eachByIndex(v.r, under, after(under), true, fn)
}

// ArtifactsOfKey walks the artifacts of a key, the newest first.
func (v *View) ArtifactsOfKey(key string, fn func(*row.Artifact) (bool, error)) error {
	under := appendText(indexKey(idxArtifactKey), key)
	return artifacts.eachByIndex(v.r, under, after(under), true, fn)
}

// CountArtifactsOfRun counts the artifacts of a flow run, up to a number.
func (v *View) CountArtifactsOfRun(run api.ID, most int) (int, error) {
	under := appendID(indexKey(idxArtifactRun), run[:])
	n := 0
	err := walk(v.r, under, after(under), false, func(_, _ []byte) (bool, error) {
		n++
		return n < most, nil
	})
	return n, err
}

// NewArtifact is an artifact to be saved.
func (tx *Tx) NewArtifact(r *row.Artifact) *Edit[row.Artifact, *row.Artifact] {
	return insert(tx, artifacts, r)
}

// DeleteArtifactsOfRun removes what a flow run has shown.
func (tx *Tx) DeleteArtifactsOfRun(run []byte) error {
	var ids [][]byte
	under := appendID(indexKey(idxArtifactRun), run)
	err := walk(tx.r, under, after(under), false, func(key, _ []byte) (bool, error) {
		ids = append(ids, append([]byte(nil), key[len(key)-16:]...))
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, err := edit(tx, artifacts, appendID(prefix(kindRow, artifacts.number), id))
		if err == nil && e != nil {
			err = e.Delete()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
