// Package ui holds the web interface that the other files of this folder are built into (`make ui`). See DESIGN.md.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files are what was built, or only placeholder.html when it was not.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // "dist" is a valid name
	}
	return files
}
