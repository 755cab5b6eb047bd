package body

import (
	"strconv"
	"unicode/utf8"
)

func syntaxFinding(e *SyntaxError, data []byte) Error {
	ctx := append([]byte(`{"msg":`), AppendString(nil, e.Msg)...)
	// The document itself is echoed as request_body already; long ones are not repeated.
	if len(data) <= 1024 {
		ctx = append(ctx, `,"doc":`...)
		ctx = AppendString(ctx, string(data))
	}
	ctx = append(ctx, `,"pos":`...)
	ctx = strconv.AppendInt(ctx, int64(e.Pos), 10)
	ctx = append(ctx, `,"lineno":`...)
	ctx = strconv.AppendInt(ctx, int64(e.Line), 10)
	ctx = append(ctx, `,"colno":`...)
	ctx = strconv.AppendInt(ctx, int64(e.Column), 10)
	ctx = append(ctx, '}')
	return Error{Loc: []any{"body", e.Pos}, Msg: e.Error(), Type: "value_error.jsondecode", Ctx: string(ctx)}
}

// AppendErrors appends the findings as a JSON list.
func AppendErrors(b []byte, errs []Error) []byte {
	b = append(b, '[')
	for i, e := range errs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"loc":[`...)
		for k, at := range e.Loc {
			if k > 0 {
				b = append(b, ',')
			}
			switch at := at.(type) {
			case string:
				b = AppendString(b, at)
			case int:
				b = strconv.AppendInt(b, int64(at), 10)
			}
		}
		b = append(b, `],"msg":`...)
		b = AppendString(b, e.Msg)
		b = append(b, `,"type":`...)
		b = AppendString(b, e.Type)
		if e.Ctx != "" {
			b = append(b, `,"ctx":`...)
			b = append(b, e.Ctx...)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[from:i]...)
				b = append(b, "\ufffd"...)
				i++
				from = i
				continue
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
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
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
