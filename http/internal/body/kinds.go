package body

import (
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// failNUL refuses U+0000: Orion's database cannot store it, no command line or environment can hold it, and where it is shown it
// hides what follows.
func (d *Decoder) failNUL() {
	d.Fail("the character U+0000 (\\u0000) is not allowed; leave it out or encode the value, as base64 for example", "value_error.nul", "")
}

// Text takes strings without U+0000, and numbers and booleans as their text.
func Text(d *Decoder, n int) (string, bool) {
	if d.doc.nodes[n].nul {
		d.failNUL()
		return "", false
	}
	return anyText(d, n)
}

// Prose is Text for what people read, such as log lines and messages: U+0000 becomes U+FFFD, for a report must not be refused for a
// character in it.
func Prose(d *Decoder, n int) (string, bool) {
	s, ok := anyText(d, n)
	if d.doc.nodes[n].nul {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s, ok
}

// Blob is Text in a field that Orion calls bytes: its finding says so.
func Blob(d *Decoder, n int) (string, bool) {
	if k := d.doc.nodes[n].kind; k == nodeArray || k == nodeObject {
		d.Fail("byte type expected", "type_error.bytes", "")
		return "", false
	}
	return Text(d, n)
}

// ProseRef is Prose for a destination that tells null from "".
func ProseRef(d *Decoder, n int) (*string, bool) {
	s, ok := Prose(d, n)
	return &s, ok
}

func anyText(d *Decoder, n int) (string, bool) {
	switch d.doc.nodes[n].kind {
	case nodeString:
		return d.doc.text(n), true
	case nodeNumber:
		return str(d.doc.raw(n)), true
	case nodeTrue:
		return "True", true
	case nodeFalse:
		return "False", true
	}
	d.Fail("str type expected", "type_error.str", "")
	return "", false
}

// TextUpTo is Text of at most so many bytes.
func TextUpTo(most int) Kind[string] {
	return func(d *Decoder, n int) (string, bool) {
		s, ok := Text(d, n)
		if ok && len(s) > most {
			d.Fail("ensure this value has at most "+strconv.Itoa(most)+" bytes", "value_error.any_str.max_length", limitValue(int64(most)))
			return "", false
		}
		return s, ok
	}
}

func str(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// TextRef is Text for a destination that tells null from "".
func TextRef(d *Decoder, n int) (*string, bool) {
	s, ok := Text(d, n)
	return &s, ok
}

// forbidden are the characters that would break names in paths and on command lines.
const forbidden = "/%&><"

// Name takes the name of a flow, deployment, work queue, block or block specification.
func Name(d *Decoder, n int) (string, bool) {
	s, ok := Text(d, n)
	if !ok {
		return "", false
	}
	if strings.ContainsAny(s, forbidden) {
		d.Fail("Name "+quoted(s)+" contains an invalid character. Must not contain any of: ['/', '%', '&', '>', '<'].", "value_error.invalidname", "")
		return "", false
	}
	return s, true
}

// quoted is a text between the quotes that Orion's messages have: double ones around a text with single ones only.
func quoted(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
}

// NameRef is Name for a destination that tells null from "".
func NameRef(d *Decoder, n int) (*string, bool) {
	s, ok := Name(d, n)
	return &s, ok
}

// Bool takes booleans and the usual words and digits for them.
func Bool(d *Decoder, n int) (bool, bool) {
	var word string
	switch d.doc.nodes[n].kind {
	case nodeTrue:
		return true, true
	case nodeFalse:
		return false, true
	case nodeNumber:
		word = str(d.doc.raw(n))
	case nodeString:
		word = d.doc.text(n)
	}
	if len(word) > 0 && len(word) <= 5 {
		switch strings.ToLower(word) {
		case "1", "1.0", "on", "t", "true", "y", "yes":
			return true, true
		case "0", "0.0", "off", "f", "false", "n", "no":
			return false, true
		}
	}
	d.Fail("value could not be parsed to a boolean", "type_error.bool", "")
	return false, false
}

// BoolRef is Bool for a destination that tells null from false.
func BoolRef(d *Decoder, n int) (*bool, bool) {
	v, ok := Bool(d, n)
	return &v, ok
}

// Int takes whole numbers, also as text; fractions are cut.
func Int(d *Decoder, n int) (int64, bool) {
	switch d.doc.nodes[n].kind {
	case nodeTrue:
		return 1, true
	case nodeFalse:
		return 0, true
	case nodeNumber:
		raw := str(d.doc.raw(n))
		if v, err := strconv.ParseInt(raw, 10, 64); err == nil {
			return v, true
		}
		// What is beyond int64 is clamped: every limit refuses it below.
		if v, err := strconv.ParseFloat(raw, 64); err == nil || !math.IsNaN(v) {
			switch {
			case v >= math.MaxInt64:
				return math.MaxInt64, true
			case v <= math.MinInt64:
				return math.MinInt64, true
			}
			return int64(v), true
		}
	case nodeString:
		if v, err := strconv.ParseInt(strings.TrimSpace(d.doc.text(n)), 10, 64); err == nil {
			return v, true
		}
	}
	d.Fail("value is not a valid integer", "type_error.integer", "")
	return 0, false
}

// IntBetween is Int within bounds, both included.
func IntBetween(low, high int64) Kind[int64] {
	return func(d *Decoder, n int) (int64, bool) {
		v, ok := Int(d, n)
		switch {
		case !ok:
			return 0, false
		case v < low:
			d.failBelow(low)
			return 0, false
		case v > high:
			d.failAbove(high)
			return 0, false
		}
		return v, true
	}
}

func (d *Decoder) failBelow(low int64) {
	d.Fail("ensure this value is greater than or equal to "+strconv.FormatInt(low, 10), "value_error.number.not_ge", limitValue(low))
}

func (d *Decoder) failAbove(high int64) {
	d.Fail("ensure this value is less than or equal to "+strconv.FormatInt(high, 10), "value_error.number.not_le", limitValue(high))
}

func limitValue(v int64) string { return `{"limit_value":` + strconv.FormatInt(v, 10) + `}` }

// Int32 is Int in the range of what is stored.
func Int32(d *Decoder, n int) (int32, bool) {
	v, ok := IntBetween(math.MinInt32, math.MaxInt32)(d, n)
	return int32(v), ok
}

// Int32Ref is Int32 for a destination that tells null from 0.
func Int32Ref(d *Decoder, n int) (*int32, bool) {
	v, ok := Int32(d, n)
	return &v, ok
}

// Float takes finite numbers, also as text.
func Float(d *Decoder, n int) (float64, bool) {
	var word string
	switch d.doc.nodes[n].kind {
	case nodeTrue:
		return 1, true
	case nodeFalse:
		return 0, true
	case nodeNumber:
		word = str(d.doc.raw(n))
	case nodeString:
		word = strings.TrimSpace(d.doc.text(n))
	}
	if v, err := strconv.ParseFloat(word, 64); err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) {
		return v, true
	}
	d.Fail("value is not a valid float", "type_error.float", "")
	return 0, false
}

// FloatBetween is Float within bounds, both included.
func FloatBetween(low, high int64) Kind[float64] {
	return func(d *Decoder, n int) (float64, bool) {
		v, ok := Float(d, n)
		switch {
		case !ok:
			return 0, false
		case v < float64(low):
			d.failBelow(low)
			return 0, false
		case v > float64(high):
			d.failAbove(high)
			return 0, false
		}
		return v, true
	}
}

// RawObject takes any object without U+0000 in its texts and keeps its text.
func RawObject(d *Decoder, n int) ([]byte, bool) {
	if d.doc.nodes[n].kind != nodeObject {
		d.Fail("value is not a valid dict", "type_error.dict", "")
		return nil, false
	}
	return Raw(d, n)
}

// Raw takes any value without U+0000 in its texts and keeps its text.
func Raw(d *Decoder, n int) ([]byte, bool) {
	if d.doc.nul {
		for _, v := range d.doc.nodes[n:d.doc.nodes[n].next] {
			if v.nul {
				d.failNUL()
				return nil, false
			}
		}
	}
	return d.doc.raw(n), true
}

// RawText takes any string and keeps its JSON text.
func RawText(d *Decoder, n int) ([]byte, bool) {
	if d.doc.nodes[n].kind != nodeString {
		d.Fail("str type expected", "type_error.str", "")
		return nil, false
	}
	return d.doc.raw(n), true
}

// List takes a list of items of one kind.
func List[V any](kind Kind[V]) Kind[[]V] {
	return func(d *Decoder, n int) ([]V, bool) {
		nodes := d.doc.nodes
		if nodes[n].kind != nodeArray {
			d.Fail("value is not a valid list", "type_error.list", "")
			return nil, false
		}
		end := int(nodes[n].next)
		count := 0
		for i := n + 1; i < end; i = int(nodes[i].next) {
			count++
		}
		out := make([]V, 0, count)
		good := true
		at := len(d.loc)
		d.loc = append(d.loc, nil)
		for i, k := n+1, 0; i < end; i, k = int(nodes[i].next), k+1 {
			if nodes[i].kind == nodeNull {
				d.loc[at] = k
				d.Fail("none is not an allowed value", "type_error.none.not_allowed", "")
				good = false
				continue
			}
			// The index is boxed only when it will be looked at; smaller ones cost nothing anyway.
			d.loc[at] = k
			v, ok := kind(d, i)
			good = good && ok
			out = append(out, v)
			if len(d.errs) >= maxFindings {
				break
			}
		}
		d.loc = d.loc[:at]
		return out, good
	}
}

// maxFindings bounds the answer to a body that is wrong throughout.
const maxFindings = 100

// Enum takes one of a fixed set of words.
func Enum[V any](words []string, values []V) Kind[V] {
	quoted := make([]string, len(words))
	listed := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + w + "'"
		listed[i] = strconv.Quote(w)
	}
	msg := "value is not a valid enumeration member; permitted: " + strings.Join(quoted, ", ")
	ctx := `{"enum_values":[` + strings.Join(listed, ",") + `]}`
	return func(d *Decoder, n int) (V, bool) {
		if d.doc.nodes[n].kind == nodeString {
			s := d.doc.text(n)
			for i, w := range words {
				if w == s {
					return values[i], true
				}
			}
		}
		d.Fail(msg, "type_error.enum", ctx)
		var zero V
		return zero, false
	}
}

// Words is Enum for words that stand for themselves.
func Words(words ...string) Kind[string] { return Enum(words, words) }

// Constant takes one word only.
func Constant(word string) Kind[string] {
	return func(d *Decoder, n int) (string, bool) {
		if d.doc.nodes[n].kind == nodeString && d.doc.text(n) == word {
			return word, true
		}
		d.Fail("unexpected value; permitted: '"+word+"'", "value_error.const", `{"given":`+str(d.doc.raw(n))+`,"permitted":[`+strconv.Quote(word)+`]}`)
		return "", false
	}
}

// OneOf takes the first of several kinds that fits; when none does, the findings of all are reported.
func OneOf[V any](kinds ...Kind[V]) Kind[V] {
	return func(d *Decoder, n int) (V, bool) {
		before := len(d.errs)
		for _, kind := range kinds {
			mark := len(d.errs)
			v, ok := kind(d, n)
			if ok && len(d.errs) == mark {
				d.errs = d.errs[:before]
				return v, true
			}
		}
		var zero V
		return zero, false
	}
}

// Member is a value of an object with the name it has there.
type Member[V any] struct {
	Name  string
	Value V
}

// Members takes an object of any names whose values are of one kind, in the order they came. Of a repeated name the last counts.
func Members[V any](kind Kind[V]) Kind[[]Member[V]] {
	return func(d *Decoder, n int) ([]Member[V], bool) {
		nodes := d.doc.nodes
		if nodes[n].kind != nodeObject {
			d.Fail("value is not a valid dict", "type_error.dict", "")
			return nil, false
		}
		good := true
		var members []Member[V]
		at := len(d.loc)
		d.loc = append(d.loc, nil)
		for i, end := n+1, int(nodes[n].next); i < end && len(d.errs) < maxFindings; i = int(nodes[i+1].next) {
			name := d.doc.text(i)
			d.loc[at] = name
			if _, ok := Text(d, i); !ok {
				good = false
				continue
			}
			if nodes[i+1].kind == nodeNull {
				d.Fail("none is not an allowed value", "type_error.none.not_allowed", "")
				good = false
				continue
			}
			v, ok := kind(d, i+1)
			good = good && ok
			members = append(members, Member[V]{name, v})
		}
		d.loc = d.loc[:at]
		return members, good
	}
}

// UUID takes any usual form of a UUID.
func UUID(d *Decoder, n int) ([16]byte, bool) {
	if d.doc.nodes[n].kind == nodeString {
		if id, ok := ParseUUID(d.doc.text(n)); ok {
			return id, true
		}
	}
	d.Fail("value is not a valid uuid", "type_error.uuid", "")
	return [16]byte{}, false
}

// UUIDBytes is UUID for a destination that is empty when null.
func UUIDBytes(d *Decoder, n int) ([]byte, bool) {
	id, ok := UUID(d, n)
	if !ok {
		return nil, false
	}
	return id[:], true
}

// ParseUUID reads 32 hexadecimal digits with or without dashes, braces or a "urn:uuid:" in front.
func ParseUUID(s string) (id [16]byte, ok bool) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		// the common form, without a copy
	} else {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "urn:", ""), "uuid:", "")
		s = strings.Trim(s, "{}")
	}
	k := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '-' {
			continue
		}
		h := hexDigit(s[i])
		if h < 0 || k == 32 {
			return id, false
		}
		id[k/2] = id[k/2]<<4 | byte(h)
		k++
	}
	return id, k == 32
}
