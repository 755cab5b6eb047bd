package command

import "fmt"

// The cluster version says what all nodes of a cluster can apply. It is a number in the replicated state that only grows: the leader
// raises it when every member supports more, and what a version adds is used from the entry that raised it on, never before.
//
//	version  adds
//	1        everything so far
//
// To add something that an older binary would not know, or would apply differently: raise MaxVersion, describe it in the table above,
// let Requires name the version for its commands, and let the code that applies it ask for the state's version. MinVersion follows in
// a later release, once nobody upgrades from a release that stopped below it.
const (
	MinVersion = 1
	MaxVersion = 1
)

// Versions is the range of cluster versions in which a node can take part.
type Versions struct {
	Min uint64 `json:"min"`
	Max uint64 `json:"max"`
}

// Supported is what this binary supports.
func Supported() Versions { return Versions{MinVersion, MaxVersion} }

// OrFirst returns v, or the range of the first release for a node that names none.
func (v Versions) OrFirst() Versions {
	if v == (Versions{}) {
		return Versions{1, 1}
	}
	return v
}

// Contains reports whether a node with this range can take part in a cluster of that version.
func (v Versions) Contains(version uint64) bool { return v.Min <= version && version <= v.Max }

func (v Versions) String() string {
	if v.Min == v.Max {
		return fmt.Sprint(v.Min)
	}
	return fmt.Sprintf("%d to %d", v.Min, v.Max)
}

// Remedy says what to do about a node of range v that cannot take part in a cluster of that version.
func (v Versions) Remedy(version uint64) string {
	if version > v.Max {
		return "start it with the release that the other nodes run, or a newer one; there is no way back to an older one"
	}
	return "upgrade the cluster by way of a release that supports both versions"
}

// Requires returns the lowest cluster version in which a command may be proposed.
func Requires(e *Envelope) uint64 {
	// Every command so far belongs to version 1. A later one names its version here:
	//	case *Envelope_NewCommand: return 2
	return max(1, uint64(e.Version))
}
