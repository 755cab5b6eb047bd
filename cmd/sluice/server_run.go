package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/localserver"
)

// stopTimeout is how long a stopping node waits for requests that are being answered.
const stopTimeout = 10 * time.Second

// runServer runs one node until ctx ends.
func runServer(ctx context.Context, a *app, o serverOptions) error {
	if o.Ephemeral {
		return runEphemeral(ctx, a, o)
	}
	s, err := startInPlace(ctx, a, o)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		a.say("\nSluice stopped!") // as it was told, though it was not ready yet
		return nil
	case err != nil:
		return err
	}
	if o.Ready != nil {
		o.Ready(s.apiURL(), s.dashboardURL())
	}
	manager := a.serviceManager(o.Logger)
	manager.ready("serving " + s.apiURL())
	defer manager.watch(func(asking context.Context) error {
		if ctx.Err() != nil || s.resting.Load() {
			return nil // it does not serve on purpose; how long a stop may take is the service manager's to bound
		}
		return askLive(asking, s.dashboardURL())
	})()
	stopping := context.AfterFunc(ctx, func() { manager.stopping("draining") })
	defer stopping()
	if err := s.wait(ctx); err != nil {
		return &failure{code: exitError, err: err} // also after Ctrl-C: what went wrong while stopping is to be seen
	}
	a.say("\nSluice stopped!")
	return nil
}

// server is a node as a process runs it: with the file that tells other processes its address, and started anew when a full
// disk has stopped its state machine and there is room again.
type server struct {
	options serverOptions
	addr    string // host:port, as bound
	node    *node.Node
	recent  *node.RecentLog
	resting atomic.Bool // the node is stopped until the disk has room again
}

// recentLogBytes is how much of the log a node keeps in memory for debug bundles.
const recentLogBytes = 512 << 10

// gcPercent lets a server's heap, a few dozen MB, grow to three times what is alive before it is collected: at full load that is
// six percent of the processor for some 30 MB. GOGC in the environment overrides it.
const gcPercent = 200

