package api

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time, in JSON a number of seconds with at least one decimal (0.0, 41.315498), to the microsecond.
// Decoding accepts a number of seconds, an ISO 8601 duration (P1DT2H) and [D ][HH:]MM:SS[.ffffff].
type Duration time.Duration

var errNotDuration = errors.New("invalid duration format")

// Seconds returns a Duration of that many seconds.
func Seconds(s float64) Duration { return Duration(math.Round(s*1e6)) * 1000 }

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Seconds returns the number of seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

// String returns the JSON form.
func (d Duration) String() string { return string(d.appendJSON(nil)) }

// MarshalJSON encodes the seconds.
func (d Duration) MarshalJSON() ([]byte, error) { return d.appendJSON(make([]byte, 0, 24)), nil }

func (d Duration) appendJSON(b []byte) []byte {
	micros := int64(time.Duration(d).Round(time.Microsecond) / time.Microsecond)
	if micros < 0 {
		b = append(b, '-')
		micros = -micros
	}
	b = strconv.AppendInt(b, micros/1e6, 10)
	b = append(b, '.')
	fraction := micros % 1e6
	if fraction == 0 {
		return append(b, '0')
	}
	b = appendPadded(b, int(fraction), 6)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// UnmarshalJSON decodes any accepted form.
func (d *Duration) UnmarshalJSON(data []byte) error {
	s := string(data)
	if s == "null" {
		return nil
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	parsed, err := ParseDuration(s)
	if err == nil {
		*d = parsed
	}
	return err
}

// ParseDuration reads a duration in any of the accepted forms.
func ParseDuration(s string) (Duration, error) {
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		return secondsInRange(seconds)
	}
	sign := 1.0
	rest := s
	if strings.HasPrefix(rest, "-") {
		sign, rest = -1, rest[1:]
	} else {
		rest = strings.TrimPrefix(rest, "+")
	}
	var seconds float64
	var err error
	if strings.HasPrefix(rest, "P") {
		seconds, err = isoSeconds(rest[1:])
	} else {
		seconds, err = clockSeconds(rest)
	}
	if err != nil {
		return 0, err
	}
	return secondsInRange(sign * seconds)
}

func secondsInRange(seconds float64) (Duration, error) {
	if math.IsNaN(seconds) || math.Abs(seconds) > 9e9 { // about 285 years, what time.Duration holds
		return 0, errNotDuration
	}
	return Seconds(seconds), nil
}

// isoSeconds reads the part of an ISO 8601 duration after the P. Years and months have no fixed length and are refused.
func isoSeconds(s string) (float64, error) {
	units := map[byte]float64{'W': 7 * 86400, 'D': 86400}
	total, parts := 0.0, 0
	for s != "" {
		if s[0] == 'T' {
			units = map[byte]float64{'H': 3600, 'M': 60, 'S': 1}
			s = s[1:]
			continue
		}
		end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
		if end <= 0 {
			return 0, errNotDuration
		}
		value, err := strconv.ParseFloat(strings.Replace(s[:end], ",", ".", 1), 64)
		factor, known := units[s[end]]
		if err != nil || !known {
			return 0, errNotDuration
		}
		total += value * factor
		parts++
		s = s[end+1:]
	}
	if parts == 0 {
		return 0, errNotDuration
	}
	return total, nil
}

// clockSeconds reads [D [days, ]][HH:]MM:SS[.ffffff].
func clockSeconds(s string) (float64, error) {
	total := 0.0
	if days, clock, found := strings.Cut(s, " "); found {
		value, err := strconv.Atoi(days)
		if err != nil {
			return 0, errNotDuration
		}
		total = float64(value) * 86400
		s = strings.TrimPrefix(strings.TrimPrefix(clock, "days, "), "day, ")
	}
	parts := strings.Split(s, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, errNotDuration
	}
	clock := 0.0
	for i, part := range parts {
		if part == "" || strings.ContainsAny(part, "+-eExXnN_") {
			return 0, errNotDuration
		}
		value, err := strconv.ParseFloat(part, 64)
		if err != nil || (i < len(parts)-1 && strings.Contains(part, ".")) {
			return 0, errNotDuration
		}
		clock = clock*60 + value
	}
	return total + clock, nil
}
