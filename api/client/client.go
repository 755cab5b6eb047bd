// Package client is the Go client of the Sluice API. It knows several addresses of one cluster, stays with the one that
// answered last, and repeats a request only where that is harmless. Failures are *api.Error.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/api"
)

const (
	// defaultRequestTimeout bounds one attempt; a server holds a request for 5 s at most while it has no leader.
	defaultRequestTimeout = 30 * time.Second
	firstBackoff          = 50 * time.Millisecond
	maxBackoff            = 3 * time.Second
	maxAnswer             = 256 << 20
)

// Config says where the cluster is and how patient the client is.
type Config struct {
	// Addresses are the base addresses of the API, like http://127.0.0.1:4200/api, tried in turn. See ParseAddresses.
	Addresses []string
	// Token is sent as Bearer token if not empty.
	Token string
	// CAFile names the PEM file with the certificates that may sign those of https addresses; "" is whom the machine trusts.
	CAFile string
	// RetryFor is how long a request is repeated while that is harmless and no server does it. 0 means that each address is
	// tried once; commands use that, so that a missing server is reported at once. Negative means until the context ends.
	RetryFor time.Duration
	// RequestTimeout bounds each attempt, 30 s if zero. Long polls and streams add what they wait.
	RequestTimeout time.Duration
	// UserAgent is sent with each request.
	UserAgent string
	// Transport replaces the transport, for faults in tests.
	Transport http.RoundTripper
	// Logger gets failed attempts at debug level; nil drops them.
	Logger *slog.Logger
}

// Client speaks to one cluster. It is safe for concurrent use.
type Client struct {
	config    Config
	http      *http.Client
	addresses []string
	// current is the position in addresses of the one that answered last.
	current atomic.Int64
	// index is the last X-Sluice-Index of a write; sent back, reads on any node see that write.
	index atomic.Pointer[string]
}

// ParseAddresses splits a comma-separated list of API addresses and checks each.
func ParseAddresses(list string) ([]string, error) {
	var addresses []string
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimRight(strings.TrimSpace(part), "/")
		if part == "" {
			continue
		}
		parsed, err := url.Parse(part)
		if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
			return nil, &api.Error{
				Kind:    api.KindInvalid,
				Message: fmt.Sprintf("%q is not an API address", part),
				Hint:    "use the form http://HOST:4200/api",
			}
		}
		if strings.Trim(parsed.Path, "/") == "" && parsed.RawQuery == "" && parsed.Fragment == "" {
			part += "/api" // everything of the API is below it
		}
		addresses = append(addresses, part)
	}
	if len(addresses) == 0 {
		return nil, &api.Error{Kind: api.KindInvalid, Message: "no API address is given", Hint: "use the form http://HOST:4200/api"}
	}
	return addresses, nil
}

// New returns a client; it does not connect.
func New(config Config) (*Client, error) {
	addresses, err := ParseAddresses(strings.Join(config.Addresses, ","))
	if err != nil {
		return nil, err
	}
	if config.RequestTimeout == 0 {
		config.RequestTimeout = defaultRequestTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	transport := config.Transport
	if transport == nil {
		plain := NewTransport()
		if config.CAFile != "" {
			if plain.TLSClientConfig, err = trusting(config.CAFile); err != nil {
				return nil, err
			}
		}
		transport = plain
	}
	return &Client{config: config, http: &http.Client{Transport: transport}, addresses: addresses}, nil
}

// trusting returns TLS that trusts the authorities of a file.
func trusting(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the certificate that signs the API's: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// NewTransport returns the transport that clients use by default: connections are kept, and a dead address is noticed in
// seconds.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConns:          512,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
	}
}

// Close closes idle connections. Requests in flight are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Address returns the address that answered last, or the first.
func (c *Client) Address() string { return c.addresses[c.position()] }

// Addresses returns all addresses.
func (c *Client) Addresses() []string { return c.addresses }

func (c *Client) position() int { return int(c.current.Load()) % len(c.addresses) }

