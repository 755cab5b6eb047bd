package httpapi

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

var namedParameter = regexp.MustCompile(`\{[a-z_]+\}`)

// nowhereOn fills the parameters of a path with what names nothing.
func nowhereOn(path string) string {
	return namedParameter.ReplaceAllString(strings.ReplaceAll(path, "{id}", nobody), "x")
}

// TestMalformedBodiesStoreNothingOnAnyRoute walks the routes that take a body.
func TestMalformedBodiesStoreNothingOnAnyRoute(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	s.must(201, "POST", "/api/flows/", object{"name": "f"})
	hash := func() any {
		view, err := s.node.machine.View()
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		h, err := view.Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	before := hash()
	bodies := map[string]string{
		"no JSON": "garbage", "cut off": `{"name":"a`, "two values": `{} {}`, "a NUL byte": "{\"name\":\"a\x00b\"}", "no UTF-8": "{\"name\":\"\xff\xfe\"}",
		"too deep": `{"name":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "a trailing comma": `{"name":"a",}`,
	}
	walked := 0
	all := operationsOf(t)
	for _, rt := range routes() {
		if !all[rt.method+" "+rt.fullPath()].hasBody() || rt.rawBody || strings.HasPrefix(rt.path, "/cluster/") {
			continue // what is asked of the cluster itself is in the audit record, whatever becomes of it
		}
		walked++
		if now := hash(); now != before {
			t.Errorf("something was stored before %s %s", rt.method, rt.path)
			before = now
		}
		path := "/api" + nowhereOn(rt.path)
		for what, body := range bodies {
			a := s.do(rt.method, path, body)
			if a.status < 400 || a.status >= 500 || a.object(t)["detail"] == "" || a.object(t)["kind"] == nil {
				t.Errorf("%s %s with %s: %d %.200s", rt.method, path, what, a.status, a.text)
			}
		}
		if status := s.declares(rt.method, path, rt.bodyLimit()+1); status != 413 {
			t.Errorf("%s %s with more than its limit: %d", rt.method, path, status)
		}
		if a := s.do(rt.method, path, `{"name":"a"}`, "Content-Type", "text/xml"); a.status != 415 || a.object(t)["hint"] == nil {
			t.Errorf("%s %s in XML: %d %.200s", rt.method, path, a.status, a.text)
		}
	}
	if walked < 40 {
		t.Errorf("only %d routes take a body", walked)
	}
	if now := hash(); now != before {
		t.Error("something was stored")
	}
}

// declares sends a request that says how long its body is and begins with it; it returns the status.
func (s *stack) declares(method, path string, length int64) int {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", method, path, length)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil { // the server would wait for some of the rest
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// FuzzRoutes sends anything as the body of any route; no answer is a defect, and each is described.
func FuzzRoutes(f *testing.F) {
	for i, body := range []string{`{"flow_runs":{"id":{"any_":[]}},"limit":1}`, `{"name":"a","flow_id":"` + nobody + `"}`, `[{}]`, "null", `{"state":{"type":"RUNNING"}}`} {
		f.Add(uint(i), []byte(body))
	}
	s := newStack(f, oneNode)
	var table []*route
	for _, rt := range routes() {
		if rt.method != "GET" && !rt.stream && !rt.rawBody {
			table = append(table, rt)
		}
	}
	f.Fuzz(func(t *testing.T, n uint, body []byte) {
		s.t = t
		defer func() { s.t = f }()
		rt := table[n%uint(len(table))]
		if a := s.do(rt.method, "/api"+nowhereOn(rt.path), body, oddly...); a.status >= 500 && a.status != 503 {
			t.Errorf("%s %s: %d %s", rt.method, rt.path, a.status, a.text)
		}
	})
}
