package api

import "encoding/json"

// Optional is a field of an update body: absent (left as it is), null (cleared) or a value. Give it the tag omitzero.
type Optional[T any] struct {
	Set   bool
	Value *T
}

// Some returns an Optional that sets v.
func Some[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: &v} }

// Null returns an Optional that clears the field.
func Null[T any]() Optional[T] { return Optional[T]{Set: true} }

// IsZero reports whether the field is absent.
func (o Optional[T]) IsZero() bool { return !o.Set }

// MarshalJSON encodes the value or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) { return json.Marshal(o.Value) }

// UnmarshalJSON marks the field as sent.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	o.Value = nil
	return json.Unmarshal(data, &o.Value)
}
