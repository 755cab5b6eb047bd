package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
	"github.com/sluice-dev/sluice/internal/secret"
)

const (
	authorityYears = 10
	nodeDays       = 825
)

func newTLSInit(a *app) *cobra.Command {
	var dir, name string
	var days int
	command := &cobra.Command{
		Use: "init NODE...",

		Annotations: map[string]string{namesNew: "yes"},

		Short: "Make an authority and certificates for nodes",
		Long: `Make an authority (ca.pem, ca-key.pem), a key that encrypts gossip (gossip.key), one that encrypts secrets in blocks
(secrets.key) and for every NODE a certificate and key (NODE.pem, NODE-key.pem). An authority that the directory holds already
signs the new certificates; existing files are never replaced. Give each node ca.pem, gossip.key, secrets.key and its own
two files. Keep ca-key.pem away from the nodes: whoever has it can make
a node. Nodes use new files at the old place without a restart.`,
		Example: "  sluice cluster tls init node1 node2 node3\n  sluice cluster tls init --dir /etc/sluice/tls node4",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if days < 1 {
				return usagef("--days is %d; it is at least 1", days)
			}
			for _, node := range args {
				if node == "ca" || node == "" || node != filepath.Base(node) || strings.HasPrefix(node, ".") {
					return usagef("'%s' cannot be the name of a node's files", node)
				}
			}
			return makeCertificates(a, dir, name, args, time.Duration(days)*24*time.Hour)
		},
	}
	command.Flags().StringVar(&dir, "dir", ".", "directory of the files")
	command.Flags().StringVar(&name, "cluster-name", cluster.DefaultName, "the nodes' --cluster-name")
	command.Flags().IntVar(&days, "days", nodeDays, "how long the nodes' certificates are valid")
	return command
}

func makeCertificates(a *app, dir, name string, nodes []string, valid time.Duration) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	now := time.Now()
	in := func(file string) string { return filepath.Join(dir, file) }
	var made []string
	writeNew := func(path string, data []byte, mode fs.FileMode) error {
		if err := writeNew(path, data, mode); err != nil {
			return err
		}
		made = append(made, path)
		return nil
	}
	cert, err := os.ReadFile(in("ca.pem"))
	key, keyErr := os.ReadFile(in("ca-key.pem"))
	var authority *link.Authority
	switch missing, keyMissing := errors.Is(err, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist); {
	case missing && keyMissing:
		if authority, err = link.NewAuthority(name, now, authorityYears*365*24*time.Hour); err != nil {
			return err
		}
		cert, key = authority.PEM()
		if err := writeNew(in("ca-key.pem"), key, 0o600); err != nil {
			return err
		}
		if err := writeNew(in("ca.pem"), cert, 0o644); err != nil {
			return err
		}
		a.note("Made the authority %s; keep %s away from the nodes", in("ca.pem"), in("ca-key.pem"))
	case missing != keyMissing:
		return usagef("%s holds only one of ca.pem and ca-key.pem; both are needed to sign", dir)
	case err != nil, keyErr != nil:
		return fmt.Errorf("read the authority: %w", errors.Join(err, keyErr))
	default:
		if authority, err = link.ReadAuthority(name, cert, key); err != nil {
			return err
		}
	}
	if _, err := os.Stat(in("gossip.key")); errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, node.GossipKeyBytes)
		_, _ = rand.Read(secret) // never fails
		if err := writeNew(in("gossip.key"), []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
			return err
		}
		a.say("Made %s, the same for all nodes", in("gossip.key"))
	}
	if _, err := os.Stat(in(node.SecretsFile)); errors.Is(err, fs.ErrNotExist) {
		if err := writeNew(in(node.SecretsFile), []byte(secret.NewKey()), 0o600); err != nil {
			return err
		}
		a.say("Made %s, the same for all nodes; keep a copy apart from snapshots", in(node.SecretsFile))
	}
	for _, node := range nodes {
		cert, key, err := authority.Issue(node, now, valid)
		if err != nil {
			return err
		}
		if err := writeNew(in(node+"-key.pem"), key, 0o600); err != nil {
			return err
		}
		if err := writeNew(in(node+".pem"), cert, 0o644); err != nil {
			return err
		}
		a.say("Made %s and %s", in(node+".pem"), in(node+"-key.pem"))
	}
	if a.structured() {
		return a.printObject(map[string][]string{"files": made}, strings.Join(made, "\n"), strings.Join(made, "\n"))
	}
	return nil
}

// writeNew writes a file that must not exist: a key that is in use must not be lost by accident.
func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists already; move it away to make a new one", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
