package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// livez says that the process answers.
func livez(_ *Server, x *exchange) error { return x.text(http.StatusOK, "ok\n") }

// readyz says whether this node serves: 200, or 503 naming what fails. With ?verbose it lists every check.
func readyz(s *Server, x *exchange) error {
	checks := s.health.Checks(x.ctx)
	if s.isDraining() {
		checks = append(checks, Check{Name: "draining", Text: "this node is shutting down"})
	}
	verbose := x.r.URL.Query().Has("verbose")
	status := http.StatusOK
	var text strings.Builder
	for _, c := range checks {
		if !c.OK {
			status = http.StatusServiceUnavailable
		}
		if verbose || !c.OK || c.Warning {
			text.WriteString(c.Mark() + " " + c.Name)
			if c.Text != "" {
				text.WriteString(": " + c.Text)
			}
			text.WriteString("\n")
		}
	}
	if status == http.StatusOK {
		text.WriteString("ready\n")
	} else {
		x.Header().Set("Retry-After", "1")
		text.WriteString("not ready\n")
	}
	return x.text(status, text.String())
}

func (x *exchange) text(status int, text string) error {
	x.Header().Set("Content-Type", "text/plain; charset=utf-8")
	x.Header().Set("Cache-Control", "no-store")
	x.WriteHeader(status)
	_, _ = x.Write([]byte(text))
	return nil
}

func showMetrics(s *Server, x *exchange) error {
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: nil, Timeout: 10 * time.Second}).ServeHTTP(x, x.r)
	return nil
}

func apiHealth(_ *Server, x *exchange) error {
	x.out = append(x.out, "true"...)
	return x.send(http.StatusOK)
}

func apiHello(_ *Server, x *exchange) error {
	x.out = append(x.out, `"👋"`...)
	return x.send(http.StatusOK)
}
