package parameters

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-dev/sluice/http/internal/body"
)

const (
	// longestNumber bounds the bytes of a number: it is compared exactly, which costs the square of its length.
	longestNumber = 1000
	// largestExponent is a little more than float64 has: 1e1000000 is seven bytes of JSON and a megabyte of digits.
	largestExponent = 400
)

// plainNumber reports whether a number is in the range of float64 and written with as many digits as that needs, or somewhat more.
func plainNumber(n json.Number) bool {
	text := string(n)
	if len(text) > longestNumber {
		return false
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return false
	}
	// What is too small is read as 0, without an error.
	at := strings.IndexAny(text, "eE")
	if at < 0 {
		return true
	}
	exponent, err := strconv.Atoi(text[at+1:])
	return err == nil && -largestExponent <= exponent && exponent <= largestExponent
}

// outOfRange returns the findings for numbers that the validator must not see, with their places after loc, at most mostFindings.
func outOfRange(value any, loc ...any) []body.Error {
	var found []body.Error
	var walk func(value any, loc []any)
	walk = func(value any, loc []any) {
		if len(found) == mostFindings {
			return
		}
		switch v := value.(type) {
		case json.Number:
			if !plainNumber(v) {
				found = append(found, body.Error{Loc: slices.Clone(loc), Type: "value_error.number.range",
					Msg: "number is out of range: write one between -1.7e308 and 1.7e308, or a string"})
			}
		case []any:
			for i, element := range v {
				walk(element, append(loc, i))
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				walk(v[name], append(loc, name))
			}
		}
	}
	walk(value, loc)
	return found
}
