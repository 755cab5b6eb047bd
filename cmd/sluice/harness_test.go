package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"

	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/contract"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s\n got:\n%s\nwant:\n%s", name, got, want)
	}
}

// shell runs command lines with a home of their own.
type shell struct {
	t       *testing.T
	environ []string
	tty     bool
	width   int
	in      string
}

func newShell(t *testing.T, apiURL string) *shell {
	t.Helper()
	environ := []string{"SLUICE_HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_COLOR=1"}
	if apiURL != "" {
		environ = append(environ, "SLUICE_API_URL="+apiURL)
	}
	return &shell{t: t, environ: environ}
}

type outcomeOf struct {
	code     int
	out, err string
}

func (s *shell) run(args ...string) outcomeOf { return s.runContext(s.t.Context(), args...) }

func (s *shell) runContext(ctx context.Context, args ...string) outcomeOf {
	s.t.Helper()
	var out, errs bytes.Buffer
	code := run(ctx, process{
		args: args, in: strings.NewReader(s.in), out: &out, err: &errs, environ: s.environ, outTTY: s.tty,
		width: func() int { return s.width },
	})
	return outcomeOf{code, out.String(), errs.String()}
}

// ok runs a command line that must succeed and returns its stdout.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	result := s.run(args...)
	if result.code != exitOK {
		s.t.Fatalf("sluice %s: exit %d\n%s%s", strings.Join(args, " "), result.code, result.out, result.err)
	}
	return result.out
}

// contractOfAPI is the API's description, which holds for all that commands send.
var contractOfAPI = sync.OnceValues(func() (*contract.Checker, error) {
	document, err := httpapi.Document()
	if err != nil {
		return nil, err
	}
	return contract.New(document)
})

// request is one request that a server got.
type request struct {
	method, path, body string
}

// recorder is a server that answers with handle and keeps the requests.
type recorder struct {
	*httptest.Server
	mutex    sync.Mutex // guards requests
	requests []request
}

func record(t *testing.T, handle func(w http.ResponseWriter, r request)) *recorder {
	t.Helper()
	checker, err := contractOfAPI()
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	rec.Server = httptest.NewServer(checker.Requests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := request{r.Method, strings.TrimPrefix(r.URL.Path, "/api"), string(body)}
		rec.mutex.Lock()
		rec.requests = append(rec.requests, got)
		rec.mutex.Unlock()
		handle(w, got)
	}), func(err error) { t.Error(err) }))
	t.Cleanup(rec.Close)
	return rec
}

func (r *recorder) api() string { return r.URL + "/api" }

// sent returns the bodies of the requests to a path.
func (r *recorder) sent(method, path string) []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var bodies []string
	for _, request := range r.requests {
		if request.method == method && request.path == path {
			bodies = append(bodies, request.body)
		}
	}
	return bodies
}

// replay is a server that answers as a real Orion server once did: the traces of testdata, by method and path in their
// order, the last answer again and again.
func replay(t *testing.T, names ...string) *recorder {
	t.Helper()
	type answer struct {
		Method string          `json:"method"`
		Path   string          `json:"path"`
		Status int             `json:"status"`
		Body   json.RawMessage `json:"response_json"`
	}
	answers := map[string][]answer{}
	for _, name := range names {
		file, err := os.Open(filepath.Join("testdata", "traces", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var a answer
			if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			key := a.Method + " " + strings.TrimPrefix(a.Path, "/api")
			answers[key] = append(answers[key], a)
		}
		_ = file.Close()
	}
	var mutex sync.Mutex
	return record(t, func(w http.ResponseWriter, r request) {
		mutex.Lock()
		defer mutex.Unlock()
		key := r.method + " " + r.path
		left := answers[key]
		if len(left) == 0 {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"detail":"Not Found"}`)
			return
		}
		if len(left) > 1 {
			answers[key] = left[1:]
		}
		w.WriteHeader(left[0].Status)
		_, _ = w.Write(left[0].Body)
	})
}

// nowhere is an API address where nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String() + "/api"
}
