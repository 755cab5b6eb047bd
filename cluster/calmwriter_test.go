package cluster

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func TestLinesThatRepeatAreWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	w := &calmWriter{out: &out, now: func() time.Time { return now }}
	say := func(format string, args ...any) {
		if n, err := fmt.Fprintf(w, format, args...); err != nil || n == 0 {
			t.Error(n, err)
		}
	}
	for i := range 100 {
		say("[ERR] memberlist: no key for 10.0.0.4:%d\n", i)
		now = now.Add(100 * time.Millisecond)
	}
	say("[ERR] memberlist: something else\n")
	now = now.Add(calmFor)
	say("[ERR] memberlist: no key for 10.0.0.4:7\n")
	if want := "[ERR] memberlist: no key for 10.0.0.4:0\n[ERR] memberlist: something else\n[ERR] memberlist: no key for 10.0.0.4:7\n"; out.String() != want {
		t.Errorf("written is\n%s", &out)
	}
	for i := range 2 * calmLines {
		say("%s\n", string(rune('a'+i)))
	}
	if len(w.seen) > calmLines {
		t.Errorf("%d lines are remembered", len(w.seen))
	}
}
