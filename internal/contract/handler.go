package contract

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
)

// OddHeader marks a request of a test that the server takes although the description does not say so, see Exchange.Odd. The
// server does not see it.
const OddHeader = "X-Test-Odd"

// Handler checks every request that next answers, and tells findings to report. An answer is checked after its end.
func (c *Checker) Handler(next http.Handler, report func(error)) http.Handler {
	return c.handler(next, c.Check, report)
}

// Requests checks the requests alone: next is a test's own server, which answers what its test needs.
func (c *Checker) Requests(next http.Handler, report func(error)) http.Handler {
	return c.handler(next, c.CheckRequest, report)
}

func (c *Checker) handler(next http.Handler, check func(Exchange) error, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := &recording{source: r.Body}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = request
		}
		asked := *r.URL // the server changes its own
		x := Exchange{Method: r.Method, URL: &asked, ContentType: r.Header.Get("Content-Type"), Odd: r.Header.Get(OddHeader) != "", Aborted: true}
		x.Strict = len(r.Header["X-Prefect-Api-Version"]) > 0
		r.Header.Del(OddHeader)
		answer := &recorder{ResponseWriter: w}
		defer func() {
			x.Body, x.Status, x.AnswerContentType, x.Answer = request.seen.Bytes(), answer.status, w.Header().Get("Content-Type"), plain(w.Header(), answer.seen.Bytes())
			if x.Status == 0 {
				return // aborted before it began
			}
			if err := check(x); err != nil {
				report(err)
			}
		}()
		next.ServeHTTP(answer, r)
		x.Aborted = false
	})
}

// most bounds what is kept of a body or an answer: longer ones are bytes, not JSON.
const most = 128 << 20

// recording keeps what is read of a body.
type recording struct {
	source io.ReadCloser
	seen   bytes.Buffer
}

func (r *recording) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	if r.seen.Len() < most {
		r.seen.Write(p[:n])
	}
	return n, err
}

func (r *recording) Close() error { return r.source.Close() }

// recorder keeps what is written.
type recorder struct {
	http.ResponseWriter
	status int
	seen   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if r.seen.Len() < most {
		r.seen.Write(p)
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// plain undoes the compression of an answer; one that breaks off is what came of it.
func plain(h http.Header, answer []byte) []byte {
	if h.Get("Content-Encoding") != "gzip" {
		return answer
	}
	unzip, err := gzip.NewReader(bytes.NewReader(answer))
	if err != nil {
		return answer
	}
	text, _ := io.ReadAll(unzip) // the contract finds what is missing
	return text
}
