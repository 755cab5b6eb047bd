package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	googleauth "golang.org/x/oauth2/google"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// google is a bucket of Google Cloud Storage, by its JSON API. Google's own client for it would make the binary half as large again;
// the credentials, which are the hard part, are left to Google's library for them.
type google struct {
	base     string
	bucket   string
	identity string
	plain    *http.Client

	info     []byte // of the service account; nil: those of this machine, or none at another address than Google's
	nobody   bool
	mu       sync.Mutex // guards tokens
	tokens   oauth2.TokenSource
	attempts int
}

const (
	googleAddress = "https://storage.googleapis.com"
	googleScope   = "https://www.googleapis.com/auth/devstorage.read_write"
	firstPause    = 300 * time.Millisecond
)

func openGoogle(block *api.Block, transport *http.Transport) (objects, error) {
	var set struct {
		Bucket             string          `json:"bucket"`
		ServiceAccountInfo json.RawMessage `json:"service_account_info"`
		EndpointURL        string          `json:"endpoint_url"`
	}
	if err := storage.Decode(block, &set); err != nil {
		return nil, err
	}
	if set.Bucket == "" {
		return nil, unusable("bucket is empty")
	}
	g := &google{bucket: set.Bucket, plain: &http.Client{Transport: transport}, attempts: attempts}
	address := firstOf(set.EndpointURL, os.Getenv("STORAGE_EMULATOR_HOST"), googleAddress)
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	if parsed, err := url.Parse(address); err != nil || parsed.Host == "" {
		return nil, unusable(fmt.Sprintf("endpoint_url is %q; it must be an address like %s", address, googleAddress))
	}
	g.base = strings.TrimRight(address, "/")
	if info := bytes.TrimSpace(set.ServiceAccountInfo); len(info) > 0 && string(info) != "null" && string(info) != "{}" {
		config, err := googleauth.JWTConfigFromJSON(info, googleScope)
		if err != nil {
			return nil, unusable("service_account_info is not the JSON of a service account's key; `gcloud iam service-accounts keys create` makes one")
		}
		g.info, g.identity = info, "service account "+config.Email
	} else {
		g.nobody, g.identity = address != googleAddress, "those of this machine: GOOGLE_APPLICATION_CREDENTIALS, gcloud, or its service account"
	}
	return g, nil
}

// token is what a request shows, "" where none is asked for.
func (g *google) token(ctx context.Context) (string, error) {
	if g.nobody {
		return "", nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tokens == nil {
		// Tokens are fetched for later requests too: their context must not end with this one.
		lasting := context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Transport: g.plain.Transport, Timeout: answerTimeout})
		if g.info != nil {
			config, err := googleauth.JWTConfigFromJSON(g.info, googleScope)
			if err != nil {
				return "", refusedHere(g.identity, err)
			}
			g.tokens = config.TokenSource(lasting)
		} else {
			found, err := googleauth.FindDefaultCredentials(lasting, googleScope)
			if err != nil {
				return "", refusedHere(g.identity, err)
			}
			g.tokens = found.TokenSource
		}
	}
	token, err := g.tokens.Token()
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.Response != nil && answer.Response.StatusCode < 500 {
		var said struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		_ = json.Unmarshal(answer.Body, &said)
		return "", refused(g.identity, "Google", errors.New(firstOf(said.Description, said.Error, answer.Response.Status)))
	}
	if err != nil {
		return "", err
	}
	return token.AccessToken, nil
}

func (g *google) put(ctx context.Context, key string, data []byte) error {
	answer, err := g.send(ctx, http.MethodPost, "/upload/storage/v1/b/"+url.PathEscape(g.bucket)+"/o?uploadType=media&name="+url.QueryEscape(key), data)
	if err != nil {
		return err
	}
	if answer.StatusCode == http.StatusNotFound {
		_ = answer.Body.Close()
		return noBucket("bucket "+g.bucket, g.base, nil)
	}
	return g.explain(answer)
}

func (g *google) get(ctx context.Context, key string) ([]byte, error) {
	at := "/storage/v1/b/" + url.PathEscape(g.bucket)
	answer, err := g.send(ctx, http.MethodGet, at+"/o/"+url.PathEscape(key)+"?alt=media", nil)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusNotFound {
		_ = answer.Body.Close()
		// The answer does not say which of the two is missing.
		bucket, err := g.send(ctx, http.MethodGet, at+"?fields=name", nil)
		if err == nil && bucket.StatusCode == http.StatusNotFound {
			_ = bucket.Body.Close()
			return nil, noBucket("bucket "+g.bucket, g.base, nil)
		}
		if err == nil {
			_ = bucket.Body.Close()
		}
		return nil, missing("bucket "+g.bucket, key)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, g.explain(answer)
	}
	return readObject(answer.Body, answer.ContentLength)
}

// send makes a request, again while its failure may pass.
func (g *google) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		answer, err := g.try(ctx, method, path, body)
		passing := err != nil && api.KindOf(err) == api.KindInternal || err == nil && (answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500)
		if !passing || attempt == g.attempts {
			return answer, err
		}
		if err == nil {
			_ = answer.Body.Close()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause *= 3
	}
}

func (g *google) try(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	token, err := g.token(ctx)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, g.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	return g.plain.Do(request)
}

// explain is the error that an answer says, nil for none.
func (g *google) explain(answer *http.Response) error {
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if answer.StatusCode/100 == 2 {
		return nil
	}
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(text, &said)
	cause := errors.New(firstOf(said.Error.Message, answer.Status))
	if answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden {
		return refused(g.identity, g.base, cause)
	}
	return rejected(answer.StatusCode, cause)
}
