package httpapi

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestRunsAreFoundByTheirParameters(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "greet"})["id"]
	for name, parameters := range map[string]object{
		"leo": {"name": "Leo", "n": 3}, "marvin": {"name": "Marvin", "n": 3, "deep": object{"a": []int{1, 2}}}, "three": {"n": "3", "on": true}, "none": {},
	} {
		s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "name": name, "parameters": parameters})
	}
	for _, c := range []struct {
		wanted object
		found  []string
	}{
		{object{"name": []string{"Leo"}}, []string{"leo"}},
		{object{"name": []string{"Leo", "Marvin", "Zaphod"}}, []string{"leo", "marvin"}},
		{object{"n": []string{"3"}}, []string{"leo", "marvin", "three"}},
		{object{"n": []string{"3"}, "name": []string{"Marvin"}}, []string{"marvin"}},
		{object{"on": []string{"true"}}, []string{"three"}},
		{object{"deep": []string{`{"a":[1,2]}`}}, []string{"marvin"}},
		{object{"name": []string{}}, nil},
		{object{"name": []string{"leo"}}, nil},
		{object{}, []string{"leo", "marvin", "none", "three"}},
	} {
		filter := object{"flow_runs": object{"parameters": object{"any_": c.wanted}}}
		var found []string
		var runs []object
		if err := json.Unmarshal([]byte(s.do("POST", "/api/flow_runs/filter", filter).text), &runs); err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			found = append(found, r["name"].(string))
		}
		slices.Sort(found)
		if !slices.Equal(found, c.found) {
			t.Errorf("%v: %v, want %v", c.wanted, found, c.found)
		}
		if n := s.do("POST", "/api/flow_runs/count", filter).text; n != string(rune('0'+len(c.found))) {
			t.Errorf("%v: counted %s", c.wanted, n)
		}
	}
	for _, wrong := range []any{"x", object{"any_": object{"name": "Leo"}}, object{"all_": object{}}} {
		if a := s.do("POST", "/api/flow_runs/filter", object{"flow_runs": object{"parameters": wrong}}); a.status != 422 {
			t.Errorf("%v: %d %s", wrong, a.status, a.text)
		}
	}
}