// call is one request of the API.
type call struct {
	method string
	path   string
	body   any    // encoded as JSON; []byte is sent as it is
	out    any    // where the answer is decoded to; nil drops it
	lease  string // the lease token under which it is made
	header http.Header
	// harmless says that doing it twice does the same as doing it once, so it may be repeated when the outcome is unknown.
	harmless bool
	// reads says that it changes nothing; its index is then not remembered.
	reads bool
	// wait is what the server may take on top of the request timeout.
	wait time.Duration
}

// outcome classes a failed attempt.
type outcome int

const (
	final   outcome = iota // the server decided; repeating is useless
	notDone                // surely not done
	unknown                // may have been done
)

// do performs a call and returns the status of the answer.
func (c *Client) do(ctx context.Context, request call) (int, error) {
	keyed(ctx, &request)
	var body []byte
	switch value := request.body.(type) {
	case nil:
	case []byte:
		body = value
	default:
		encoded, err := json.Marshal(value)
		if err != nil {
			return 0, fmt.Errorf("encode request: %w", err)
		}
		body = encoded
	}
	start := time.Now()
	position := c.position()
	backoff := firstBackoff
	var told error // the last failure that a server told, worth more than that another did not answer
	for attempt := 1; ; attempt++ {
		address := c.addresses[position%len(c.addresses)]
		status, wait, result, err := c.attempt(ctx, position, request, body)
		if err == nil {
			return status, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("%s %s: %w", request.method, request.path, context.Cause(ctx))
		}
		if result == final || (result == unknown && !request.harmless) {
			return status, err
		}
		c.config.Logger.Debug("request failed", "address", address, "method", request.method, "path", request.path,
			"attempt", attempt, "error", err)
		if status != 0 {
			told = err
		}
		position++
		if attempt < len(c.addresses) {
			continue
		}
		if c.config.RetryFor >= 0 && time.Since(start)+backoff > c.config.RetryFor {
			if told != nil {
				return status, told
			}
			return status, err
		}
		if err := pause(ctx, max(wait, jitter(backoff))); err != nil {
			return 0, fmt.Errorf("%s %s: %w", request.method, request.path, err)
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// jitter returns between a half and the whole of d, so that clients that failed together do not come back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func (c *Client) newRequest(ctx context.Context, address string, request call, body []byte) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, request.method, address+request.path, reader)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for key, values := range request.header {
		r.Header[key] = values
	}
	if c.config.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	if c.config.UserAgent != "" {
		r.Header.Set("User-Agent", c.config.UserAgent)
	}
	if request.lease != "" {
		r.Header.Set(api.HeaderLease, request.lease)
	}
	if index := c.index.Load(); index != nil {
		r.Header.Set(api.HeaderMinIndex, *index)
	}
	return r, nil
}

// attempt sends the call to one address, and stays with it if it answers. wait is the server's Retry-After.
func (c *Client) attempt(ctx context.Context, position int, request call, body []byte) (status int, wait time.Duration, result outcome, err error) {
	attemptCtx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout+request.wait)
	defer cancel()
	address := c.addresses[position%len(c.addresses)]
	r, err := c.newRequest(attemptCtx, address, request, body)
	if err != nil {
		return 0, 0, final, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return 0, 0, classify(err), unreachable(c.addresses, address, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, 0, unknown, unreachable(c.addresses, address, err)
	}
	if response.StatusCode >= 400 {
		apiErr := decodeError(response, answer)
		return response.StatusCode, retryAfter(response), outcomeOf(apiErr.Kind), apiErr
	}
	if response.Close {
		position++ // a node that stops closes with its answers: its port is next
	}
	c.current.Store(int64(position % len(c.addresses)))
	if index := response.Header.Get(api.HeaderIndex); index != "" && !request.reads {
		c.index.Store(&index)
	}
	if request.out == nil || response.StatusCode == http.StatusNoContent {
		return response.StatusCode, 0, final, nil
	}
	if err := json.Unmarshal(answer, request.out); err != nil {
		return response.StatusCode, 0, final, &api.Error{
			Kind:    api.KindInternal,
			Message: fmt.Sprintf("the answer of %s to %s %s is not what the API promises", address, request.method, request.path),
			Hint:    "check that the address is that of a Sluice server; it ends in /api",
			Err:     err,
		}
	}
	return response.StatusCode, 0, final, nil
}

// classify says whether a transport error leaves open that the server got the request.
func classify(err error) outcome {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return notDone
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return notDone
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok { // before anything was sent
		return notDone
	}
	return unknown
}

func outcomeOf(kind api.Kind) outcome {
	switch kind {
	case api.KindUnavailable:
		return notDone
	case api.KindUnknownOutcome:
		return unknown
	}
	return final
}

func retryAfter(response *http.Response) time.Duration {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxBackoff)
}

