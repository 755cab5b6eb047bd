package calendar

// Repeated says which moment of a wall time counts that exists twice.
type Repeated int

// The choices. An interval of days fires once a day: for it, RepeatedBoth is RepeatedFirst.
const (
	RepeatedLast Repeated = iota
	RepeatedFirst
	RepeatedBoth
)

// DST says what happens to wall times that do not exist, or exist twice, when the clocks of a zone change. The zero value is
// what Orion does: missing ones are shifted, of repeated ones the last counts.
type DST struct {
	SkipMissing bool // false: they are shifted behind the gap
	Repeated    Repeated
}

// WithDST returns the schedule with another rule for changing clocks.
func (s *Schedule) WithDST(d DST) *Schedule {
	changed := *s
	switch dates := s.dates.(type) {
	case wallDates:
		dates.dst = d
		changed.dates = dates
	case interval:
		dates.dst = d
		changed.dates = dates
	}
	return &changed
}
