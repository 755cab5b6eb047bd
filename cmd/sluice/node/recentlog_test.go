package node

import (
	"fmt"
	"strings"
	"testing"
)

func TestRecentLogKeepsTheNewestLines(t *testing.T) {
	t.Parallel()
	l := NewRecentLog(100)
	for i := range 1000 {
		if n, err := fmt.Fprintf(l, "line %03d\n", i); n != 9 || err != nil {
			t.Fatal(n, err)
		}
	}
	text, lost := l.Lines()
	if len(text) != 99 || lost != 989 || !strings.HasPrefix(string(text), "line 989\n") || !strings.HasSuffix(string(text), "\nline 999\n") {
		t.Errorf("%d lines were lost, %d bytes are kept: %s", lost, len(text), text)
	}
	if _, err := l.Write(make([]byte, 101)); err != nil {
		t.Fatal(err)
	}
	if text, lost = l.Lines(); len(text) != 0 || lost != 1001 {
		t.Errorf("after a line that is too long: %d bytes, %d lost", len(text), lost)
	}
}
