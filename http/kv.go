package httpapi

import (
	"bytes"
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// The built-in store: JSON strings under keys. It is also what Orion's KV Server Storage speaks to.

const (
	longestKey     = 200
	blobChunkBytes = 60 << 10
)

func validKey(key string) bool {
	if len(key) == 0 || len(key) > longestKey {
		return false
	}
	for _, c := range []byte(key) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func (x *exchange) key() (string, error) {
	key := x.path("key")
	if !validKey(key) {
		return "", invalid("The key is not valid: 1 to 200 characters of A-Z, a-z, 0-9, '.', '_' and '-'.", "Use a UUID for a key.")
	}
	return key, nil
}

func putBlob(_ *Server, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	text, findings := body.DecodeValue(body.RawText, x.data)
	if findings != nil {
		return unprocessable(findings)
	}
	if err := x.mayPutBlob(key, text); err != nil {
		return err
	}
	version := newID()
	chunks := (len(text) + blobChunkBytes - 1) / blobChunkBytes
	for i := range chunks {
		piece := text[i*blobChunkBytes : min(len(text), (i+1)*blobChunkBytes)]
		e := x.envelope()
		e.Idempotency = nil // a put can be repeated anyway, and a repetition has a version of its own, of which every piece is needed
		e.Command = &command.Envelope_PutBlobChunk{PutBlobChunk: &command.PutBlobChunk{
			Key: key, Version: version, Ordinal: uint32(i), Chunks: uint32(chunks), Data: piece,
		}}
		r, index, err := x.proposeBulk(e)
		if err != nil {
			return err
		}
		if err := outcome(r, "", ""); err != nil {
			return err
		}
		x.at(index)
	}
	return x.null(http.StatusCreated)
}

// mayPutBlob keeps values as they are: flows' code is among them, and only a deployer changes what agents execute.
func (x *exchange) mayPutBlob(key string, text []byte) error {
	if x.who.role >= RoleDeployer {
		return nil
	}
	view, _, err := x.server.reader.View(x.ctx, Linearizable, 0)
	if err != nil {
		return err
	}
	defer view.Close()
	stored, err := view.BlobData(key)
	if err != nil || stored == nil || bytes.Equal(stored, text) {
		return err
	}
	x.server.metrics.refused.WithLabelValues(refusedRole).Inc()
	return &failure{
		status: http.StatusForbidden, kind: api.KindForbidden, detail: "The built-in store has another value under the key " + key + ", and to replace it needs the role deployer.",
		hint: "Use a new key: a UUID.",
	}
}

func readBlob(_ *Server, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	text, err := view.BlobData(key)
	if err != nil {
		return err
	}
	if text == nil {
		return noBlob(key)
	}
	x.out = append(x.out, text...)
	return x.send(http.StatusOK)
}

func noBlob(key string) error {
	return &failure{
		status: http.StatusNotFound, kind: api.KindNotFound, detail: "The built-in store has no value under the key " + key + ".",
		hint: "It was deleted, or belongs to another server.",
	}
}

func deleteBlob(_ *Server, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_DeleteBlob{DeleteBlob: &command.DeleteBlob{Key: key}}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if r.Code == command.Result_NOT_FOUND {
		return noBlob(key)
	}
	if err := outcome(r, "", ""); err != nil {
		return err
	}
	return x.empty()
}
