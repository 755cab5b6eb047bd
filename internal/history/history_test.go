package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHistoriesThatNoOrderExplainsAreRefused(t *testing.T) {
	t.Parallel()
	write := func(c *Client, value string) { c.Begin(Input{"x", Write, value}).Answered(Output{}) }
	read := func(c *Client, value string) { c.Begin(Input{"x", Read, ""}).Answered(Output{Value: value}) }
	take := func(c *Client, owner string, won bool) {
		c.Begin(Input{"lock", Take, owner}).Answered(Output{Won: won})
	}
	for what, test := range map[string]struct {
		story func(a, b *Client)
		good  bool
	}{
		"what was written is read":           {func(a, b *Client) { write(a, "1"); read(b, "1") }, true},
		"a stale read":                       {func(a, b *Client) { write(a, "1"); write(a, "2"); read(b, "1") }, false},
		"a lost write":                       {func(a, b *Client) { write(a, "1"); read(b, "") }, false},
		"a value that nobody wrote":          {func(a, b *Client) { read(b, "1") }, false},
		"a write that was not done, but was": {func(a, b *Client) { a.Begin(Input{"x", Write, "1"}).NotDone(); read(b, "1") }, false},
		"a read that goes back": {func(a, b *Client) {
			c := a.Begin(Input{"x", Write, "1"})
			read(b, "1")
			read(b, "")
			c.Answered(Output{})
		}, false},
		"a write during a read": {func(a, b *Client) {
			c := a.Begin(Input{"x", Write, "1"})
			read(b, "")
			read(b, "1")
			c.Answered(Output{})
		}, true},
		"an unknown write that comes late": {func(a, b *Client) {
			a.Begin(Input{"x", Write, "1"}).Unknown()
			write(a, "2")
			read(b, "2")
			read(b, "1")
		}, true},
		"an unknown write that comes twice": {func(a, b *Client) {
			a.Begin(Input{"x", Write, "1"}).Unknown()
			read(b, "1")
			write(a, "2")
			read(b, "1")
		}, false},
		"one owner":                      {func(a, b *Client) { take(a, "a", true); take(b, "b", false); take(a, "a", true) }, true},
		"two owners":                     {func(a, b *Client) { take(a, "a", true); take(b, "b", true) }, false},
		"nobody owns what was taken":     {func(a, b *Client) { take(a, "a", false) }, false},
		"an owner that does not know it": {func(a, b *Client) { a.Begin(Input{"lock", Take, "a"}).Unknown(); take(b, "b", false) }, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l, dir := NewLog(), t.TempDir()
			test.story(l.Client(), l.Client())
			err := l.Check(dir)
			if test.good {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("the history was accepted")
			}
			picture := filepath.Join(dir, "history.html")
			if info, serr := os.Stat(picture); serr != nil || info.Size() == 0 || !strings.Contains(err.Error(), picture) {
				t.Errorf("no picture of it: %v, %v", err, serr)
			}
		})
	}
}
