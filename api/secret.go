package api

// SecretKeys says with which keys blocks are encrypted.
type SecretKeys struct {
	// Keys are those of the node that answers, in its order, then those that it lacks and others have or blocks need.
	Keys []SecretKey `json:"keys"`
	// Blocks counts those with data, Clear those whose data is not encrypted.
	Blocks int `json:"blocks"`
	Clear  int `json:"clear"`
	// Problem is why no block can be stored now, "" if blocks can be.
	Problem string `json:"problem"`
}

// SecretKey is a key that encrypts blocks, or its absence.
type SecretKey struct {
	ID string `json:"id"`
	// Seals is the key with which new data is encrypted: the first one that all members have.
	Seals  bool `json:"seals"`
	Blocks int  `json:"blocks"` // encrypted with it
	// Members have it, Lacking do not, by name; who does not answer is in neither.
	Members []string `json:"members"`
	Lacking []string `json:"lacking"`
}

// Resealed is what one step of encrypting blocks anew has done.
type Resealed struct {
	Key      string `json:"key"` // with which
	Resealed int    `json:"resealed"`
	// Remaining counts the blocks for the next steps; 0 ends the work.
	Remaining int `json:"remaining"`
	// Unreadable are blocks that could not be opened, and stay as they are.
	Unreadable []UnreadableBlock `json:"unreadable"`
}

// UnreadableBlock is a block whose data cannot be decrypted.
type UnreadableBlock struct {
	ID     ID     `json:"id"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}
