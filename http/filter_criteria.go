package httpapi

import (
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// The criteria of filters. A nil set, pointer or list restricts nothing; an empty set matches nothing.

// idSet are the ids of an any_ or not_any_ operator, in the order given.
type idSet struct {
	list []api.ID
	set  map[api.ID]struct{} // nil for short lists
}

func (s *idSet) has(id []byte) bool {
	if s.set != nil {
		_, ok := s.set[idOf(id)]
		return ok
	}
	return len(id) > 0 && slices.Contains(s.list, idOf(id))
}

// textSet are the texts of an any_ operator.
type textSet struct{ list []string }

func (s *textSet) has(text string) bool { return slices.Contains(s.list, text) }

func anyIDs(d *body.Decoder, n int) (*idSet, bool) {
	raw, ok := body.List(body.UUID)(d, n)
	s := &idSet{list: make([]api.ID, 0, len(raw))}
	seen := make(map[api.ID]struct{}, len(raw))
	for _, id := range raw {
		if _, twice := seen[id]; !twice {
			seen[id] = struct{}{}
			s.list = append(s.list, id)
		}
	}
	if len(s.list) > 8 {
		s.set = seen
	}
	return s, ok
}

func anyTexts(d *body.Decoder, n int) (*textSet, bool) {
	list, ok := texts(d, n)
	slices.Sort(list)
	return &textSet{slices.Compact(list)}, ok
}

// idCriterion is any_, not_any_ and is_null_ of an id.
type idCriterion struct {
	any, not *idSet
	null     *bool
}

func (c *idCriterion) matches(id []byte) bool {
	switch {
	case c.any != nil && !c.any.has(id), c.not != nil && c.not.has(id), c.null != nil && *c.null != (len(id) == 0):
		return false
	}
	return true
}

// textCriterion is any_ of a text; a missing text is in no set.
type textCriterion struct{ any *textSet }

func (c *textCriterion) matches(text *string) bool {
	return c.any == nil || text != nil && c.any.has(*text)
}

// tagCriterion is all_ and is_null_ of tags.
type tagCriterion struct {
	all  []string
	null *bool
}

func (c *tagCriterion) matches(tags []string) bool {
	for _, tag := range c.all {
		if !slices.Contains(tags, tag) {
			return false
		}
	}
	return c.null == nil || *c.null == (len(tags) == 0)
}

// timeCriterion is before_, after_ and is_null_ of a time; a missing time lies neither before nor after.
type timeCriterion struct {
	before, after *int64
	null          *bool
}

func (c *timeCriterion) matches(t int64) bool {
	switch {
	case c.before != nil && (t == 0 || t > *c.before), c.after != nil && (t == 0 || t < *c.after), c.null != nil && *c.null != (t == 0):
		return false
	}
	return true
}

// stateCriterion is type.any_ and name.any_ of the current state.
type stateCriterion struct {
	types []row.StateType // nil restricts nothing
	typed bool
	names textCriterion
}

func (c *stateCriterion) matches(s *row.State) bool {
	if c.typed && (s == nil || !slices.Contains(c.types, s.Type)) {
		return false
	}
	if c.names.any == nil {
		return true
	}
	return s != nil && c.names.any.has(s.Name)
}

func timeRef64(d *body.Decoder, n int) (*int64, bool) {
	v, ok := body.Time(d, n)
	return &v, ok
}

var (
	idAnySpec = body.Strict(
		body.Nullable("any_", anyIDs, func(v *idCriterion) **idSet { return &v.any }),
	)
	idAnyNotSpec = body.Strict(
		body.Nullable("any_", anyIDs, func(v *idCriterion) **idSet { return &v.any }),
		body.Nullable("not_any_", anyIDs, func(v *idCriterion) **idSet { return &v.not }),
	)
	idAnyNullSpec = body.Strict(
		body.Nullable("any_", anyIDs, func(v *idCriterion) **idSet { return &v.any }),
		body.Nullable("is_null_", body.BoolRef, func(v *idCriterion) **bool { return &v.null }),
	)
	textAnySpec = body.Strict(
		body.Nullable("any_", anyTexts, func(v *textCriterion) **textSet { return &v.any }),
	)
	tagsSpec = body.Strict(
		body.Nullable("all_", texts, func(v *tagCriterion) *[]string { return &v.all }),
		body.Nullable("is_null_", body.BoolRef, func(v *tagCriterion) **bool { return &v.null }),
	)
	timeRangeSpec = body.Strict(
		body.Nullable("before_", timeRef64, func(v *timeCriterion) **int64 { return &v.before }),
		body.Nullable("after_", timeRef64, func(v *timeCriterion) **int64 { return &v.after }),
	)
	timeRangeNullSpec = body.Strict(
		body.Nullable("before_", timeRef64, func(v *timeCriterion) **int64 { return &v.before }),
		body.Nullable("after_", timeRef64, func(v *timeCriterion) **int64 { return &v.after }),
		body.Nullable("is_null_", body.BoolRef, func(v *timeCriterion) **bool { return &v.null }),
	)
	stateTypesSpec = body.Strict(
		body.Nullable("any_", body.List(stateTypeKind), func(v *stateCriterion) *[]row.StateType { return &v.types }).
			Filled(func(v *stateCriterion) *bool { return &v.typed }),
	)
	stateFilterSpec = body.Strict(
		body.Nullable("type", stateTypesSpec.Kind(), func(v *stateCriterion) *stateCriterion { return v }),
		body.Nullable("name", textAnySpec.Kind(), func(v *stateCriterion) *textCriterion { return &v.names }),
	)
)