func startServer(ctx context.Context, o serverOptions) (*server, error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := checkExposure(o); err != nil {
		return nil, err
	}
	if err := checkInternal(o); err != nil {
		return nil, err
	}
	if (o.HTTPTLSCert == "") != (o.HTTPTLSKey == "") {
		return nil, usagef("TLS of the API takes --http-tls-cert and --http-tls-key together")
	}
	recent := node.NewRecentLog(recentLogBytes)
	o.Logger = slog.New(slog.NewMultiHandler(o.Logger.Handler(), slog.NewTextHandler(recent, nil)))
	s := &server{options: o, addr: o.HTTPAddr, recent: recent}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := writeServerFile(o.DataDir, serverFile{APIURL: s.apiURL(), PID: os.Getpid(), Ephemeral: o.Ephemeral}); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// end stops the server for good. Its address is withdrawn first, while the data directory is locked: the next owner's file
// must stay.
func (s *server) end() error {
	var withdrawn error
	if f, err := readServerFile(s.options.DataDir); err == nil && f.PID == os.Getpid() {
		if err := os.Remove(serverFilePath(s.options.DataDir)); err != nil {
			withdrawn = fmt.Errorf("withdraw the server's address: %w", err)
		}
	}
	localserver.Remove(s.options.Home, s.dashboardURL())
	return errors.Join(withdrawn, s.stop())
}

// checkInternal refuses plain text between nodes unless it is wished for or nobody else can hear it.
func checkInternal(o serverOptions) error {
	given := 0
	for _, file := range []string{o.TLSCA, o.TLSCert, o.TLSKey} {
		if file != "" {
			given++
		}
	}
	host, _, err := net.SplitHostPort(o.InternalAddr)
	if err != nil {
		return usagef("--internal-addr %q is not HOST:PORT", o.InternalAddr)
	}
	switch {
	case given == 3 && o.Insecure:
		return usagef("--insecure is plain text between nodes, --tls-cert is TLS: leave one out")
	case given == 3:
		return checkGossip(o)
	case given > 0:
		return usagef("TLS between nodes takes --tls-ca, --tls-cert and --tls-key together; `sluice cluster tls init` makes the files")
	case o.Insecure, isLoopback(host) && len(o.Join) == 0:
		return nil
	}
	return usagef("nodes of a cluster talk over TLS: give --tls-ca, --tls-cert and --tls-key (`sluice cluster tls init` makes the files), or --insecure if the network itself is guarded")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkGossip refuses that nodes which were given TLS tell in clear text who and where they are, and believe whoever says so.
func checkGossip(o serverOptions) error {
	if o.GossipAddr == "" || o.GossipKeyFile != "" {
		return nil
	}
	host, _, err := net.SplitHostPort(o.GossipAddr)
	if err != nil {
		return usagef("--gossip-addr %q is not HOST:PORT", o.GossipAddr)
	}
	if !isLoopback(host) {
		return usagef("with TLS between nodes, gossip at %s would still be clear text: give --gossip-key-file, the same on all nodes "+
			"(`sluice cluster tls init` makes gossip.key)", o.GossipAddr)
	}
	o.Logger.Warn("gossip is not encrypted, as --gossip-key-file is not given; it does not leave this machine", "address", o.GossipAddr)
	return nil
}

func (s *server) start(ctx context.Context) error {
	if file := s.options.GossipKeyFile; file != "" {
		if _, err := node.ReadGossipKeys(file); err != nil {
			return usagef("--gossip-key-file: %w", err)
		}
	}
	var files *link.Files
	if s.options.TLSCert != "" {
		files = &link.Files{CA: s.options.TLSCA, Cert: s.options.TLSCert, Key: s.options.TLSKey}
	}
	var api *node.CertificateFiles
	if s.options.HTTPTLSCert != "" {
		api = &node.CertificateFiles{Cert: s.options.HTTPTLSCert, Key: s.options.HTTPTLSKey}
	}
	listener, err := httpapi.Listen(ctx, s.addr)
	if err != nil {
		return &failure{code: exitError, err: fmt.Errorf("serve the API: %w", err), hint: "another address with --http-addr"}
	}
	// The kernel's choice of a port stays the address when the node starts again. Who sees the server ready must find its token.
	s.addr = listener.Addr().String()
	s.announce()
	n, err := node.Start(ctx, node.Config{
		DataDir: s.options.DataDir, Name: s.options.NodeName, Listener: listener, InternalAddr: s.options.InternalAddr, GossipAddr: s.options.GossipAddr,
		BootstrapExpect: s.options.BootstrapExpect, Version: version(), DiskLowWater: s.options.DiskLowWater, LogQuota: s.options.LogQuota, Snapshots: s.options.Snapshots, Retention: s.options.Retention, WebhookAllowPrivate: s.options.WebhookPrivate, LogBytes: s.options.LogBytes, Logger: s.options.Logger,
		DrainDelay: s.options.DrainDelay, InternalAdvertise: s.options.Advertise, ClusterName: s.options.ClusterName, Join: s.options.Join, TLS: files, GossipKeyFile: s.options.GossipKeyFile, HTTPTLS: api, Secrets: s.options.Secrets,
		RecentLog: s.recent, Settings: s.options.Settings, Clock: s.options.Clock, Membership: s.options.Membership, Access: s.options.access(), BasePath: s.options.BasePath,
	})
	if err != nil {
		localserver.Remove(s.options.Home, s.dashboardURL())
		return addressTaken(err)
	}
	s.node = n
	if err := waitReady(ctx, n, len(s.options.Join) == 0); err != nil {
		localserver.Remove(s.options.Home, s.dashboardURL())
		return errors.Join(err, s.stop())
	}
	return nil
}

// readyPatience is how long a node that needs no other may take to become ready, but for indexes that it builds.
const readyPatience = 30 * time.Second

// waitReady waits until the node is ready; who needs others waits for them.
func waitReady(ctx context.Context, n *node.Node, alone bool) error {
	for {
		ready, cancel := ctx, context.CancelFunc(func() {})
		if alone {
			ready, cancel = context.WithTimeout(ctx, readyPatience)
		}
		err := n.WaitReady(ready)
		cancel()
		// An upgrade that brings an index fills it with what is stored, which takes minutes where much is.
		if err == nil || ctx.Err() != nil || !alone || !n.Building() {
			return err
		}
	}
}

// addressTaken adds what to do when a second server on a machine meets the addresses that the nodes use between them.
func addressTaken(err error) error {
	// memberlist tells the cause in words only.
	if !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return unusableData(err)
	}
	return &failure{code: exitError, err: err, hint: "other addresses with --internal-addr and --gossip-addr; port 0 lets the system choose one"}
}

// unusableData adds what to do about a data directory that cannot be used as it is.
func unusableData(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return &failure{code: exitError, err: err, hint: "the file system is read-only: the kernel's log says why (dmesg); repair the disk, remount it writable and start the node again"}
	case errors.Is(err, node.ErrDamaged):
		return &failure{code: exitError, err: err, hint: "the disk or somebody else has changed the node's files. In a cluster: move the data directory away, take the node out\n" +
			"with `sluice cluster remove NODE`, and start it with --join; it fetches everything from the others. Alone: restore a snapshot\n" +
			"or a copy of the directory"}
	}
	return err
}

