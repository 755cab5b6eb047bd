// Package relay lets flow processes use storages without their credentials and without the libraries they need: over an endpoint of
// the same machine, of the agent or of the command `sluice storage relay`, which opens the storages itself.
//
// POST {URL}/{block id} writes its body and answers {"key": KEY}; GET {URL}/{block id}?key=KEY reads. Both show the token. Errors
// are api.ErrorBody.
package relay

import (
	"os"

	"github.com/sluice-dev/sluice/storage"
)

// Environment variables that tell a flow process its Access.
const (
	VariableURL   = "SLUICE_STORAGE_URL"
	VariableToken = "SLUICE_STORAGE_TOKEN"
)

// Access is where an endpoint is, and what it asks for.
type Access struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// FromEnvironment is what an agent gave to this process; ok is false when there is none.
func FromEnvironment() (access Access, ok bool) {
	access = Access{URL: os.Getenv(VariableURL), Token: os.Getenv(VariableToken)}
	return access, access.URL != ""
}

// Limit bounds one value, in bytes.
const Limit = 256 << 20

// relayed are the kinds of storages that have credentials. A flow process opens the others itself.
var relayed = []string{storage.KindAzure, storage.KindGoogle, storage.KindKVServer, storage.KindS3}

// written is the answer to a write.
type written struct {
	Key string `json:"key"`
}
