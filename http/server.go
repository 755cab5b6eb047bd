// Package httpapi serves Sluice's HTTP API: Orion-shaped objects, our own endpoints beside them, health and metrics. It turns
// requests into reads of a view and into commands, and knows nothing of how either reaches the other nodes. See DESIGN.md.
package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/http/internal/parameters"
)

// Config is what a Server needs. All fields without "default" must be set.
type Config struct {
	Proposer Proposer
	Reader   Reader
	Claims   Claims
	Events   Events
	Health   Health
	Secrets  Secrets
	// Cluster may be nil: its endpoints then answer 404.
	Cluster Cluster
	// Snapshots may be nil, as Cluster.
	Snapshots Snapshots
	Logger    *slog.Logger
	// Tokens knows who may do what; nil is no authentication: whoever reaches the address may do everything.
	Tokens Tokens
	// AllowOrigins are the web origins, like https://sluice.example.com, whose pages may use this server beside its own; "*" is all.
	AllowOrigins []string
	// GuardHost answers only requests for localhost, addresses and the hosts of AllowOrigins: for an address on this machine
	// without authentication, which a web page could otherwise reach under a name of its own.
	GuardHost bool
	// TLS serves HTTPS, in HTTP/2 to clients that speak it; it names a certificate or how to get one. nil is plain HTTP.
	TLS *tls.Config
	// UI are the files of the web interface, as package ui has them; nil serves none.
	UI fs.FS
	// BasePath is where a proxy has this server, like /sluice; "" is the root of its address. Requests are taken with and without it.
	BasePath string
	// Registry is where the HTTP layer registers its metrics and what /metrics shows: other packages register there too.
	Registry *prometheus.Registry
	// Version is Sluice's own, for people.
	Version string
	// Settings are the node's own by name, without secrets, for people.
	Settings map[string]string
	// Now is the clock; default time.Now.
	Now func() time.Time
	// LeaseTTL is how long an owner may be silent; default 12 s. Heartbeats are asked for every third of it.
	LeaseTTL time.Duration
	// LogQuota is how many bytes of logs a flow run may store; default 10 MiB.
	LogQuota int64
	// StrictHold is how long a write of an Orion client waits for a leader before 429; default 20 s.
	StrictHold time.Duration
	// StreamPing is the time between comments on an event stream, which keep proxies from closing it; default 15 s.
	StreamPing time.Duration
}

// Validate reports everything that is missing.
func (c *Config) Validate() error {
	var errs []error
	need := func(name string, missing bool) {
		if missing {
			errs = append(errs, fmt.Errorf("http config: %s is not set", name))
		}
	}
	need("Proposer", c.Proposer == nil)
	need("Reader", c.Reader == nil)
	need("Claims", c.Claims == nil)
	need("Events", c.Events == nil)
	need("Health", c.Health == nil)
	need("Secrets", c.Secrets == nil)
	need("Logger", c.Logger == nil)
	need("Registry", c.Registry == nil)
	return errors.Join(errs...)
}

// Server is the HTTP API of one node. It is an http.Handler by itself; Start also listens.
type Server struct {
	proposer Proposer
	reader   Reader
	claims   Claims
	events   Events
	health   Health
	secrets  Secrets
	cluster  Cluster

	pages     *pages // nil: no web interface
	basePath  string
	snapshots Snapshots
	tokens    Tokens // nil: no authentication
	origins   *origins
	keys      goodKeys
	schemas   parameters.Checker
	used      tokenUses

	news      *news
	slotTurns slotTurns
	logger    *slog.Logger
	registry  *prometheus.Registry
	version   string
	settings  map[string]string
	tls       *tls.Config
	now       func() time.Time

	leaseTTL   time.Duration
	logQuota   int64
	strictHold time.Duration
	streamPing time.Duration

	ids      *requestIDs
	metrics  *metrics
	table    []*route
	unrouted route
	router   *mux.Router
	document func() ([]byte, error) // the API's description, made when first asked for

	http     *http.Server
	port     *port
	drain    context.Context // ends when draining begins: streams and long polls that wait then end with it
	endDrain context.CancelFunc
	stop     context.Context // ends when Stop begins: so do those that came while the node drained
	endStop  context.CancelFunc
	failed   chan error    // capacity 1: why serving ended without Stop
	served   chan struct{} // closed when serving has ended
	stopOnce sync.Once
	stopErr  error
}

