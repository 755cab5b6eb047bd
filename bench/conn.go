// Package bench is the load client behind `sluice bench`: it speaks the HTTP API as any client does, from a process of its
// own, and measures what docs/performance.md reports.
package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn is one keep-alive HTTP/1.1 connection. net/http's client would take a third of a two-core machine for itself; this
// one sends a request in one write and reads an answer with a Content-Length, which is all the API ever answers to it.
type conn struct {
	host string
	net  net.Conn
	in   *bufio.Reader
	out  []byte
	body []byte
}

func dial(host string) (*conn, error) {
	c, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", host, err)
	}
	return &conn{host: host, net: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

func (c *conn) close() { _ = c.net.Close() }

// post sends a JSON body and returns status and body of the answer; the body is valid until the next call.
func (c *conn) post(path string, body []byte, headers ...string) (int, []byte, error) {
	return c.do("POST", path, body, headers...)
}

func (c *conn) do(method, path string, body []byte, headers ...string) (int, []byte, error) {
	c.out = append(c.out[:0], method...)
	c.out = append(c.out, ' ')
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.host...)
	c.out = append(c.out, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	for _, h := range headers {
		c.out = append(c.out, "\r\n"...)
		c.out = append(c.out, h...)
	}
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.net.Write(c.out); err != nil {
		return 0, nil, fmt.Errorf("send %s %s: %w", method, path, err)
	}
	status, answer, err := c.read()
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	return status, answer, nil
}

func (c *conn) read() (int, []byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	length := 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(strings.TrimSpace(string(value))); err != nil {
				return 0, nil, fmt.Errorf("content length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return 0, nil, errors.New("the answer is chunked")
		}
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.in, c.body)
	return status, c.body, err
}

// field returns the text value of the first `"name":"value"` in a JSON answer: ids need no parser.
func field(answer []byte, name string) string {
	key := []byte(`"` + name + `":"`)
	i := bytes.Index(answer, key)
	if i < 0 {
		key = []byte(`"` + name + `": "`)
		if i = bytes.Index(answer, key); i < 0 {
			return ""
		}
	}
	rest := answer[i+len(key):]
	j := bytes.IndexByte(rest, '"')
	if j < 0 {
		return ""
	}
	return string(rest[:j])
}
