package api

import "time"

// DebugManifest is manifest.json of a debug bundle: what it holds and what it could not get.
type DebugManifest struct {
	Made    time.Time   `json:"made"`
	By      string      `json:"by"` // id of the node that made the bundle
	Version string      `json:"version"`
	Files   []DebugFile `json:"files"`
}

// DebugFile is a file of a debug bundle, or why there is none.
type DebugFile struct {
	Node    string   `json:"node"` // its folder; "" is the whole cluster
	File    string   `json:"file"` // "" is all files of a node
	Bytes   int      `json:"bytes"`
	Seconds Duration `json:"seconds"` // that its making took
	Error   string   `json:"error"`
}