// New builds a Server. It serves as a handler at once; Start is only needed to listen.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		proposer: c.Proposer, reader: c.Reader, claims: c.Claims, events: c.Events, health: c.Health, secrets: c.Secrets, cluster: c.Cluster, snapshots: c.Snapshots,
		logger: c.Logger, registry: c.Registry, version: c.Version, settings: c.Settings, tls: c.TLS, now: c.Now,
		leaseTTL: c.LeaseTTL, logQuota: c.LogQuota, strictHold: c.StrictHold, streamPing: c.StreamPing,
		ids: newRequestIDs(), news: newNews(c.Events), failed: make(chan error, 1), served: make(chan struct{}),
	}
	s.drain, s.endDrain = context.WithCancel(context.Background())
	s.stop, s.endStop = context.WithCancel(context.Background())
	if s.now == nil {
		s.now = time.Now
	}
	setDefault(&s.leaseTTL, 12*time.Second)
	setDefault(&s.logQuota, 10<<20)
	setDefault(&s.strictHold, 20*time.Second)
	setDefault(&s.streamPing, 15*time.Second)
	var err error
	if s.metrics, err = newMetrics(c.Registry); err != nil {
		return nil, fmt.Errorf("register HTTP metrics: %w", err)
	}
	if s.origins, err = newOrigins(c.AllowOrigins, c.GuardHost); err != nil {
		return nil, fmt.Errorf("allow origins: %w", err)
	}
	if s.basePath, err = cleanBasePath(c.BasePath); err != nil {
		return nil, err
	}
	if c.UI != nil {
		if s.pages, err = newPages(c.UI); err != nil {
			return nil, fmt.Errorf("read the web interface: %w", err)
		}
	}
	s.tokens = c.Tokens
	s.table = routes()
	s.document = sync.OnceValues(Document)
	s.build()
	return s, nil
}

func setDefault[V comparable](v *V, otherwise V) {
	var zero V
	if *v == zero {
		*v = otherwise
	}
}

// Start serves on l until Stop. l is closed by Stop; if Listen opened it, whoever reached it before is answered.
func (s *Server) Start(l net.Listener) {
	if t, is := l.(tcp); is {
		s.port = &port{tcp: t}
		l = s.port
	}
	s.http = &http.Server{
		Handler: s,
		// A client has this long to send its headers; bodies have their own deadline.
		ReadHeaderTimeout: 20 * time.Second,
		// Longer than any answer takes to be made and read; streams move their deadline on with each event.
		WriteTimeout: 6 * time.Minute,
		// Well above any client's poll interval, so that no request meets a connection just closed.
		IdleTimeout:    3 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		TLSConfig:      s.tls,
	}
	serve := s.http.Serve
	if s.tls != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	go func() {
		defer close(s.served)
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) && s.stop.Err() == nil {
			s.failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	}()
}

// Failed delivers why serving ended, if it did so without Stop: nobody can reach the node any more.
func (s *Server) Failed() <-chan error { return s.failed }

// Drain makes /readyz say no, answers the long polls and ends the streams that wait, and closes each connection with its next
// answer. Requests are served as before: a load balancer takes its time to notice.
func (s *Server) Drain() { s.endDrain() }

// Stop drains, waits for requests that are being answered until ctx ends, and then closes what is left. It may be called
// more than once and without Start.
func (s *Server) Stop(ctx context.Context) error {
	s.Drain()
	s.endStop()
	if s.http == nil {
		return nil
	}
	s.stopOnce.Do(func() {
		if s.port != nil {
			s.port.closeSoftly()
			<-s.served
		}
		if err := s.http.Shutdown(ctx); err != nil {
			s.stopErr = errors.Join(fmt.Errorf("wait for HTTP requests to end: %w", err), s.http.Close())
		}
		<-s.served
		s.news.stop()
	})
	return s.stopErr
}

func (s *Server) isDraining() bool { return s.drain.Err() != nil }

// patience ends when a request that comes now should wait no longer: when the node begins to drain, or, while it does, when it stops.
func (s *Server) patience() context.Context {
	if s.isDraining() {
		return s.stop
	}
	return s.drain
}
