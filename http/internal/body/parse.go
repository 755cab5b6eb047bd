// Package body turns request bodies into values: a bounded JSON parser and declarative field specifications that report
// everything wrong with a body at once, each finding with its place, in the words Orion's clients know.
//
// It is pure and uses no reflection: a specification is a list of fields, each with a kind and a function that names the
// field's place in the destination.
package body

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

const (
	// MaxDepth bounds nesting: deeper documents are refused.
	MaxDepth = 100
	// maxNodes bounds what a hostile body of brackets may cost in memory (16 bytes a node).
	maxNodes = 2 << 20
)

type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeFalse
	nodeTrue
	nodeNumber
	nodeString
	nodeArray
	nodeObject
)

// node is one JSON value. The children of an array follow it directly; those of an object follow as key, value, key, value.
// next is the index of the first node after the value and all its children.
type node struct {
	start, end uint32 // the value's text in Doc.data
	next       uint32
	kind       nodeKind
	escaped    bool // strings: the text holds escapes
	nul        bool // strings: one of them is U+0000
}

// Doc is a parsed body. Strings taken from it alias its text, which must never change.
type Doc struct {
	data  []byte
	nodes []node
	nul   bool // a string somewhere holds U+0000
}

var docs = sync.Pool{New: func() any { return new(Doc) }}

// SyntaxError says where a text is no JSON. Pos counts characters from 0, as Orion's messages do.
type SyntaxError struct {
	Msg    string
	Pos    int
	Line   int
	Column int
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s: line %d column %d (char %d)", e.Msg, e.Line, e.Column, e.Pos)
}

// Parse reads one JSON text. The document keeps data; call Release when done with the document.
func Parse(data []byte) (*Doc, *SyntaxError) {
	d := docs.Get().(*Doc)
	d.data, d.nodes, d.nul = data, d.nodes[:0], false
	p := parser{doc: d}
	p.space()
	if !p.value(0) {
		d.Release()
		return nil, p.fault(data)
	}
	p.space()
	if p.pos != len(data) {
		p.fail("Extra data", p.pos)
		d.Release()
		return nil, p.fault(data)
	}
	return d, nil
}

// Release gives the document's memory back. Values decoded from it stay valid.
func (d *Doc) Release() {
	d.data = nil
	if cap(d.nodes) <= 4096 {
		docs.Put(d)
	}
}

// Raw is the text of the whole value.
func (d *Doc) Raw() []byte { return d.raw(0) }

func (d *Doc) raw(n int) []byte { return d.data[d.nodes[n].start:d.nodes[n].end] }

// text returns the decoded string of a string node.
func (d *Doc) text(n int) string {
	v := &d.nodes[n]
	inner := d.data[v.start+1 : v.end-1]
	if len(inner) == 0 {
		return ""
	}
	if v.escaped {
		return unescape(inner)
	}
	return unsafe.String(&inner[0], len(inner))
}

type parser struct {
	doc *Doc
	pos int
	msg string
	at  int
}

func (p *parser) fail(msg string, at int) bool {
	if p.msg == "" {
		p.msg, p.at = msg, at
	}
	return false
}

func (p *parser) fault(data []byte) *SyntaxError {
	at := min(p.at, len(data))
	before := data[:at]
	line := bytes.Count(before, []byte{'\n'}) + 1
	start := bytes.LastIndexByte(before, '\n') + 1
	return &SyntaxError{
		Msg: p.msg, Pos: utf8.RuneCount(before), Line: line, Column: utf8.RuneCount(before[start:]) + 1,
	}
}

