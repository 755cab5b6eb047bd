package watch

import (
	"errors"
	"testing"
)

// Clients hold cursors and may send anything.
func FuzzParseCursor(f *testing.F) {
	for _, seed := range []string{Cursor{}.String(), Cursor{1, 1 << 63, 1<<32 - 1}.String(), "1-2", "-1-2-3", "+1-2-3", "4294967296-0-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err != nil {
			if c != (Cursor{}) {
				t.Errorf("%q is refused and yet %v", text, c)
			}
			return
		}
		if again, err := ParseCursor(c.String()); err != nil || again != c {
			t.Errorf("%q is %v, which is written %q: %v %v", text, c, c.String(), again, err)
		}
		b := NewBuffer(10, 1<<20, 3, 100)
		if _, err := b.SubscribeAfter(TopicFlowRun, c); err != nil && !errors.Is(err, ErrReset) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
