package body

import "slices"

// Error is one finding. Loc holds names (string) and list indices (int), starting at "body", "path" or "query".
type Error struct {
	Loc  []any
	Msg  string
	Type string
	Ctx  string // a JSON object, or ""
}

// Decoder walks one document and collects findings.
type Decoder struct {
	doc   *Doc
	loc   []any
	errs  []Error
	orion bool // fields that are ours are unknown
}

// Fail records a finding at the place the decoder stands at. Kinds of other packages use it.
func (d *Decoder) Fail(msg, typ, ctx string) {
	d.errs = append(d.errs, Error{Loc: slices.Clone(d.loc), Msg: msg, Type: typ, Ctx: ctx})
}

// FailAt records a finding at a member of the place the decoder stands at.
func (d *Decoder) FailAt(name any, msg, typ string) {
	d.loc = append(d.loc, name)
	d.Fail(msg, typ, "")
	d.loc = d.loc[:len(d.loc)-1]
}

// Kind decodes one value; false means it recorded a finding.
type Kind[V any] func(d *Decoder, n int) (V, bool)

type presence uint8

const (
	required presence = iota
	optional          // absent keeps the default, null is refused in objects
	nullable          // absent and null keep the default
)

// Field is one named member of an object.
type Field[T any] struct {
	name     string
	presence presence
	set      func(d *Decoder, n int, dst *T) bool
	mark     func(dst *T) *bool
	filled   bool // mark only what is not null
	orNull   bool // null is a value like others
	ours     bool
}

func field[T, V any](name string, p presence, kind Kind[V], at func(*T) *V) Field[T] {
	return Field[T]{name: name, presence: p, set: func(d *Decoder, n int, dst *T) bool {
		v, ok := kind(d, n)
		if ok {
			*at(dst) = v
		}
		return ok
	}}
}

// Required is a field that must be there and must not be null.
func Required[T, V any](name string, kind Kind[V], at func(*T) *V) Field[T] {
	return field(name, required, kind, at)
}

// Optional is a field with a default (what the destination holds); null is refused where objects are strict.
func Optional[T, V any](name string, kind Kind[V], at func(*T) *V) Field[T] {
	return field(name, optional, kind, at)
}

// Nullable is a field whose absence and null mean the same: the destination stays as it is.
func Nullable[T, V any](name string, kind Kind[V], at func(*T) *V) Field[T] {
	return field(name, nullable, kind, at)
}

// NullableInto is a nullable field whose members go into a part of the destination itself. The members that are not sent keep what
// the part holds.
func NullableInto[T, V any](name string, spec *Object[V], at func(*T) *V) Field[T] {
	return Field[T]{name: name, presence: nullable, set: func(d *Decoder, n int, dst *T) bool { return spec.decode(d, n, at(dst)) }}
}

// Marked also notes in the destination that the field was sent, be it null.
func (f Field[T]) Marked(at func(*T) *bool) Field[T] {
	f.mark = at
	return f
}

// Filled also notes in the destination that the field holds a value.
func (f Field[T]) Filled(at func(*T) *bool) Field[T] {
	f.mark, f.filled = at, true
	return f
}

// Ours says that Orion has no such field: it is unknown in what Orion's clients send.
func (f Field[T]) Ours() Field[T] {
	f.ours = true
	return f
}

// OrNull takes null for a value, which the field's kind decodes.
func (f Field[T]) OrNull() Field[T] {
	f.orNull = true
	return f
}

// Object is the specification of an object.
type Object[T any] struct {
	fields   []Field[T]
	lenient  bool // unknown names are ignored and null counts as absent
	defaults func(*T)
	check    func(d *Decoder, v *T) bool
}

// Strict specifies an object that refuses unknown names.
func Strict[T any](fields ...Field[T]) *Object[T] { return &Object[T]{fields: fields} }

// Parameters specifies the body of an endpoint with several named parameters: unknown names are ignored, null counts as
// absent, an empty body means all defaults.
func Parameters[T any](fields ...Field[T]) *Object[T] {
	return &Object[T]{fields: fields, lenient: true}
}

// Defaults sets what fields that are not sent hold.
func (o *Object[T]) Defaults(fn func(*T)) *Object[T] {
	o.defaults = fn
	return o
}

// Check adds a test over the decoded fields, run when each of them is valid. It records its own findings.
func (o *Object[T]) Check(fn func(d *Decoder, v *T) bool) *Object[T] {
	o.check = fn
	return o
}

// Kind makes the specification usable as the kind of a field.
func (o *Object[T]) Kind() Kind[T] {
	return func(d *Decoder, n int) (T, bool) {
		var v T
		ok := o.decode(d, n, &v)
		return v, ok
	}
}

// Ref is Kind for a destination that is a pointer: nil when not sent.
func (o *Object[T]) Ref() Kind[*T] {
	return func(d *Decoder, n int) (*T, bool) {
		v := new(T)
		ok := o.decode(d, n, v)
		return v, ok
	}
}