func (p *parser) space() {
	data := p.doc.data
	for p.pos < len(data) {
		switch data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.pos < len(p.doc.data) {
		return p.doc.data[p.pos]
	}
	return 0
}

func (p *parser) value(depth int) bool {
	if depth > MaxDepth {
		return p.fail("Nested too deeply (the limit is "+strconv.Itoa(MaxDepth)+" levels)", p.pos)
	}
	if len(p.doc.nodes) >= maxNodes {
		return p.fail("Too many values in one body", p.pos)
	}
	self := len(p.doc.nodes)
	p.doc.nodes = append(p.doc.nodes, node{start: uint32(p.pos)})
	kind, ok := p.content(self, depth)
	if !ok {
		return false
	}
	n := &p.doc.nodes[self]
	n.kind, n.end, n.next = kind, uint32(p.pos), uint32(len(p.doc.nodes))
	return true
}

func (p *parser) content(self, depth int) (nodeKind, bool) {
	switch c := p.peek(); {
	case c == '{':
		return nodeObject, p.object(depth)
	case c == '[':
		return nodeArray, p.array(depth)
	case c == '"':
		return nodeString, p.str(self)
	case c == '-' || c >= '0' && c <= '9':
		return nodeNumber, p.number()
	case c == 't':
		return nodeTrue, p.literal("true")
	case c == 'f':
		return nodeFalse, p.literal("false")
	case c == 'n':
		return nodeNull, p.literal("null")
	}
	return nodeNull, p.fail("Expecting value", p.pos)
}

func (p *parser) literal(word string) bool {
	if rest := p.doc.data[p.pos:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		return p.fail("Expecting value", p.pos)
	}
	p.pos += len(word)
	return true
}

func (p *parser) object(depth int) bool {
	p.pos++
	p.space()
	if p.peek() == '}' {
		p.pos++
		return true
	}
	for {
		if p.peek() != '"' {
			return p.fail("Expecting property name enclosed in double quotes", p.pos)
		}
		if !p.value(depth + 1) {
			return false
		}
		p.space()
		if p.peek() != ':' {
			return p.fail("Expecting ':' delimiter", p.pos)
		}
		p.pos++
		p.space()
		if !p.value(depth + 1) {
			return false
		}
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
			p.space()
		case '}':
			p.pos++
			return true
		default:
			return p.fail("Expecting ',' delimiter", p.pos)
		}
	}
}

func (p *parser) array(depth int) bool {
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return true
	}
	for {
		if !p.value(depth + 1) {
			return false
		}
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
			p.space()
		case ']':
			p.pos++
			return true
		default:
			return p.fail("Expecting ',' delimiter", p.pos)
		}
	}
}

func (p *parser) str(self int) bool {
	data, start := p.doc.data, p.pos
	ascii := true
	for i := start + 1; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			if !ascii && !utf8.Valid(data[start+1:i]) {
				return p.fail("Invalid UTF-8 in string", start)
			}
			p.pos = i + 1
			return true
		case c == '\\':
			p.doc.nodes[self].escaped = true
			n := escapeLen(data[i:])
			if n == 0 && i+1 < len(data) && data[i+1] == 'u' {
				return p.fail("Invalid \\uXXXX escape", i+1)
			}
			if n == 0 {
				return p.fail("Invalid \\escape", i)
			}
			if n == 6 && string(data[i+2:i+6]) == "0000" {
				p.doc.nodes[self].nul, p.doc.nul = true, true
			}
			i += n - 1
		case c < 0x20:
			return p.fail("Invalid control character at", i)
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return p.fail("Unterminated string starting at", start)
}

// escapeLen is the length of the escape at the start of b, 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if hexDigit(c) < 0 {
				return 0
			}
		}
		return 6
	}
	return 0
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		r = r<<4 | rune(hexDigit(c))
	}
	return r
}

// unescape decodes the inside of a string that str accepted. Half a surrogate pair becomes U+FFFD.
func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			out = append(out, b...)
			break
		}
		out = append(out, b[:i]...)
		b = b[i:]
		switch c := b[1]; c {
		case 'u':
			r := hex4(b[2:])
			b = b[6:]
			if utf16.IsSurrogate(r) {
				if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
					if pair := utf16.DecodeRune(r, hex4(b[2:])); pair != utf8.RuneError {
						r, b = pair, b[6:]
					}
				}
			}
			out = utf8.AppendRune(out, r)
			continue
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		default:
			out = append(out, c)
		}
		b = b[2:]
	}
	return string(out)
}

func (p *parser) number() bool {
	data, i, start := p.doc.data, p.pos, p.pos
	digits := func() bool {
		from := i
		for i < len(data) && data[i] >= '0' && data[i] <= '9' {
			i++
		}
		return i > from
	}
	if data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++
	} else if !digits() {
		return p.fail("Expecting value", start)
	}
	p.pos = i // without digits after it, a point or an e does not belong to the number, and is found by who expects what follows
	if i < len(data) && data[i] == '.' {
		i++
		if !digits() {
			return true
		}
		p.pos = i
	}
	if i < len(data) && (data[i] == 'e' || data[i] == 'E') {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if !digits() {
			return true
		}
		p.pos = i
	}
	return true
}
