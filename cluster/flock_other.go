//go:build !unix

package cluster

import "os"

// lockExclusively relies on the locks that the log and the state database take on their own files.
func lockExclusively(*os.File) error { return nil }
