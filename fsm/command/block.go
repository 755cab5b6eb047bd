package command

import (
	"crypto/sha256"

	"github.com/sluice-dev/sluice/fsm/row"
)

// BlockChanged is the message of the conflict when a block's data is not what an update was made of.
const BlockChanged = "The block was changed meanwhile."

// BlockDigest names what a block's row holds as data: a change of the data changes it, be it only how it is encrypted.
func BlockDigest(b *row.Block) []byte {
	h := sha256.New()
	if len(b.DataSealed) != 0 {
		h.Write([]byte{1})
		h.Write(b.DataSealed)
	} else {
		h.Write([]byte{0})
		h.Write(b.DataJson)
	}
	return h.Sum(nil)[:16]
}

// WebhookDigest names what a webhook's row holds as secret, as BlockDigest does.
func WebhookDigest(w *row.Webhook) []byte {
	return BlockDigest(&row.Block{DataSealed: w.SealedSecret})
}
