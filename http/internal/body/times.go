package body

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Moment is a point in time and the offset from UTC, in seconds, with which it was written.
type Moment struct {
	Micros int64 // since the epoch
	Offset int32
}

// Times outside these years cannot be written as ISO 8601 with four digits. The very first of them is Go's time that is none.
var (
	firstMoment = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC).UnixMicro()
	lastMoment  = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC).UnixMicro()
)

// Time takes ISO 8601 or Unix seconds (milliseconds above 2e10), in µs since the epoch. Without an offset it is UTC.
func Time(d *Decoder, n int) (int64, bool) {
	m, ok := MomentOf(d, n)
	return m.Micros, ok
}

// MomentOf is Time with the offset as written.
func MomentOf(d *Decoder, n int) (Moment, bool) {
	switch d.doc.nodes[n].kind {
	case nodeNumber:
		if v, err := strconv.ParseFloat(str(d.doc.raw(n)), 64); err == nil {
			return Moment{Micros: fromUnix(v)}, true
		}
	case nodeString:
		if m, ok := ParseTime(d.doc.text(n)); ok {
			return m, true
		}
	default:
		d.Fail("invalid type; expected datetime, string, bytes, int or float", "type_error", "")
		return Moment{}, false
	}
	d.Fail("invalid datetime format", "value_error.datetime", "")
	return Moment{}, false
}

// endless is the number from which on a count of whatever units stands for the last moment there is.
const endless = 3e20

func fromUnix(v float64) int64 {
	switch {
	case v > endless:
		return lastMoment
	case v < -endless:
		return firstMoment
	}
	for math.Abs(v) > 2e10 {
		v /= 1000
	}
	return storable(min(max(int64(math.Round(v*1e6)), firstMoment), lastMoment))
}

// storable moves the beginning of 1970, which in what is stored stands for no time, by a microsecond.
func storable(micros int64) int64 {
	if micros == 0 {
		return 1
	}
	return micros
}

// ParseTime reads ISO 8601: date, then hours, minutes and perhaps seconds and a fraction, then perhaps an offset.
func ParseTime(s string) (Moment, bool) {
	if v, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(v) {
		return Moment{Micros: fromUnix(v)}, true
	}
	p := timeText{rest: s}
	year := p.number(4, 4)
	p.skip('-')
	month := p.number(1, 2)
	p.skip('-')
	day := p.number(1, 2)
	if !p.has('T') && !p.has('t') && !p.has(' ') {
		return Moment{}, false
	}
	hour := p.number(1, 2)
	p.skip(':')
	minute := p.number(1, 2)
	second, micros := 0, 0
	if p.has(':') {
		second = p.number(1, 2)
		if p.has('.') {
			micros = p.fraction()
		}
	}
	offset := p.offset()
	if p.bad || p.rest != "" || year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return Moment{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, micros*1000, time.UTC)
	at := t.UnixMicro() - int64(offset)*1e6
	if at < firstMoment-1 || at > lastMoment {
		return Moment{}, false
	}
	return Moment{Micros: storable(max(at, firstMoment)), Offset: int32(offset)}, true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

type timeText struct {
	rest string
	bad  bool
}

func (p *timeText) has(c byte) bool {
	if p.rest != "" && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

func (p *timeText) skip(c byte) {
	if !p.has(c) {
		p.bad = true
	}
}

func (p *timeText) number(least, most int) int {
	v, i := 0, 0
	for i < len(p.rest) && i < most && p.rest[i] >= '0' && p.rest[i] <= '9' {
		v = v*10 + int(p.rest[i]-'0')
		i++
	}
	if i < least {
		p.bad = true
	}
	p.rest = p.rest[i:]
	return v
}

// fraction reads up to twelve digits and keeps six.
func (p *timeText) fraction() int {
	v, i := 0, 0
	for i < len(p.rest) && i < 12 && p.rest[i] >= '0' && p.rest[i] <= '9' {
		if i < 6 {
			v = v*10 + int(p.rest[i]-'0')
		}
		i++
	}
	if i == 0 {
		p.bad = true
	}
	for k := i; k < 6; k++ {
		v *= 10
	}
	p.rest = p.rest[i:]
	return v
}

func (p *timeText) offset() int {
	if p.has('Z') || p.has('z') {
		return 0
	}
	sign := 1
	switch {
	case p.has('+'):
	case p.has('-'):
		sign = -1
	default:
		return 0
	}
	hours, minutes := p.number(2, 2), 0
	if p.has(':') || p.rest != "" {
		minutes = p.number(2, 2)
	}
	if hours > 23 || minutes > 59 {
		p.bad = true
	}
	return sign * (hours*3600 + minutes*60)
}

// Duration takes seconds, "[D ][HH:]MM:SS[.ffffff]" or ISO 8601 ("P1DT2H"), in µs.
func Duration(d *Decoder, n int) (int64, bool) {
	switch d.doc.nodes[n].kind {
	case nodeNumber:
		if v, err := strconv.ParseFloat(str(d.doc.raw(n)), 64); err == nil {
			if us, ok := micros(v); ok {
				return us, true
			}
		}
	case nodeString:
		if us, ok := ParseDuration(d.doc.text(n)); ok {
			return us, true
		}
	default:
		d.Fail("invalid type; expected timedelta, string, bytes, int or float", "type_error", "")
		return 0, false
	}
	d.Fail("invalid duration format", "value_error.duration", "")
	return 0, false
}

// longest is about 10,000 years: sums of two stay within int64.
const longest = 3.2e17

func micros(seconds float64) (int64, bool) {
	us := math.Round(seconds * 1e6)
	return int64(us), math.Abs(us) <= longest
}

// ParseDuration reads the text forms of Duration.
func ParseDuration(s string) (int64, bool) {
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		return micros(v)
	}
	if rest, sign := trimSign(s); strings.HasPrefix(rest, "P") {
		v, ok := isoDuration(rest[1:])
		if !ok {
			return 0, false
		}
		return micros(sign * v)
	}
	days := 0.0
	if head, tail, found := strings.Cut(s, " "); found {
		v, err := strconv.Atoi(head)
		if err != nil {
			return 0, false
		}
		days = float64(v)
		if rest, found := strings.CutPrefix(tail, "day"); found {
			tail = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(rest, "s"), ","), " ")
		}
		s = tail
	}
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	total := 0.0
	for i, part := range parts {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || i < len(parts)-1 && v != math.Trunc(v) {
			return 0, false
		}
		total = total*60 + v
	}
	return micros(days*86400 + total)
}

func trimSign(s string) (string, float64) {
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return rest, -1
	}
	return strings.TrimPrefix(s, "+"), 1
}

func isoDuration(s string) (seconds float64, ok bool) {
	units := []struct {
		mark byte
		size float64
	}{{'D', 86400}, {'T', 0}, {'H', 3600}, {'M', 60}, {'S', 1}}
	inTime := false
	for _, u := range units {
		if u.mark == 'T' {
			if s == "" {
				return seconds, true
			}
			if s[0] != 'T' {
				return 0, false
			}
			s, inTime = s[1:], true
			continue
		}
		i := strings.IndexByte(s, u.mark)
		if i < 0 || u.mark == 'D' && strings.IndexByte(s[:i], 'T') >= 0 {
			continue
		}
		v, err := strconv.ParseFloat(s[:i], 64)
		if err != nil || v < 0 {
			return 0, false
		}
		seconds += v * u.size
		s = s[i+1:]
	}
	return seconds, s == "" && inTime
}
