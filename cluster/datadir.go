package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"
)

const (
	identityFile = "node.json"
	lockFile     = "LOCK"
)

// ErrDataDirInUse is returned by OpenDataDir when another process has the directory locked.
var ErrDataDirInUse = errors.New("data directory is in use")

// DataDir is a node's data directory, locked for this process, with the node's identity. Open it before anything else
// in the directory and close it last.
type DataDir struct {
	path string
	lock *os.File

	mu sync.Mutex // guards id
	id identity
}

// identity is node-local and never replicated: a node whose directory is lost is a new node.
type identity struct {
	Format    int    `json:"format"`
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id,omitempty"`
	// Until the cluster id is known at most one of these is set: what this node promised another, or what it founds itself.
	Pledge   *Pledge   `json:"pledge,omitempty"`
	Founding *Founding `json:"founding,omitempty"`
}

// Pledge is a node's promise, made while it has no Raft state, to talk Raft with one cluster only.
type Pledge struct {
	ClusterID string `json:"cluster_id"`
	// Founder is the only node that may release a node from founding a cluster with it; "" in a pledge to a cluster that
	// exists, which the node may change by itself.
	Founder string `json:"founder,omitempty"`
	// Seq is the founder's counter: what it said with a lower one is older than the pledge.
	Seq int64 `json:"seq,omitempty"`
}

// Founding is what a founder has made up its mind to do.
type Founding struct {
	ClusterID string `json:"cluster_id"`
	Voters    []Peer `json:"voters"`
}

// OpenDataDir creates the directory when it is missing, locks it and reads the node's identity, minting one at the first
// start. When another process holds the lock the error names its pid, if known.
func OpenDataDir(path string) (*DataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := lockExclusively(f); err != nil {
		owner := "another process"
		if b, rerr := os.ReadFile(f.Name()); rerr == nil && len(strings.TrimSpace(string(b))) > 0 {
			owner = "the process with pid " + strings.TrimSpace(string(b))
		}
		return nil, errors.Join(fmt.Errorf("%w: %s by %s: stop it first or choose another --data-dir (%w)",
			ErrDataDirInUse, path, owner, err), f.Close())
	}
	d := &DataDir{path: path, lock: f}
	if err := d.writePID(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := d.readIdentity(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func (d *DataDir) writePID() error {
	if err := d.lock.Truncate(0); err != nil {
		return fmt.Errorf("write pid to lock file: %w", err)
	}
	if _, err := d.lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		return fmt.Errorf("write pid to lock file: %w", err)
	}
	return nil
}

func (d *DataDir) readIdentity() error {
	name := filepath.Join(d.path, identityFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("mint node id: %w", err)
		}
		d.id = identity{Format: 1, NodeID: id.String()}
		return d.save(d.id)
	}
	if err != nil {
		return fmt.Errorf("read node identity: %w", err)
	}
	if err := json.Unmarshal(b, &d.id); err != nil {
		return fmt.Errorf("read node identity %s: %w; restore the file from a copy, it names this node to its cluster", name, err)
	}
	if d.id.Format > 1 {
		return fmt.Errorf("%s has format %d, this binary reads format 1: it was written by a newer version of sluice", name, d.id.Format)
	}
	if _, err := uuid.Parse(d.id.NodeID); err != nil {
		return fmt.Errorf("%s holds no valid node_id (%q)", name, d.id.NodeID)
	}
	return nil
}

// save replaces the identity file durably.
func (d *DataDir) save(id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode node identity: %w", err)
	}
	name := filepath.Join(d.path, identityFile)
	if err := writeSynced(name+".tmp", append(b, '\n')); err != nil {
		return fmt.Errorf("write node identity: %w", err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("write node identity: %w", err)
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}

func writeSynced(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Path is the directory.
func (d *DataDir) Path() string { return d.path }

// NodeID is this node's id for good.
func (d *DataDir) NodeID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id.NodeID
}

// ClusterID is the cluster this node belongs to, "" until it has learned it.
func (d *DataDir) ClusterID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id.ClusterID
}

// join persists the cluster id; it never changes once set.
func (d *DataDir) join(clusterID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.id.ClusterID == clusterID {
		return nil
	}
	if d.id.ClusterID != "" {
		return fmt.Errorf("this node belongs to cluster %s but its state to cluster %s: the data directory %s mixes two clusters",
			d.id.ClusterID, clusterID, d.path)
	}
	id := d.id
	id.ClusterID, id.Pledge, id.Founding = clusterID, nil, nil
	return d.replace(id)
}

// adopt makes this node a member of another cluster, which continues the one it belonged to.
func (d *DataDir) adopt(clusterID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.id
	id.ClusterID, id.Pledge, id.Founding = clusterID, nil, nil
	return d.replace(id)
}

// replace makes id the identity, on disk first. Holds mu.
func (d *DataDir) replace(id identity) error {
	if err := d.save(id); err != nil {
		return err
	}
	d.id = id
	return nil
}

// allegiance is the one cluster with which this node talks Raft, "" while there is none.
func (d *DataDir) allegiance() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.id.ClusterID != "":
		return d.id.ClusterID
	case d.id.Pledge != nil:
		return d.id.Pledge.ClusterID
	case d.id.Founding != nil:
		return d.id.Founding.ClusterID
	}
	return ""
}

func (d *DataDir) pledge() *Pledge {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id.Pledge
}

func (d *DataDir) founding() *Founding {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id.Founding
}

// setPledge promises. A promise to a founder is never broken, one to an existing cluster may be.
func (d *DataDir) setPledge(p Pledge) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.id.Pledge
	switch {
	case d.id.ClusterID != "":
		return fmt.Errorf("node %s belongs to cluster %s already", d.id.NodeID, d.id.ClusterID)
	case d.id.Founding != nil:
		return fmt.Errorf("node %s is about to found a cluster itself", d.id.NodeID)
	case old != nil && old.Founder != "" && (old.Founder != p.Founder || old.ClusterID != p.ClusterID):
		return fmt.Errorf("node %s has promised node %s to found a cluster with it", d.id.NodeID, old.Founder)
	}
	id := d.id
	id.Pledge = &p
	return d.replace(id)
}

// release ends the promise to found that cluster.
func (d *DataDir) release(clusterID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.id.Pledge == nil || d.id.Pledge.ClusterID != clusterID {
		return nil
	}
	id := d.id
	id.Pledge = nil
	return d.replace(id)
}

// setFounding makes up this node's mind, or with nil unmakes it.
func (d *DataDir) setFounding(f *Founding) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case f != nil && d.id.ClusterID != "":
		return fmt.Errorf("this node belongs to cluster %s already", d.id.ClusterID)
	case f != nil && d.id.Pledge != nil && d.id.Pledge.Founder != "":
		return fmt.Errorf("this node has promised node %s to found a cluster with it", d.id.Pledge.Founder)
	}
	id := d.id
	id.Founding = f
	if f != nil {
		id.Pledge = nil
	}
	return d.replace(id)
}

// Close releases the lock.
func (d *DataDir) Close() error { return d.lock.Close() }
