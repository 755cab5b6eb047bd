package api

import (
	"encoding/json"
	"testing"
)

// What was read once is read the same again from what we write.
func FuzzScalarsRoundTrip(f *testing.F) {
	for _, seed := range []string{
		"2026-11-23T00:29:20.5-05:00", "1763857760.25", "9999-12-31T23:59:59.999999+14:00", "P1DT2H", "2 01:00:00.5", "-0.25",
		"0F536AAA216F4C729C31F3272BCDF977", "urn:uuid:0f536aaa-216f-4c72-9c31-f3272bcdf977", "0001-01-01T00:00:00Z", "a\"\\\x00\u2028\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := ParseTime(text); err == nil && !at.IsZero() {
			encoded, _ := At(at).MarshalJSON()
			var back Time
			if err := json.Unmarshal(encoded, &back); err == nil {
				if !back.Equal(At(at).Time) {
					t.Errorf("time %q became %s became %s", text, encoded, back)
				}
			} else if year := at.UTC().Year(); year >= 0 && year <= 9999 {
				t.Errorf("time %q became %s: %v", text, encoded, err)
			}
		}
		if d, err := ParseDuration(text); err == nil {
			encoded, _ := d.MarshalJSON()
			var back Duration
			if err := json.Unmarshal(encoded, &back); err != nil || back != d {
				t.Errorf("duration %q became %s became %s, %v", text, encoded, back, err)
			}
		}
		if id, err := ParseID(text); err == nil {
			if back, err := ParseID(id.String()); err != nil || back != id {
				t.Errorf("id %q became %s became %s, %v", text, id, back, err)
			}
		}
		var back, want string
		standard, _ := json.Marshal(text)
		if json.Unmarshal(appendString(nil, text), &back) != nil || json.Unmarshal(standard, &want) != nil || back != want {
			t.Errorf("text %q became %q", text, back)
		}
	})
}