// wait serves until ctx ends.
func (s *server) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			s.drain()
			return s.end()
		case <-s.node.Left():
			s.options.Logger.Info("this node has left its cluster and stops")
			return s.end()
		case err := <-s.node.Failed():
			return errors.Join(err, s.end())
		case <-s.node.Repaired():
		}
		s.options.Logger.Info("there is room on the disk again: the node starts anew from what it has stored")
		s.resting.Store(true)
		if err := s.stop(); err != nil {
			s.options.Logger.Warn("the node did not stop cleanly", "error", err)
		}
		err := s.startAgain(ctx)
		s.resting.Store(false)
		if err != nil {
			return errors.Join(fmt.Errorf("start again after the disk was full: %w", err), s.end())
		}
	}
}

// startAgain starts the node as soon as the disk lets it: somebody may have filled it anew. It returns without a node when ctx ends.
func (s *server) startAgain(ctx context.Context) error {
	for {
		err := s.start(ctx)
		switch {
		case err == nil, ctx.Err() != nil:
			return nil
		case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EROFS) && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		s.options.Logger.Error("the node cannot start on the full disk; it tries again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// drain lets clients and leadership go elsewhere before the server stops. A second signal ends the wait.
func (s *server) drain() {
	hurry, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s.node.Drain(hurry)
}

func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return s.node.Stop(ctx)
}

func (s *server) dashboardURL() string {
	host, port, _ := net.SplitHostPort(s.addr) // as bound, so it splits
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if s.options.HTTPTLSCert != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

func (s *server) apiURL() string { return s.dashboardURL() + "/api" }

// serverFile tells other processes on the machine where the server of a data directory listens.
type serverFile struct {
	APIURL    string `json:"api_url"`
	PID       int    `json:"pid"`
	Ephemeral bool   `json:"ephemeral,omitempty"`
}

func serverFilePath(dataDir string) string { return filepath.Join(dataDir, "server.json") }

func writeServerFile(dataDir string, f serverFile) error {
	content, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write the server's address: %w", err)
	}
	temporary := serverFilePath(dataDir) + ".tmp"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return fmt.Errorf("write the server's address: %w", err)
	}
	if err := os.Rename(temporary, serverFilePath(dataDir)); err != nil {
		return fmt.Errorf("write the server's address: %w", err)
	}
	return nil
}

func readServerFile(dataDir string) (serverFile, error) {
	var f serverFile
	content, err := os.ReadFile(serverFilePath(dataDir))
	if err != nil {
		return f, fmt.Errorf("read the server's address: %w", err)
	}
	if err := json.Unmarshal(content, &f); err != nil {
		return f, fmt.Errorf("read the server's address: %w", err)
	}
	return f, nil
}

// runningServer returns the server that uses the data directory, if one answers.
func runningServer(ctx context.Context, dataDir string) (serverFile, bool) {
	f, err := readServerFile(dataDir)
	if err != nil {
		return serverFile{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// The lock is tried last, as a server that starts at this very moment fails on a lock that is being tried.
	if err := askLive(ctx, strings.TrimSuffix(f.APIURL, "/api")); err != nil || !localserver.Locked(dataDir, f.PID) {
		return serverFile{}, false
	}
	return f, true
}

// askLive asks a server of this machine whether it answers. Who it is others tell, and its certificate may name other addresses.
func askLive(ctx context.Context, base string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/livez", nil)
	if err != nil {
		return fmt.Errorf("ask %s whether it lives: %w", base, err)
	}
	probe := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: probe}).Do(request)
	if err != nil {
		return fmt.Errorf("ask %s whether it lives: %w", base, err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s whether it lives: it answers %s", base, response.Status)
	}
	return nil
}
