package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
	"github.com/sluice-dev/sluice/internal/localserver"
)

// The values of --auth.
const (
	authAuto = "auto"
	authOn   = "on"
	authOff  = "off"
)

// completeAccess checks the settings of who may use the server.
func (o *serverOptions) completeAccess(a *app) error {
	switch o.Auth {
	case authOn, authOff, authAuto:
	default:
		return usagef("--auth is %q; it is one of on, off, auto", o.Auth)
	}
	if o.AuditKeep < 1 {
		return usagef("--audit-keep is %d; it is at least 1", o.AuditKeep)
	}
	if o.AuditAge < time.Minute {
		return usagef("--audit-age is %s; it is at least 1m", o.AuditAge)
	}
	o.FirstToken, _ = a.settings.lookup(settingFirstToken)
	source := settingFirstToken
	if o.FirstTokenFile != "" {
		content, err := os.ReadFile(o.FirstTokenFile)
		if errors.Is(err, fs.ErrNotExist) && wasStarted(o.DataDir) {
			return nil // it was of use at the first start only
		}
		if err != nil {
			return usagef("read --bootstrap-token-file: %w", err)
		}
		o.FirstToken, source = strings.TrimSpace(string(content)), o.FirstTokenFile
	}
	if o.FirstToken != "" {
		if err := api.CheckToken(o.FirstToken); err != nil {
			return usagef("%s: %w", source, err)
		}
	}
	return nil
}

// wasStarted reports whether a node has used the data directory.
func wasStarted(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, "node.json"))
	return err == nil
}

// asksForTokens reports whether the server has authentication.
func (o *serverOptions) asksForTokens() bool {
	if o.Auth == authOn || o.Auth == authOff {
		return o.Auth == authOn
	}
	return !o.Dev || !o.onLoopback()
}

func (o *serverOptions) onLoopback() bool {
	host, _, err := net.SplitHostPort(o.HTTPAddr)
	return err == nil && isLoopback(host)
}

func (o *serverOptions) access() node.Access {
	auth := o.asksForTokens()
	return node.Access{Auth: auth, FirstToken: o.FirstToken, AllowOrigins: o.AllowOrigins, GuardHost: !auth && o.onLoopback(), AuditKeep: o.AuditKeep, AuditAge: o.AuditAge}
}

// checkExposure refuses to serve other machines without authentication unless that is wished for.
func checkExposure(o serverOptions) error {
	host, _, err := net.SplitHostPort(o.HTTPAddr)
	if err != nil {
		return usagef("--http-addr %q is not HOST:PORT", o.HTTPAddr)
	}
	switch {
	case isLoopback(host):
		return nil
	case o.asksForTokens():
		if o.HTTPTLSCert == "" {
			o.Logger.Warn("tokens travel in clear text to this address: use --http-tls-cert, or a load balancer that speaks TLS", "address", o.HTTPAddr)
		}
		return nil
	case o.InsecureHTTP:
		return nil
	}
	return usagef("--http-addr %s is reachable from other machines, and --auth off lets anybody there run commands on your agents. "+
		"Leave --auth out, use a loopback address, or add --insecure-http if the network itself is guarded", o.HTTPAddr)
}

// announce lets the commands of the same user find the token of this server.
func (s *server) announce() {
	if !s.options.asksForTokens() {
		return
	}
	dir, err := filepath.Abs(s.options.DataDir)
	if err == nil {
		err = localserver.Write(s.options.Home, s.dashboardURL(), localserver.Server{DataDir: dir, PID: os.Getpid()})
	}
	if err != nil {
		s.options.Logger.Warn("the commands of this user cannot learn where the server's token is", "error", fmt.Errorf("write it below %s: %w", s.options.Home, err))
	}
}
