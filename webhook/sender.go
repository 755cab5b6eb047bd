package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	// sendTimeout bounds one attempt, from the name's lookup to the end of the answer.
	sendTimeout = 10 * time.Second
	// answerBytes is how much of an answer is read, so that its connection can be used again.
	answerBytes = 64 << 10
)

// Sender sends messages. It is safe for concurrent use.
type Sender struct {
	http   *http.Client
	now    func() time.Time
	agent  string
	closer func()
}

// NewSender returns a sender that reaches public addresses, and private and loopback ones if allowPrivate says so. Addresses of a
// machine's own network segment, where clouds keep their metadata, it never reaches.
func NewSender(version string, allowPrivate bool) *Sender {
	dialer := &net.Dialer{Timeout: sendTimeout, Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address, allowPrivate) }}
	transport := &http.Transport{
		// No proxy: it would be asked to reach what must not be reached.
		DialContext: dialer.DialContext, MaxIdleConns: 64, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: sendTimeout,
		ResponseHeaderTimeout: sendTimeout, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}
	return &Sender{
		http: &http.Client{Transport: transport, Timeout: sendTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		now: time.Now, agent: "sluice/" + version, closer: transport.CloseIdleConnections,
	}
}

// Close gives idle connections up.
func (s *Sender) Close() { s.closer() }

// ErrForbiddenAddress is in the chain of what is wrong with an address that is not reached.
var ErrForbiddenAddress = errors.New("webhooks do not reach this address")

// metadata are addresses outside the link-local ranges where clouds keep their metadata.
var metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

// checkAddress is asked with the address that a name was resolved to, so that no name leads around it.
func checkAddress(address string, allowPrivate bool) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrForbiddenAddress, address)
	}
	ip := embedded(target.Addr().WithZone("").Unmap())
	for _, m := range metadata {
		if ip == m {
			return fmt.Errorf("%w: %s is a cloud's metadata service", ErrForbiddenAddress, ip)
		}
	}
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsUnspecified(), ip.IsMulticast(), ip.IsInterfaceLocalMulticast():
		return fmt.Errorf("%w: %s is of the machine's own network segment", ErrForbiddenAddress, ip)
	case (ip.IsLoopback() || ip.IsPrivate() || carrier.Contains(ip) || translatedLocally.Contains(ip)) && !allowPrivate:
		return fmt.Errorf("%w: %s is private; the nodes allow that with --webhook-allow-private", ErrForbiddenAddress, ip)
	}
	return nil
}

var (
	// translated is what a NAT64 gateway reaches by IPv4 (RFC 6052): the last four bytes say where.
	translated = netip.MustParsePrefix("64:ff9b::/96")
	// translatedLocally is the same for a network's own use (RFC 8215): how it is laid out, its operator decides.
	translatedLocally = netip.MustParsePrefix("64:ff9b:1::/48")
	// tunnelled is 6to4: the four bytes after the prefix say which router gets it.
	tunnelled = netip.MustParsePrefix("2002::/16")
	// compatible is how IPv4 was once written in IPv6.
	compatible = netip.MustParsePrefix("::/96")
)

// embedded returns the IPv4 address that somebody on the way takes out of an IPv6 one, otherwise the address itself.
func embedded(ip netip.Addr) netip.Addr {
	b := ip.As16()
	switch {
	case translated.Contains(ip), compatible.Contains(ip) && !ip.IsLoopback() && !ip.IsUnspecified():
		return netip.AddrFrom4([4]byte(b[12:]))
	case tunnelled.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}

// carrier is shared address space behind carriers' NAT, which overlays use as private networks.
var carrier = netip.MustParsePrefix("100.64.0.0/10")

// CheckURL says what is wrong with the address of a webhook, nil when nothing can be seen.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("it is no URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it must begin with https:// or http://")
	case u.Hostname() == "":
		return errors.New("it names no host")
	case u.User != nil:
		return errors.New("it must not hold a password: messages are signed, which tells the receiver who sent them")
	case u.Fragment != "":
		return errors.New("it must not have a fragment")
	case len(text) > 2000:
		return errors.New("it is longer than 2000 bytes")
	}
	return nil
}

// Answer is what came of an attempt.
type Answer struct {
	Code  int    // 0: there was no response
	Error string // "" when it was delivered
	Took  time.Duration
	After time.Duration // how long the receiver asked to wait, 0 when it did not
}

// Send makes one attempt.
func (s *Sender) Send(ctx context.Context, w *row.Webhook, key []byte, d *row.Delivery) Answer {
	began := time.Now()
	a := s.send(ctx, w, key, d)
	a.Took = time.Since(began)
	return a
}

func (s *Sender) send(ctx context.Context, w *row.Webhook, key []byte, d *row.Delivery) Answer {
	body, err := Body(w, d)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Url, bytes.NewReader(body))
	if err != nil {
		return Answer{Error: err.Error()}
	}
	id, now := api.ID(d.Id).String(), s.now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", s.agent)
	request.Header.Set(HeaderID, id)
	request.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(HeaderSignature, Sign(key, id, now, body))
	response, err := s.http.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the URL may hold what the log should not
		}
		return Answer{Error: err.Error()}
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, answerBytes)
	a := Answer{Code: response.StatusCode}
	switch {
	case response.StatusCode >= 200 && response.StatusCode < 300:
	case response.StatusCode >= 300 && response.StatusCode < 400:
		a.Error = fmt.Sprintf("the receiver answered %d: redirects are not followed", response.StatusCode)
	default:
		a.Error = fmt.Sprintf("the receiver answered %d", response.StatusCode)
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			a.After = min(time.Duration(min(seconds, 3600))*time.Second, time.Hour)
		}
	}
	return a
}
