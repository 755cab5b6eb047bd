package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// leavingClaims plays a client that goes away while its claim waits.
type leavingClaims struct {
	Claims
	leave context.CancelFunc
}

func (c *leavingClaims) Claim(ctx context.Context, _ Demand) (Granted, error) {
	c.leave()
	<-ctx.Done()
	return Granted{}, ctx.Err()
}

func TestAClientThatWentAwayIsNoFailure(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	ctx, leave := context.WithCancel(t.Context())
	s := newStack(t, oneNode, func(c *Config) {
		c.Claims = &leavingClaims{c.Claims, leave}
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	})
	post := func(ctx context.Context, path, body string) *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		s.server.ServeHTTP(answer, request)
		return answer
	}
	agent, queue := api.NewID().String(), ""
	created := post(t.Context(), "/api/work_queues/", `{"name":"q"}`).Body.String()
	if i := strings.Index(created, `"id":"`); i >= 0 {
		queue = created[i+6 : i+42]
	}
	post(t.Context(), "/api/agents/", `{"id":"`+agent+`","name":"a","hostname":"h","pid":1,"version":"1","work_queue_ids":["`+queue+`"]}`)
	answer := post(ctx, "/api/agents/"+agent+"/claim", `{"work_queue_ids":["`+queue+`"],"limit":1,"wait_seconds":30,"claim_id":"`+api.NewID().String()+`"}`)
	if answer.Code != statusClientGone || strings.Contains(logged.String(), "request failed") {
		t.Fatalf("answered %d %s and logged %q", answer.Code, answer.Body, logged.String())
	}
}
