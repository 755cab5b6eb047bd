package api

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// The functions here write JSON without reflection, for AppendJSON methods. Each key helper writes `"key":` with the comma
// before it unless the object has just begun.

func appendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendIDField(b []byte, key string, id ID) []byte {
	b = append(appendKey(b, key), '"')
	return append(id.appendText(b), '"')
}

func appendIDPtrField(b []byte, key string, id *ID) []byte {
	if id == nil {
		return append(appendKey(b, key), "null"...)
	}
	return appendIDField(b, key, *id)
}

func appendTimeField(b []byte, key string, t Time) []byte { return t.appendJSON(appendKey(b, key)) }

func appendTimePtrField(b []byte, key string, t *Time) []byte {
	if t == nil {
		return append(appendKey(b, key), "null"...)
	}
	return t.appendJSON(appendKey(b, key))
}

func appendZonedPtrField(b []byte, key string, t *ZonedTime) []byte {
	if t == nil {
		return append(appendKey(b, key), "null"...)
	}
	return t.appendJSON(appendKey(b, key))
}

func appendDurationField(b []byte, key string, d Duration) []byte {
	return d.appendJSON(appendKey(b, key))
}

func appendStringField(b []byte, key, s string) []byte { return appendString(appendKey(b, key), s) }

func appendStringPtrField(b []byte, key string, s *string) []byte {
	if s == nil {
		return append(appendKey(b, key), "null"...)
	}
	return appendString(appendKey(b, key), *s)
}

func appendIntField(b []byte, key string, n int) []byte {
	return strconv.AppendInt(appendKey(b, key), int64(n), 10)
}

func appendBoolField(b []byte, key string, v bool) []byte {
	return strconv.AppendBool(appendKey(b, key), v)
}

// appendRawField writes raw, or empty ("{}" or "null") where there is none.
func appendRawField(b []byte, key string, raw json.RawMessage, empty string) []byte {
	b = appendKey(b, key)
	if len(raw) == 0 {
		return append(b, empty...)
	}
	return append(b, raw...)
}

func appendStringsField(b []byte, key string, list []string) []byte {
	b = append(appendKey(b, key), '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendNullableStringsField is appendStringsField for lists whose nil means null.
func appendNullableStringsField(b []byte, key string, list []string) []byte {
	if list == nil {
		return append(appendKey(b, key), "null"...)
	}
	return appendStringsField(b, key, list)
}

func appendIDsField(b []byte, key string, list []ID) []byte {
	b = append(appendKey(b, key), '[')
	for i, id := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(id.appendText(b), '"')
	}
	return append(b, ']')
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string; invalid UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, s[start:i]...)
			b = append(b, "\ufffd"...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // line ends inside JavaScript strings
			b = append(b, s[start:i]...)
			b = append(b, '\\', 'u', '2', '0', '2', hexDigits[r&15])
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// AppendList encodes a list of objects that have AppendJSON.
func AppendList[T any, P interface {
	*T
	AppendJSON([]byte) []byte
}](b []byte, list []T) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = P(&list[i]).AppendJSON(b)
	}
	return append(b, ']')
}
