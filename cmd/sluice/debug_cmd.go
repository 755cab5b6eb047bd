package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
)

func newDebugCommand(a *app) *cobra.Command {
	return group("debug", "Collect what support needs", "Collect what somebody needs who is to find out what is wrong with a cluster.", "  sluice debug bundle",
		newDebugBundle(a))
}

// bundleDone is what debug bundle tells programs.
type bundleDone struct {
	File  string          `json:"file"`
	Bytes int64           `json:"bytes"`
	Files int             `json:"files"`
	Nodes int             `json:"nodes"`
	Lacks []api.DebugFile `json:"lacks"` // what could not be had, with the reasons
}

func newDebugBundle(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "bundle [FILE]",
		Short: "Collect what support needs from all nodes into one file",
		Long: `Collect what support needs from every node that answers into one compressed tar: status, members, health, settings, the last
log lines, metrics, goroutines, a heap profile, build, Raft's and the disk's state. What a node could not give is told in the
bundle, in manifest.json. It holds nothing that users stored: no parameters, results, blocks or logs of runs, and no secrets of
settings; but names of hosts, files, work queues and the lines that the nodes logged are in it.

FILE is sluice-debug-TIME.tar.gz unless given; - is the standard output. A file that exists is not replaced.`,
		Example: "  sluice debug bundle\n  sluice debug bundle /tmp/bundle.tar.gz\n  sluice debug bundle - > bundle.tar.gz",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			file := "sluice-debug-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			if len(args) > 0 {
				file = args[0]
			}
			return a.saveBundle(command.Context(), file)
		},
	}
}

// saveBundle writes the bundle to a file that appears when it is complete.
func (a *app) saveBundle(ctx context.Context, file string) error {
	taken := &failure{code: exitConflict, err: fmt.Errorf("%s exists already", file), hint: "sluice debug bundle ANOTHER_FILE"}
	switch _, err := os.Lstat(file); {
	case file == "-" && a.outTTY:
		return usagef("a bundle is no text for a terminal: sluice debug bundle - > FILE")
	case file != "-" && err == nil:
		return taken
	}
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	defer c.Close()
	stream, err := c.DebugBundle(ctx)
	if err != nil {
		return fmt.Errorf("collect a debug bundle: %w", err)
	}
	defer stream.Close()
	if file == "-" {
		_, err := a.followBundle(io.TeeReader(stream, a.out))
		return err
	}
	var done bundleDone
	err = node.WriteDurably(file, false, func(w io.Writer) (err error) {
		done, err = a.followBundle(io.TeeReader(stream, w))
		return err
	})
	switch {
	case errors.Is(err, os.ErrExist): // somebody put it there meanwhile
		return taken
	case isOutcome(err): // the bundle broke off
		return err
	case err != nil:
		return fmt.Errorf("write the bundle: %w", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	done.File, done.Bytes = file, info.Size()
	sentence := fmt.Sprintf("Wrote %s, %d KiB; files: %d, nodes that answered: %d", file, done.Bytes>>10, done.Files, done.Nodes)
	return a.printDone(done, file, file, sentence)
}

// followBundle reads a bundle to its end, tells on stderr what comes, and checks that it is whole.
func (a *app) followBundle(stream io.Reader) (bundleDone, error) {
	done := bundleDone{Lacks: []api.DebugFile{}}
	broken := func(err error) (bundleDone, error) {
		return done, &failure{code: exitUnreachable, err: fmt.Errorf("the bundle broke off: %w", err), hint: "repeat the command, or ask another node with --api"}
	}
	unzipped, err := gzip.NewReader(stream)
	if err != nil {
		return broken(err)
	}
	files := tar.NewReader(unzipped)
	var manifest *api.DebugManifest
	nodes := map[string]bool{}
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return broken(err)
		}
		_, name, _ := strings.Cut(header.Name, "/") // without the folder
		a.note("%s: %d bytes", name, header.Size)
		done.Files++
		if folder, _, inside := strings.Cut(name, "/"); inside && !strings.HasSuffix(name, "/node.error.txt") {
			nodes[folder] = true
		}
		if name == "manifest.json" {
			manifest = new(api.DebugManifest)
			if err := json.NewDecoder(files).Decode(manifest); err != nil {
				return broken(err)
			}
		}
	}
	// The rest of the compressed stream holds its checksum; tar stops before it.
	if _, err := io.Copy(io.Discard, unzipped); err != nil {
		return broken(err)
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return broken(err)
	}
	if manifest == nil {
		return broken(errors.New("it has no manifest.json"))
	}
	done.Nodes = len(nodes)
	for _, f := range manifest.Files {
		if f.Error != "" {
			done.Lacks = append(done.Lacks, f)
			a.note("missing: %s", strings.TrimSuffix(f.Node+"/"+f.File, "/")+": "+f.Error)
		}
	}
	return done, nil
}
