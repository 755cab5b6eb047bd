package api

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// Time is a moment in Orion's JSON form: UTC with "+00:00", six digits of microseconds which are left out when zero.
// The zero Time is encoded as null. Decoding accepts ISO 8601 with any offset, with none (UTC), and Unix time as a number
// (seconds; milliseconds above 2e10).
type Time struct{ time.Time }

// ZonedTime is a Time that keeps, in JSON, the offset it came with. Orion does so for dates inside a schedule.
type ZonedTime struct{ time.Time }

var errNotTime = errors.New("invalid datetime format")

// At returns t as Time, cut to microseconds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// TimeAt returns a pointer to At(t), nil for the zero time.
func TimeAt(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	at := At(t)
	return &at
}

// Ptr returns a pointer to a copy of t, nil for the zero Time.
func (t Time) Ptr() *Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// String returns the JSON form without quotes.
func (t Time) String() string { return string(appendTime(nil, t.UTC())) }

// MarshalText returns the form of String.
func (t Time) MarshalText() ([]byte, error) { return appendTime(nil, t.UTC()), nil }

// UnmarshalText accepts what ParseTime accepts.
func (t *Time) UnmarshalText(text []byte) error {
	parsed, err := ParseTime(string(text))
	if err != nil {
		return err
	}
	t.Time = parsed.UTC()
	return nil
}

// MarshalJSON encodes t, null when zero.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.appendJSON(make([]byte, 0, 34)), nil
}

func (t Time) appendJSON(b []byte) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = appendTime(b, t.UTC())
	return append(b, '"')
}

// UnmarshalJSON decodes any accepted form.
func (t *Time) UnmarshalJSON(data []byte) error {
	parsed, set, err := decodeTime(data)
	if err == nil && set {
		t.Time = parsed.UTC()
	}
	return err
}

// Zoned returns t with its offset, cut to microseconds.
func Zoned(t time.Time) *ZonedTime { return &ZonedTime{t.Truncate(time.Microsecond)} }

// String returns the JSON form without quotes.
func (t ZonedTime) String() string { return string(appendTime(nil, t.Time)) }

// MarshalJSON encodes t with its offset, null when zero.
func (t ZonedTime) MarshalJSON() ([]byte, error) {
	return t.appendJSON(make([]byte, 0, 34)), nil
}

func (t ZonedTime) appendJSON(b []byte) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	return append(appendTime(b, t.Time), '"')
}

// UnmarshalJSON decodes any accepted form and keeps its offset.
func (t *ZonedTime) UnmarshalJSON(data []byte) error {
	parsed, set, err := decodeTime(data)
	if err == nil && set {
		t.Time = parsed
	}
	return err
}

func decodeTime(data []byte) (t time.Time, set bool, err error) {
	s := string(data)
	if s == "null" {
		return t, false, nil
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	t, err = ParseTime(s)
	return t, true, err
}

// ParseTime reads a moment in any of the accepted forms and keeps its offset.
func ParseTime(s string) (time.Time, error) {
	if number, err := strconv.ParseFloat(s, 64); err == nil {
		return unixTime(number)
	}
	p := timeParser{text: s}
	return p.parse()
}

func unixTime(number float64) (time.Time, error) {
	if math.IsNaN(number) || math.Abs(number) > 2e20 {
		return time.Time{}, errNotTime
	}
	for math.Abs(number) > 2e10 {
		number /= 1000
	}
	return time.UnixMicro(int64(math.Round(number * 1e6))).UTC(), nil
}

// timeParser reads YYYY-MM-DD[(T| )HH:MM[:SS[.f...]][Z|±HH[[:]MM]]].
type timeParser struct {
	text string
	bad  bool
}

func (p *timeParser) parse() (time.Time, error) {
	year := p.digits(4)
	p.expect('-')
	month := p.digits(2)
	p.expect('-')
	day := p.digits(2)
	var hour, minute, second, nanos int
	zone := time.UTC
	if !p.bad && p.text != "" {
		if !p.accept('T') && !p.accept('t') && !p.accept(' ') {
			return time.Time{}, errNotTime
		}
		hour = p.digits(2)
		p.expect(':')
		minute = p.digits(2)
		if p.accept(':') {
			second = p.digits(2)
			if p.accept('.') || p.accept(',') {
				nanos = p.fraction()
			}
		}
		zone = p.zone()
	}
	if p.bad || p.text != "" || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, errNotTime
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, zone)
	if t.Day() != day { // time.Date normalises February 30 into March
		return time.Time{}, errNotTime
	}
	return t, nil
}

func (p *timeParser) digits(n int) int {
	if p.bad || len(p.text) < n {
		p.bad = true
		return 0
	}
	value := 0
	for i := range n {
		c := p.text[i]
		if c < '0' || c > '9' {
			p.bad = true
			return 0
		}
		value = value*10 + int(c-'0')
	}
	p.text = p.text[n:]
	return value
}

func (p *timeParser) accept(c byte) bool {
	if p.bad || p.text == "" || p.text[0] != c {
		return false
	}
	p.text = p.text[1:]
	return true
}

func (p *timeParser) expect(c byte) {
	if !p.accept(c) {
		p.bad = true
	}
}

// fraction reads the digits of a fraction of a second and cuts them to microseconds.
func (p *timeParser) fraction() int {
	micros, scale, n := 0, 100_000, 0
	for n < len(p.text) && p.text[n] >= '0' && p.text[n] <= '9' {
		micros += int(p.text[n]-'0') * scale
		scale /= 10
		n++
	}
	if n == 0 {
		p.bad = true
	}
	p.text = p.text[n:]
	return micros * 1000
}

func (p *timeParser) zone() *time.Location {
	p.accept(' ')
	if p.accept('Z') || p.accept('z') || p.text == "" {
		return time.UTC
	}
	sign := 1
	if p.accept('-') {
		sign = -1
	} else {
		p.expect('+')
	}
	hours := p.digits(2)
	minutes := 0
	if p.accept(':') || p.text != "" {
		minutes = p.digits(2)
	}
	offset := sign * (hours*3600 + minutes*60)
	if offset == 0 {
		return time.UTC
	}
	return time.FixedZone("", offset)
}

func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendPadded(b, year, 4)
	b = append(b, '-')
	b = appendPadded(b, int(month), 2)
	b = append(b, '-')
	b = appendPadded(b, day, 2)
	b = append(b, 'T')
	b = appendPadded(b, hour, 2)
	b = append(b, ':')
	b = appendPadded(b, minute, 2)
	b = append(b, ':')
	b = appendPadded(b, second, 2)
	if micros := t.Nanosecond() / 1000; micros != 0 {
		b = append(b, '.')
		b = appendPadded(b, micros, 6)
	}
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	b = append(b, sign)
	b = appendPadded(b, offset/3600, 2)
	b = append(b, ':')
	return appendPadded(b, offset%3600/60, 2)
}

func appendPadded(b []byte, value, width int) []byte {
	var digits [8]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + value%10)
		value /= 10
	}
	return append(b, digits[:width]...)
}
