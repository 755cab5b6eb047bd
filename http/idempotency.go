package httpapi

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
)

// longestIdempotencyKey bounds the keys of clients.
const longestIdempotencyKey = 255

// readIdempotencyKey takes the client's key of a POST. Who asks and what is asked belong to it: a key is of one client and names one
// request.
func (x *exchange) readIdempotencyKey() error {
	v := x.r.Header[api.HeaderIdempotencyKey]
	if len(v) == 0 || x.r.Method != http.MethodPost {
		return nil
	}
	key := v[0]
	bad := len(key) == 0 || len(key) > longestIdempotencyKey
	for _, c := range []byte(key) {
		bad = bad || c < ' ' || c > '~'
	}
	if bad || len(v) > 1 {
		return &failure{
			status: http.StatusBadRequest, kind: api.KindInvalid, detail: "Idempotency-Key must be one value of 1 to 255 printable characters.",
			hint: "Use a random UUID, or leave the header out.",
		}
	}
	x.named = &command.Idempotency{Key: digest(x.who.name, key), Request: digest(x.r.URL.Path, x.r.URL.RawQuery, string(x.data))}
	return nil
}

// digest hashes texts so that no two lists of them look alike.
func digest(texts ...string) []byte {
	h := sha256.New()
	for _, text := range texts {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(text)))) // a hash takes everything
		_, _ = h.Write([]byte(text))
	}
	return h.Sum(nil)[:16]
}

// nextKey names the next command of a request that has a key.
func (x *exchange) nextKey() *command.Idempotency {
	if x.named == nil {
		return nil
	}
	x.keyed++
	return &command.Idempotency{Key: x.named.Key, Request: x.named.Request, Ordinal: x.keyed}
}
