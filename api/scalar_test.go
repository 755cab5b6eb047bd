package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

func TestTimesAreWrittenAsOrionWritesThem(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"2026-11-23T00:29:20+00:00"`:        `"2026-11-23T00:29:20+00:00"`,
		`"2026-11-23T00:29:20Z"`:             `"2026-11-23T00:29:20+00:00"`,
		`"2026-11-23T09:30:00.5-05:00"`:      `"2026-11-23T14:30:00.500000+00:00"`,
		`"2026-11-23 09:30:00.123456789+01"`: `"2026-11-23T08:30:00.123456+00:00"`,
		`"2026-11-23T09:30+0530"`:            `"2026-11-23T04:00:00+00:00"`,
		`"2026-11-23T09:30:00"`:              `"2026-11-23T09:30:00+00:00"`,
		`"2026-11-23"`:                       `"2026-11-23T00:00:00+00:00"`,
		`1763857760`:                         `"2025-11-23T00:29:20+00:00"`,
		`1763857760.25`:                      `"2025-11-23T00:29:20.250000+00:00"`,
		`1763857760250`:                      `"2025-11-23T00:29:20.250000+00:00"`,
		`"1763857760"`:                       `"2025-11-23T00:29:20+00:00"`,
		`null`:                               `null`,
	} {
		var parsed Time
		if err := json.Unmarshal([]byte(in), &parsed); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got, _ := json.Marshal(parsed); string(got) != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{`"yesterday"`, `"2026-02-30T00:00:00Z"`, `"2026-13-01T00:00:00Z"`, `"2026-01-01T24:00:00Z"`, `"2026-01-01T10"`, `"2026-01-01T10:00:00.Z"`, `"2026-01-01T10:00:00+5"`, `""`, `true`, `"nan"`} {
		var parsed Time
		if err := json.Unmarshal([]byte(in), &parsed); err == nil {
			t.Errorf("%s was accepted as %s", in, parsed)
		}
	}
}

func TestDurationsAreSecondsWithADecimal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`0`: `0.0`, `41.315498`: `41.315498`, `"7.50"`: `7.5`, `-0.25`: `-0.25`, `1e3`: `1000.0`,
		`"P1D"`: `86400.0`, `"PT1H30M"`: `5400.0`, `"P1W"`: `604800.0`, `"-PT0.5S"`: `-0.5`,
		`"01:30"`: `90.0`, `"1:00:00"`: `3600.0`, `"2 01:00:00.5"`: `176400.5`, `"1 day, 0:00:01"`: `86401.0`,
		`8640000`: `8640000.0`,
	} {
		var parsed Duration
		if err := json.Unmarshal([]byte(in), &parsed); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got, _ := json.Marshal(parsed); string(got) != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{`"P1Y"`, `"P"`, `"soon"`, `"1:2:3:4"`, `"inf"`, `1e300`, `"PT"`, `"PT5"`, `"1:-2"`} {
		var parsed Duration
		if err := json.Unmarshal([]byte(in), &parsed); err == nil {
			t.Errorf("%s was accepted as %s", in, parsed)
		}
	}
}

func TestIDsAreReadInAnyUsualForm(t *testing.T) {
	t.Parallel()
	const want = "0f536aaa-216f-4c72-9c31-f3272bcdf977"
	for _, in := range []string{want, "0F536AAA-216F-4C72-9C31-F3272BCDF977", "0f536aaa216f4c729c31f3272bcdf977", "{" + want + "}", "urn:uuid:" + want} {
		if id, err := ParseID(in); err != nil || id.String() != want {
			t.Errorf("%s: got %s, %v", in, id, err)
		}
	}
	for _, in := range []string{"", "0f536aaa", want + "0", "zf536aaa-216f-4c72-9c31-f3272bcdf977"} {
		if id, err := ParseID(in); err == nil {
			t.Errorf("%q was accepted as %s", in, id)
		}
	}
	if got, _ := json.Marshal(map[ID]*ID{{}: nil}); string(got) != `{"00000000-0000-0000-0000-000000000000":null}` {
		t.Errorf("got %s", got)
	}
}

func TestNewIDsSortByTime(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1_800_000_000_000)
	var ids []ID
	for i := range 1000 {
		ids = append(ids, NewIDAt(start.Add(time.Duration(i)*time.Microsecond), uint64(1000-i)*0x9e3779b97f4a7c15))
	}
	if !slices.IsSortedFunc(ids, ID.Compare) {
		t.Error("ids of later moments sort before earlier ones")
	}
	if id := NewID(); id[6]>>4 != 7 || id[8]>>6 != 2 || time.Since(id.Time()).Abs() > time.Hour {
		t.Errorf("%s is no UUIDv7 of now", id)
	}
}

func TestRunNamesArePureAndTwoWords(t *testing.T) {
	t.Parallel()
	if len(runAdjectives) < 100 || len(runNouns) < 100 {
		t.Errorf("%d adjectives, %d nouns", len(runAdjectives), len(runNouns))
	}
	for _, words := range [][]string{runAdjectives, runNouns} {
		sorted := slices.Sorted(slices.Values(words))
		if len(slices.Compact(sorted)) != len(words) {
			t.Error("a word occurs twice")
		}
	}
	names := map[string]bool{}
	for i := range uint64(2000) {
		names[RunName(i)] = true
	}
	if again := RunName(7); len(names) != 2000 || !names[again] {
		t.Errorf("%d names", len(names))
	}
}

func TestKindsSurviveTheWayThroughHTTP(t *testing.T) {
	t.Parallel()
	for _, row := range kindStatus {
		if row.kind == KindUnknownOutcome && row.status == 503 {
			continue // told from KindUnavailable by the body
		}
		if got := KindOfStatus(row.status); got != row.kind {
			t.Errorf("status %d: got %s, want %s", row.status, got, row.kind)
		}
	}
	err := fmt.Errorf("read flow: %w", &Error{Kind: KindNotFound, Message: "Flow not found", Err: io.EOF})
	if !IsNotFound(err) || !errors.Is(err, io.EOF) || KindOf(io.EOF) != KindInternal || KindOf(nil) != "" {
		t.Errorf("kind %s", KindOf(err))
	}
}
