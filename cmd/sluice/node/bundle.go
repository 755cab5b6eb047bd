package node

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cluster/link"
)

// partTimeout bounds the making of one part on one node.
const partTimeout = 10 * time.Second

// bundle is a debug bundle that is being written: a compressed tar of files below one folder, the last of which tells how each
// came about.
type bundle struct {
	folder   string
	zip      *gzip.Writer
	tar      *tar.Writer
	flush    func() // sends what is written on its way
	manifest api.DebugManifest
}

// DebugBundle implements httpapi.Cluster.
func (m members) DebugBundle(ctx context.Context, w io.Writer, flush func()) error {
	now := time.Now().UTC()
	b := &bundle{folder: "sluice-debug-" + now.Format("20060102-150405"), zip: gzip.NewWriter(w), flush: flush}
	b.tar = tar.NewWriter(b.zip)
	b.manifest = api.DebugManifest{Made: now, By: m.node.cluster.ID(), Version: m.node.config.Version, Files: []api.DebugFile{}}
	own := func(name string, v any) error {
		data, err := json.MarshalIndent(v, "", "  ")
		return b.add("", name, data, 0, err)
	}
	if err := errors.Join(own("cluster.json", m.Describe(ctx)), own("health.json", m.Health(ctx))); err != nil {
		return err
	}
	roll := m.node.cluster.Roll(ctx)
	if len(roll) == 0 { // it belongs to no cluster yet
		roll = []cluster.MemberStatus{{ID: m.node.cluster.ID(), Name: m.node.config.Name, Alive: true}}
	}
	for _, r := range roll {
		if err := m.node.addMember(ctx, b, r); err != nil {
			return err
		}
	}
	if err := own("manifest.json", b.manifest); err != nil {
		return err
	}
	if err := errors.Join(b.tar.Close(), b.zip.Close()); err != nil {
		return fmt.Errorf("end the bundle: %w", err)
	}
	flush()
	return nil
}

var unusual = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// addMember adds all parts of a member. Only the writing of the bundle can fail: what the member fails at is told in the bundle.
func (n *Node) addMember(ctx context.Context, b *bundle, m cluster.MemberStatus) error {
	name := strings.TrimLeft(unusual.ReplaceAllString(cmp.Or(m.Name, "node"), "-"), ".") + "-" + m.ID
	if !m.Alive {
		return b.add(name, "", nil, 0, fmt.Errorf("node %s did not answer: %s", m.ID, m.Problem))
	}
	for _, part := range debugParts {
		asking, cancel := context.WithTimeout(ctx, partTimeout)
		began := time.Now()
		data, err := n.cluster.AskMember(asking, m.ID, methodDebug, []byte(part.file))
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := b.add(name, part.file, data, time.Since(began), err); err != nil {
			return err
		}
		if errors.Is(err, link.ErrNotSent) || errors.Is(err, context.DeadlineExceeded) {
			return nil // it has gone or hangs: the other parts would take as long to fail
		}
	}
	return nil
}

// add writes one file, or notes why there is none.
func (b *bundle) add(node, file string, data []byte, took time.Duration, failed error) error {
	noted := api.DebugFile{Node: node, File: file, Bytes: len(data), Seconds: api.Duration(took)}
	path := b.folder
	if node != "" {
		path += "/" + node
	}
	path += "/" + cmp.Or(file, "node")
	if failed != nil {
		noted.Error, noted.Bytes = failed.Error(), 0
		path, data = path+".error.txt", []byte(failed.Error()+"\n")
	}
	b.manifest.Files = append(b.manifest.Files, noted)
	if err := b.tar.WriteHeader(&tar.Header{Name: path, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()}); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	if _, err := io.Copy(b.tar, bytes.NewReader(data)); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	if err := errors.Join(b.tar.Flush(), b.zip.Flush()); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	b.flush()
	return nil
}