func (o *Object[T]) decode(d *Decoder, n int, dst *T) bool {
	if o.defaults != nil {
		o.defaults(dst)
	}
	if d.doc.nodes[n].kind != nodeObject {
		if o.lenient {
			for _, f := range o.fields {
				if !f.ours || !d.orion {
					d.FailAt(f.name, "field required", "value_error.missing")
				}
			}
		} else {
			d.Fail("value is not a valid dict", "type_error.dict", "")
		}
		return false
	}
	before := len(d.errs)
	var found [24]int32 // by field: the node of its value, 0 when absent
	unknown := o.match(d, n, found[:])
	for i := range o.fields {
		o.field(d, &o.fields[i], int(found[i]), dst)
	}
	slices.Sort(unknown)
	for _, name := range slices.Compact(unknown) {
		d.FailAt(name, "extra fields not permitted", "value_error.extra")
	}
	if len(d.errs) != before {
		return false
	}
	return o.check == nil || o.check(d, dst)
}

// match finds the node of each field's value; of a repeated name the last counts. It returns the names no field has.
func (o *Object[T]) match(d *Decoder, n int, found []int32) (unknown []string) {
	nodes := d.doc.nodes
	guess := 0 // clients send fields in the order of the specification, mostly
	for i, end := n+1, int(nodes[n].next); i < end; {
		name, value := d.doc.text(i), i+1
		i = int(nodes[value].next)
		at := -1
		for k := range o.fields {
			j := guess + k
			if j >= len(o.fields) {
				j -= len(o.fields)
			}
			if o.fields[j].name == name && !(d.orion && o.fields[j].ours) {
				at = j
				break
			}
		}
		if at >= 0 {
			found[at] = int32(value)
			guess = at + 1
			if guess == len(o.fields) {
				guess = 0
			}
		} else if !o.lenient && len(unknown) < 100 {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

func (o *Object[T]) field(d *Decoder, f *Field[T], value int, dst *T) {
	if value == 0 {
		if f.presence == required {
			d.FailAt(f.name, "field required", "value_error.missing")
		}
		return
	}
	if d.doc.nodes[value].kind == nodeNull && !f.orNull {
		switch {
		case o.lenient && f.presence == required:
			d.FailAt(f.name, "field required", "value_error.missing")
		case f.presence == nullable:
			if f.mark != nil && !f.filled {
				*f.mark(dst) = true
			}
		case !o.lenient:
			d.FailAt(f.name, "none is not an allowed value", "type_error.none.not_allowed")
		}
		return
	}
	d.loc = append(d.loc, f.name)
	if f.set(d, value, dst) && f.mark != nil {
		*f.mark(dst) = true
	}
	d.loc = d.loc[:len(d.loc)-1]
}

// Decode reads data into dst. It returns nil, or everything that is wrong.
func (o *Object[T]) Decode(data []byte, dst *T) []Error { return o.decodeFrom(false, data, dst) }

// DecodeOrion is Decode of what a client of Orion sent, which knows no field of ours.
func (o *Object[T]) DecodeOrion(data []byte, dst *T) []Error { return o.decodeFrom(true, data, dst) }

func (o *Object[T]) decodeFrom(orion bool, data []byte, dst *T) []Error {
	if len(data) == 0 {
		return o.decodeNothing(dst)
	}
	return run(data, func(d *Decoder) {
		d.orion = orion
		if d.doc.nodes[0].kind == nodeNull {
			d.errs = o.decodeNothing(dst)
			return
		}
		o.decode(d, 0, dst)
	})
}

func (o *Object[T]) decodeNothing(dst *T) []Error {
	if !o.lenient {
		return []Error{{Loc: []any{"body"}, Msg: "field required", Type: "value_error.missing"}}
	}
	if o.defaults != nil {
		o.defaults(dst)
	}
	var errs []Error
	for _, f := range o.fields {
		if f.presence == required {
			errs = append(errs, Error{Loc: []any{"body", f.name}, Msg: "field required", Type: "value_error.missing"})
		}
	}
	return errs
}

// DecodeList reads data, a list of items of one kind.
func DecodeList[V any](kind Kind[V], data []byte) ([]V, []Error) {
	if len(data) == 0 {
		return nil, []Error{{Loc: []any{"body"}, Msg: "field required", Type: "value_error.missing"}}
	}
	var out []V
	errs := run(data, func(d *Decoder) {
		if d.doc.nodes[0].kind == nodeNull {
			d.Fail("field required", "value_error.missing", "")
			return
		}
		out, _ = List(kind)(d, 0)
	})
	return out, errs
}

// DecodeValue reads data, one value of a kind.
func DecodeValue[V any](kind Kind[V], data []byte) (V, []Error) {
	var out V
	if len(data) == 0 {
		return out, []Error{{Loc: []any{"body"}, Msg: "field required", Type: "value_error.missing"}}
	}
	errs := run(data, func(d *Decoder) { out, _ = kind(d, 0) })
	return out, errs
}

func run(data []byte, fn func(*Decoder)) []Error {
	doc, syntax := Parse(data)
	if syntax != nil {
		return []Error{syntaxFinding(syntax, data)}
	}
	defer doc.Release()
	var place [8]any
	d := Decoder{doc: doc, loc: append(place[:0], "body")}
	fn(&d)
	if len(d.errs) == 0 {
		return nil // also after findings that did not count in the end
	}
	return d.errs
}
