package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func TestAgesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		d     time.Duration
		shown string
	}{
		"90d":     {90 * 24 * time.Hour, "90d"},
		"2w":      {14 * 24 * time.Hour, "14d"},
		"1d12h":   {36 * time.Hour, "1d12h"},
		"36h":     {36 * time.Hour, "1d12h"},
		"1w1d1m":  {8*24*time.Hour + time.Minute, "8d1m"},
		"90s":     {90 * time.Second, "1m30s"},
		"500ms":   {500 * time.Millisecond, "500ms"},
		"forever": {0, "forever"},
		"None":    {0, "forever"},
		"0":       {0, "forever"},
		"86400":   {24 * time.Hour, "1d"},
	} {
		age, err := api.ParseAge(text)
		if err != nil || time.Duration(age) != want.d || age.String() != want.shown {
			t.Errorf("%q is %v, shown as %q (%v); want %v and %q", text, time.Duration(age), age, err, want.d, want.shown)
		}
		again, err := api.ParseAge(age.String())
		if err != nil || again != age {
			t.Errorf("%q, which is what %q is shown as, is %v (%v)", age, text, again, err)
		}
	}
	for _, text := range []string{"", "-1", "-3d", "d", "90 days", "1e99", "99999999w", "9223372036854775807", "-1h", "1d-2h", "90dd", "two weeks"} {
		if age, err := api.ParseAge(text); err == nil {
			t.Errorf("%q was read as %v", text, age)
		}
	}
	var age api.Age
	if err := json.Unmarshal([]byte("3600"), &age); err != nil || time.Duration(age) != time.Hour {
		t.Errorf("3600 is %v (%v)", age, err)
	}
}
