package api

// SecretKeys says with which keys the data of blocks and the secrets of webhooks are encrypted.
type SecretKeys struct {
	// Keys are those of the node that answers, in its order, then those that it lacks and others have or blocks need.
	Keys []SecretKey `json:"keys"`
	// Blocks counts those with data, Clear those whose data is not encrypted.
	Blocks int `json:"blocks"`
	Clear  int `json:"clear"`
	// Webhooks counts those with a secret, which are all.
	Webhooks int `json:"webhooks"`
	// Problem is why no block can be stored now, "" if blocks can be.
	Problem string `json:"problem"`
}

// SecretKey is a key that encrypts secrets, or its absence.
type SecretKey struct {
	ID string `json:"id"`
	// Seals is the key with which new data is encrypted: the first one that all members have.
	Seals    bool `json:"seals"`
	Blocks   int  `json:"blocks"` // encrypted with it, as are the next
	Webhooks int  `json:"webhooks"`
	// Members have it, Lacking do not, by name; who does not answer is in neither.
	Members []string `json:"members"`
	Lacking []string `json:"lacking"`
}

// Resealed is what one step of encrypting blocks and webhooks' secrets anew has done.
type Resealed struct {
	Key      string `json:"key"` // with which
	Resealed int    `json:"resealed"`
	// Remaining counts those for the next steps; 0 ends the work.
	Remaining int `json:"remaining"`
	// Unreadable are those that could not be opened, and stay as they are.
	Unreadable []UnreadableSecret `json:"unreadable"`
}

// The kinds of what holds a secret.
const (
	SecretOfBlock   = "block"
	SecretOfWebhook = "webhook"
)

// UnreadableSecret is a block or webhook whose secret cannot be decrypted.
type UnreadableSecret struct {
	ID     ID     `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}
