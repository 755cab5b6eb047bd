package relay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

const (
	// atOnce bounds how many values are in memory.
	atOnce = 8
	// path is below what the storages are. Clients complete an address without a path.
	path = "/storages"
	// openFor is how long an opened storage is used before its settings are read again.
	openFor = 30 * time.Second
)

// Blocks is the part of the API client that the server needs.
type Blocks interface {
	Block(ctx context.Context, id api.ID) (*api.Block, error)
}

// Config of a Server. Blocks is required.
type Config struct {
	Blocks Blocks
	// Places open the storages.
	Places storage.Places
	Logger *slog.Logger // nil means slog.Default()
}

// Server is the endpoint. Config → New → Start → Stop.
type Server struct {
	config   Config
	http     *http.Server
	served   chan struct{} // closed when http has returned
	url      string
	slots    chan struct{}
	stopping context.Context
	stop     context.CancelFunc

	mu     sync.Mutex // guards what follows
	tokens map[[sha256.Size]byte]struct{}
	opened map[api.ID]opening
}

type opening struct {
	store storage.Storage
	until time.Time
}

// New returns a server that does not listen yet.
func New(config Config) *Server {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	s := &Server{config: config, served: make(chan struct{}), slots: make(chan struct{}, atOnce),
		tokens: map[[sha256.Size]byte]struct{}{}, opened: map[api.ID]opening{}}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return s.stopping }, ErrorLog: slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug)}
	return s
}

// Start listens on a port of the loopback interface.
func (s *Server) Start() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for flow processes that use storages: %w", err)
	}
	s.url = "http://" + listener.Addr().String() + path
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.config.Logger.Error("Flow processes cannot use storages any more", "error", err)
		}
	}()
	return nil
}

// Stop ends what is being served and waits for it. It is called once, after Start.
func (s *Server) Stop() {
	s.stop()
	_ = s.http.Close()
	<-s.served
}

// Grant lets somebody in until revoke is called.
func (s *Server) Grant() (access Access, revoke func()) {
	token := rand.Text()
	hash := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[hash] = struct{}{}
	return Access{URL: s.url, Token: token}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.tokens, hash)
	}
}

func (s *Server) granted(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	hash := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.tokens[hash]
	return known && strings.EqualFold(scheme, "Bearer")
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.granted(r) {
		fail(w, &api.Error{Kind: api.KindUnauthenticated, Message: "the token is not good for the storages of this machine",
			Hint: "a flow process may use them while its run lasts; begin a new run"})
		return
	}
	if err := s.answer(w, r); err != nil {
		fail(w, err)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) error {
	id, err := api.ParseID(strings.TrimPrefix(r.URL.Path, path+"/"))
	if err != nil {
		return &api.Error{Kind: api.KindInvalid, Message: fmt.Sprintf("the path %s is not the id of a storage", r.URL.Path), Err: err}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	switch r.Method {
	case http.MethodPost:
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, Limit))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return &api.Error{Kind: api.KindTooLarge, Message: fmt.Sprintf("more than %d bytes are too many for one value", Limit),
				Hint: "store large data in files or a database of your own, and keep a link to it as the result"}
		}
		if err != nil {
			return err
		}
		store, err := s.open(r.Context(), id)
		if err != nil {
			return err
		}
		key, err := store.Write(r.Context(), data)
		if err != nil {
			return err
		}
		answer, err := json.Marshal(written{key})
		if err != nil {
			return err
		}
		send(w, http.StatusCreated, "application/json", answer)
		return nil
	case http.MethodGet:
		store, err := s.open(r.Context(), id)
		if err != nil {
			return err
		}
		data, err := store.Read(r.Context(), r.URL.Query().Get("key"))
		if err != nil {
			return err
		}
		send(w, http.StatusOK, "application/octet-stream", data)
		return nil
	}
	return api.NewError(api.KindInvalid, "values are written with POST and read with GET, not "+r.Method)
}

// open returns the storage of a block, as its settings were a short time ago at the latest.
func (s *Server) open(ctx context.Context, id api.ID) (storage.Storage, error) {
	s.mu.Lock()
	known := s.opened[id]
	s.mu.Unlock()
	if known.store != nil && time.Now().Before(known.until) {
		return known.store, nil
	}
	block, err := s.config.Blocks.Block(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the storage block: %w", err)
	}
	if block.BlockSpec == nil || !slices.Contains(relayed, block.BlockSpec.Name) {
		return nil, api.NewError(api.KindInvalid, fmt.Sprintf("block '%s' is not a storage that needs an endpoint: %s", block.Name, strings.Join(relayed, ", ")))
	}
	store, err := storage.Open(block, s.config.Places)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[id] = opening{store, time.Now().Add(openFor)}
	return store, nil
}

func send(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // who does not listen any more needs no answer
}

// fail sends an error with all that led to it: who asked is a process of the same user.
func fail(w http.ResponseWriter, err error) {
	kind := api.KindOf(err)
	if kind == api.KindUnreachable { // the cluster is, for the server
		kind = api.KindUnavailable
	}
	body := api.ErrorBody{Detail: err.Error(), Kind: kind}
	if known, ok := errors.AsType[*api.Error](err); ok {
		body.Hint = known.Hint
	}
	encoded, problem := json.Marshal(body)
	if problem != nil {
		encoded = []byte("{}")
	}
	send(w, kind.Status(), "application/json", encoded)
}