// unreachable tells which address did not answer and what to do.
func unreachable(addresses []string, address string, err error) *api.Error {
	at := address
	if len(addresses) > 1 {
		at = strings.Join(addresses, ", ")
	}
	return &api.Error{
		Kind:    api.KindUnreachable,
		Message: fmt.Sprintf("cannot reach the Sluice API at %s: %s", at, reasonOf(err)),
		Hint:    hintOf(err),
	}
}

// hintOf says what to do when a request got no answer.
func hintOf(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return `if the server is yours, name the file with the certificate that signs its certificate: "sluice config set SLUICE_API_CA_FILE=/path/to/ca.pem"`
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use an address that the server's certificate is for, or give the server a certificate for this one"
	}
	if expired, ok := errors.AsType[x509.CertificateInvalidError](err); ok && expired.Reason == x509.Expired {
		return "give the server a new certificate at the old place (no restart is needed), and compare the clocks of both machines"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return "the server speaks plain HTTP: use http:// in the address, or start it with --http-tls-cert and --http-tls-key"
	}
	return `start one with "sluice server start", or point to another with "sluice config set SLUICE_API_URL=http://HOST:4200/api"`
}

// reasonOf says in a few words why a request failed, without the address that the message names already.
func reasonOf(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "host " + dns.Name + " is not known"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer in time"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was closed before the answer"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err.Error()
	}
	return err.Error()
}

// errorBody is the union of all forms of error bodies.
type errorBody struct {
	Detail           json.RawMessage `json:"detail"`
	Message          string          `json:"message"`
	ExceptionMessage string          `json:"exception_message"`
	ExceptionDetail  []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	} `json:"exception_detail"`
	Kind      api.Kind `json:"kind"`
	Hint      string   `json:"hint"`
	RequestID string   `json:"request_id"`
}

// decodeError makes the answer of a failed request an Error.
func decodeError(response *http.Response, answer []byte) *api.Error {
	var body errorBody
	_ = json.Unmarshal(answer, &body) // a body in another form, of a proxy say, leaves only the status
	result := &api.Error{Kind: body.Kind, Hint: body.Hint, RequestID: body.RequestID}
	if result.Kind == "" {
		result.Kind = api.KindOfStatus(response.StatusCode)
	}
	if result.RequestID == "" {
		result.RequestID = response.Header.Get(api.HeaderRequestID)
	}
	var detail string
	_ = json.Unmarshal(body.Detail, &detail)
	switch {
	case len(body.ExceptionDetail) > 0:
		var parts []string
		for _, item := range body.ExceptionDetail {
			var place []string
			for i, step := range item.Loc {
				if i > 0 || step != "body" {
					place = append(place, fmt.Sprint(step))
				}
			}
			part := item.Msg
			if len(place) > 0 {
				part = strings.Join(place, ".") + ": " + part
			}
			parts = append(parts, part)
		}
		result.Message = strings.Join(parts, "; ")
	case detail != "":
		result.Message = detail
	case body.Message != "":
		result.Message = body.Message
	case body.ExceptionMessage != "":
		result.Message = body.ExceptionMessage
	case response.StatusCode == http.StatusBadRequest && bytes.Contains(answer, []byte("HTTP request to an HTTPS server")): // so says Go's server
		result.Message = fmt.Sprintf("the server at %s speaks HTTPS only", response.Request.URL.Host)
		result.Hint = "use https:// in the address of the API"
	default:
		result.Message = fmt.Sprintf("%s %s answered %s", response.Request.Method, response.Request.URL, response.Status)
		switch response.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout: // a node would say why: this is a proxy
			result.Hint = "no node behind the load balancer there is ready; ask one itself: sluice cluster health --api http://NODE:4200/api"
		}
	}
	return result
}
