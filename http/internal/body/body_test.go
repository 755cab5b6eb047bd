package body

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// thing has one field of each kind.
type thing struct {
	Name   string
	Text   *string
	Count  int64
	Flag   bool
	Ratio  float64
	ID     [16]byte
	At     int64
	Long   int64
	Kind   string
	List   []string
	Raw    []byte
	Inner  *inner
	HasTxt bool
	Blob   string
	One    string
}

type inner struct{ A int64 }

var innerSpec = Strict(Required("a", IntBetween(0, 9), func(v *inner) *int64 { return &v.A }))

var thingSpec = Strict(
	Required("name", Name, func(v *thing) *string { return &v.Name }),
	Nullable("text", TextRef, func(v *thing) **string { return &v.Text }).Marked(func(v *thing) *bool { return &v.HasTxt }),
	Optional("count", Int, func(v *thing) *int64 { return &v.Count }),
	Optional("flag", Bool, func(v *thing) *bool { return &v.Flag }),
	Optional("ratio", Float, func(v *thing) *float64 { return &v.Ratio }),
	Optional("id", UUID, func(v *thing) *[16]byte { return &v.ID }),
	Optional("at", Time, func(v *thing) *int64 { return &v.At }),
	Optional("long", Duration, func(v *thing) *int64 { return &v.Long }),
	Optional("kind", Words("A", "B"), func(v *thing) *string { return &v.Kind }),
	Optional("list", List(Text), func(v *thing) *[]string { return &v.List }),
	Optional("raw", RawObject, func(v *thing) *[]byte { return &v.Raw }),
	Nullable("inner", innerSpec.Ref(), func(v *thing) **inner { return &v.Inner }),
	Optional("blob", Blob, func(v *thing) *string { return &v.Blob }),
	Optional("one", Constant("x"), func(v *thing) *string { return &v.One }),
)

type params struct {
	State *inner
	Limit int64
}

var paramsSpec = Parameters(
	Required("state", innerSpec.Ref(), func(v *params) **inner { return &v.State }),
	Optional("limit", Int, func(v *params) *int64 { return &v.Limit }),
).Defaults(func(v *params) { v.Limit = 200 })

func TestFindings(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body, want string
	}{
		{"a missing field is named", `{}`, `[{"loc":["body","name"],"msg":"field required","type":"value_error.missing"}]`},
		{"null for a required field is refused", `{"name":null}`, `[{"loc":["body","name"],"msg":"none is not an allowed value","type":"type_error.none.not_allowed"}]`},
		{"unknown fields are refused, in order of the alphabet", `{"name":"a","z":1,"b":2}`,
			`[{"loc":["body","b"],"msg":"extra fields not permitted","type":"value_error.extra"},{"loc":["body","z"],"msg":"extra fields not permitted","type":"value_error.extra"}]`},
		{"a name with a slash is refused", `{"name":"a/b"}`,
			`[{"loc":["body","name"],"msg":"Name 'a/b' contains an invalid character. Must not contain any of: ['/', '%', '&', '>', '<'].","type":"value_error.invalidname"}]`},
		{"a list is no object", `[]`, `[{"loc":["body"],"msg":"value is not a valid dict","type":"type_error.dict"}]`},
		{"no body at all is a missing body", ``, `[{"loc":["body"],"msg":"field required","type":"value_error.missing"}]`},
		{"the place in a list is its index", `{"name":"a","list":["x",[],null]}`,
			`[{"loc":["body","list",1],"msg":"str type expected","type":"type_error.str"},{"loc":["body","list",2],"msg":"none is not an allowed value","type":"type_error.none.not_allowed"}]`},
		{"bounds come with their limit", `{"name":"a","inner":{"a":-1}}`,
			`[{"loc":["body","inner","a"],"msg":"ensure this value is greater than or equal to 0","type":"value_error.number.not_ge","ctx":{"limit_value":0}}]`},
		{"words outside an enumeration come with the permitted ones", `{"name":"a","kind":"C"}`,
			`[{"loc":["body","kind"],"msg":"value is not a valid enumeration member; permitted: 'A', 'B'","type":"type_error.enum","ctx":{"enum_values":["A","B"]}}]`},
		{"everything wrong is reported at once", `{"count":"x","flag":"maybe","ratio":"y","id":"z","at":"w","long":"v","raw":1}`,
			`[{"loc":["body","name"],"msg":"field required","type":"value_error.missing"},{"loc":["body","count"],"msg":"value is not a valid integer","type":"type_error.integer"},` +
				`{"loc":["body","flag"],"msg":"value could not be parsed to a boolean","type":"type_error.bool"},{"loc":["body","ratio"],"msg":"value is not a valid float","type":"type_error.float"},` +
				`{"loc":["body","id"],"msg":"value is not a valid uuid","type":"type_error.uuid"},{"loc":["body","at"],"msg":"invalid datetime format","type":"value_error.datetime"},` +
				`{"loc":["body","long"],"msg":"invalid duration format","type":"value_error.duration"},{"loc":["body","raw"],"msg":"value is not a valid dict","type":"type_error.dict"}]`},
		{"text that is no JSON says where it ends", `garbage`,
			`[{"loc":["body",0],"msg":"Expecting value: line 1 column 1 (char 0)","type":"value_error.jsondecode","ctx":{"msg":"Expecting value","doc":"garbage","pos":0,"lineno":1,"colno":1}}]`},
		{"the place in broken JSON counts lines", "{\n  \"a\": }",
			`[{"loc":["body",9],"msg":"Expecting value: line 2 column 8 (char 9)","type":"value_error.jsondecode","ctx":{"msg":"Expecting value","doc":"{\n  \"a\": }","pos":9,"lineno":2,"colno":8}}]`},
		{"a name with a single quote is put between double ones", `{"name":"a/'b"}`,
			`[{"loc":["body","name"],"msg":"Name \"a/'b\" contains an invalid character. Must not contain any of: ['/', '%', '&', '>', '<'].","type":"value_error.invalidname"}]`},
		{"bytes are named so", `{"name":"a","blob":[]}`, `[{"loc":["body","blob"],"msg":"byte type expected","type":"type_error.bytes"}]`},
		{"a constant comes with what was given", `{"name":"a","one":5}`,
			`[{"loc":["body","one"],"msg":"unexpected value; permitted: 'x'","type":"value_error.const","ctx":{"given":5,"permitted":["x"]}}]`},
		{"a number ends before a point without digits", `{"count":1.}`,
			`[{"loc":["body",10],"msg":"Expecting ',' delimiter: line 1 column 11 (char 10)","type":"value_error.jsondecode","ctx":{"msg":"Expecting ',' delimiter","doc":"{\"count\":1.}","pos":10,"lineno":1,"colno":11}}]`},
		{"a short escape is found behind its backslash", `{"name":"\u12"}`,
			`[{"loc":["body",10],"msg":"Invalid \\uXXXX escape: line 1 column 11 (char 10)","type":"value_error.jsondecode","ctx":{"msg":"Invalid \\uXXXX escape","doc":"{\"name\":\"\\u12\"}","pos":10,"lineno":1,"colno":11}}]`},
		{"something after the end is refused", `{"name":"a"} x`,
			`[{"loc":["body",13],"msg":"Extra data: line 1 column 14 (char 13)","type":"value_error.jsondecode","ctx":{"msg":"Extra data","doc":"{\"name\":\"a\"} x","pos":13,"lineno":1,"colno":14}}]`},
	}
	nul := func(place string) string {
		return `[{"loc":["body",` + place + `],"msg":"the character U+0000 (\\u0000) is not allowed; leave it out or encode the value, as base64 for example","type":"value_error.nul"}]`
	}
	cases = append(cases, []struct{ name, body, want string }{
		{"the NUL character is refused in a name", `{"name":"a\u0000b"}`, nul(`"name"`)},
		{"the NUL character is refused in a list", `{"name":"a","list":["x","\u0000"]}`, nul(`"list",1`)},
		{"the NUL character is refused deep in a value that is kept", `{"name":"a","raw":{"x":[{"y":"\u0000"}]}}`, nul(`"raw"`)},
		{"the NUL character is refused in a name within a value that is kept", `{"name":"a","raw":{"\u0000":1}}`, nul(`"raw"`)},
		{"an escaped backslash before u0000 is none", `{"name":"a","text":"\\u0000"}`, `[]`},
		{"a value without it is kept beside a text that is ignored", `{"name":"a","raw":{"x":1},"name":"\u0001"}`, `[]`},
	}...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var v thing
			if got := string(AppendErrors(nil, thingSpec.Decode([]byte(c.body), &v))); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	missing := `[{"loc":["body","state"],"msg":"field required","type":"value_error.missing"}]`
	cases := []struct{ name, body, want string }{
		{"unknown names are ignored", `{"state":{"a":1},"else":2}`, `[]`},
		{"null counts as absent", `{"state":{"a":1},"limit":null}`, `[]`},
		{"null for a required one counts as missing", `{"state":null}`, missing},
		{"an empty body has all defaults", ``, missing},
		{"so does null", `null`, missing},
		{"a list lacks every parameter", `[]`, `[{"loc":["body","state"],"msg":"field required","type":"value_error.missing"},{"loc":["body","limit"],"msg":"field required","type":"value_error.missing"}]`},
		{"objects inside stay strict", `{"state":{"a":1,"b":2}}`, `[{"loc":["body","state","b"],"msg":"extra fields not permitted","type":"value_error.extra"}]`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var v params
			if got := string(AppendErrors(nil, paramsSpec.Decode([]byte(c.body), &v))); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if c.want == "[]" && v.Limit != 200 {
				t.Errorf("limit is %d, want the default", v.Limit)
			}
		})
	}
}

// TestOrionsClientsKnowNoFieldOfOurs uses one specification for both kinds of clients.
func TestOrionsClientsKnowNoFieldOfOurs(t *testing.T) {
	t.Parallel()
	ours := Optional("b", Int, func(v *inner) *int64 { return &v.A }).Ours()
	strict, lenient := Strict(ours), Parameters(Optional("c", Int, func(v *inner) *int64 { return new(int64) }), ours)
	for _, c := range []struct {
		name, body, want string
		spec             *Object[inner]
	}{
		{"an object refuses it", `{"b":1}`, `[{"loc":["body","b"],"msg":"extra fields not permitted","type":"value_error.extra"}]`, strict},
		{"a parameter is ignored", `{"b":"x"}`, `[]`, lenient},
		{"it is not missing", `[]`, `[{"loc":["body","c"],"msg":"field required","type":"value_error.missing"}]`, lenient},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var v inner
			if got := string(AppendErrors(nil, c.spec.DecodeOrion([]byte(c.body), &v))); got != c.want || v.A != 0 {
				t.Errorf("got %d\n%s\nwant\n%s", v.A, got, c.want)
			}
		})
	}
	var v inner
	if errs := strict.Decode([]byte(`{"b":1}`), &v); errs != nil || v.A != 1 {
		t.Errorf("our own client: %v %v", v, errs)
	}
}

func TestNullInPlaceOfAListIsAMissingBody(t *testing.T) {
	t.Parallel()
	_, errs := DecodeList(Text, []byte("null"))
	if got := string(AppendErrors(nil, errs)); got != `[{"loc":["body"],"msg":"field required","type":"value_error.missing"}]` {
		t.Error(got)
	}
}

func TestOfARepeatedNameTheLastCounts(t *testing.T) {
	t.Parallel()
	var v thing
	if errs := thingSpec.Decode([]byte(`{"name":"a","count":1,"name":"b","count":2,"inner":{"a":1,"a":2}}`), &v); errs != nil || v.Name != "b" || v.Count != 2 || v.Inner.A != 2 {
		t.Errorf("got %+v, %v", v, errs)
	}
	if errs := thingSpec.Decode([]byte(`{"name":"a","count":1,"count":"x"}`), &v); len(errs) != 1 {
		t.Errorf("the last one is wrong: %v", errs)
	}
}

func TestProseKeepsWhatIsAroundANUL(t *testing.T) {
	t.Parallel()
	var v inner
	var text string
	errs := Strict(Required("m", Prose, func(*inner) *string { return &text })).Decode([]byte(`{"m":"a\u0000b\u00e9"}`), &v)
	if errs != nil || text != "a\uFFFDbé" {
		t.Errorf("%q %v", text, errs)
	}
}

func TestCoercions(t *testing.T) {
	t.Parallel()
	id := [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixMicro()
	cases := []struct {
		field, value string
		want         thing
	}{
		{"count", `"7"`, thing{Count: 7}}, {"count", `7.9`, thing{Count: 7}}, {"count", `true`, thing{Count: 1}}, {"count", `1e3`, thing{Count: 1000}},
		{"flag", `"true"`, thing{Flag: true}}, {"flag", `1`, thing{Flag: true}}, {"flag", `"off"`, thing{}}, {"flag", `"YES"`, thing{Flag: true}},
		{"ratio", `"1.5"`, thing{Ratio: 1.5}}, {"ratio", `2`, thing{Ratio: 2}},
		{"id", `"01234567-89ab-cdef-0123-456789abcdef"`, thing{ID: id}}, {"id", `"0123456789ABCDEF0123456789abcdef"`, thing{ID: id}},
		{"id", `"{01234567-89ab-cdef-0123-456789abcdef}"`, thing{ID: id}}, {"id", `"urn:uuid:01234567-89ab-cdef-0123-456789abcdef"`, thing{ID: id}},
		{"at", `"2026-11-23T12:00:00Z"`, thing{At: noon}}, {"at", `"2026-11-23T12:00:00"`, thing{At: noon}}, {"at", `"2026-11-23 07:00-05:00"`, thing{At: noon}},
		{"at", `"2026-11-23T12:00:00.000007123+00:00"`, thing{At: noon + 7}}, {"at", `1795435200`, thing{At: noon}}, {"at", `1795435200000`, thing{At: noon}}, {"at", `"1795435200"`, thing{At: noon}},
		{"long", `1.5`, thing{Long: 1_500_000}}, {"long", `"P1DT2H"`, thing{Long: 26 * 3600 * 1_000_000}}, {"long", `"PT1M"`, thing{Long: 60_000_000}},
		{"long", `"P1D"`, thing{Long: 86_400_000_000}}, {"long", `"01:02:03"`, thing{Long: 3723_000_000}}, {"long", `"2 00:00:01.5"`, thing{Long: 172_801_500_000}}, {"long", `"-PT5S"`, thing{Long: -5_000_000}},
		{"list", `["a",1,2.50,true]`, thing{List: []string{"a", "1", "2.50", "True"}}},
		{"id", `"{urn:uuid:01234567-89ab-cdef-0123-456789abcdef}"`, thing{ID: id}},
		{"at", `0`, thing{At: 1}}, {"at", `"1970-01-01T02:00:00+02:00"`, thing{At: 1}}, // 0 stands for no time
		{"at", `"0001-01-01T00:00:00Z"`, thing{At: firstMoment}}, {"at", `-1e300`, thing{At: firstMoment}}, {"at", `1e300`, thing{At: lastMoment}}, {"at", `"inf"`, thing{At: lastMoment}},
		{"blob", `"a"`, thing{Blob: "a"}}, {"blob", `1.5`, thing{Blob: "1.5"}}, {"one", `"x"`, thing{One: "x"}},
		{"list", `[]`, thing{List: []string{}}},
		{"raw", `{ "a": [1, {"b": null}] }`, thing{Raw: []byte(`{ "a": [1, {"b": null}] }`)}},
		{"inner", `null`, thing{}}, {"inner", `{"a":3}`, thing{Inner: &inner{A: 3}}},
		{"text", `null`, thing{HasTxt: true}},
	}
	for _, c := range cases {
		t.Run(c.field+" "+c.value, func(t *testing.T) {
			t.Parallel()
			var got thing
			if errs := thingSpec.Decode(fmt.Appendf(nil, `{"name":"","%s":%s}`, c.field, c.value), &got); errs != nil {
				t.Fatalf("refused: %s", AppendErrors(nil, errs))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	refused := []string{`"count":"7.5"`, `"at":"2026-02-30T00:00:00Z"`, `"at":"2026-11-23"`, `"at":true`, `"at":"2026-11-23T24:00:00Z"`,
		`"long":"1:2:3:4"`, `"long":1e300`, `"ratio":"NaN"`, `"ratio":1e999`, `"id":123`, `"id":"0123"`, `"raw":[]`, `"kind":1`}
	for _, c := range refused {
		t.Run("refuses "+c, func(t *testing.T) {
			t.Parallel()
			var got thing
			errs := thingSpec.Decode([]byte(`{"name":"",`+c+`}`), &got)
			if len(errs) != 1 {
				t.Errorf("findings: %s, want one", AppendErrors(nil, errs))
			}
		})
	}
}

func TestOneOfReportsNothingWhenALaterKindFits(t *testing.T) {
	t.Parallel()
	type pair struct{ V int64 }
	spec := Strict(Required("v", OneOf(IntBetween(100, 200), IntBetween(0, 9)), func(p *pair) *int64 { return &p.V }))
	var p pair
	if errs := spec.Decode([]byte(`{"v":5}`), &p); errs != nil || p.V != 5 {
		t.Errorf("got %d and %v", p.V, errs)
	}
	if errs := spec.Decode([]byte(`{"v":50}`), &p); len(errs) != 2 {
		t.Errorf("findings %v, want those of both kinds", errs)
	}
}

func TestDepthAndSizeAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		good       bool
	}{
		{"as deep as allowed", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), true},
		{"one deeper", strings.Repeat("[", MaxDepth+2) + strings.Repeat("]", MaxDepth+2), false},
		{"a flood of brackets", strings.Repeat("[", 1<<20), false},
		{"objects in objects", strings.Repeat(`{"a":`, 1<<18), false},
		{"too many values", "[" + strings.Repeat("0,", maxNodes) + "0]", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, err := Parse([]byte(c.body))
			if (err == nil) != c.good {
				t.Errorf("error %v", err)
			}
			if doc != nil {
				doc.Release()
			}
		})
	}
}

// randomJSON writes a random value.
func randomJSON(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n == 0:
		return nil
	case n == 1:
		return r.IntN(2) == 0
	case n == 2:
		return float64(r.IntN(2000)-1000) / 8
	case n < 5 || depth == 0:
		runes := []rune("aZ0 \"\\/\n\t\b\u0000\u2028é€😀<>&")
		s := make([]rune, r.IntN(8))
		for i := range s {
			s[i] = runes[r.IntN(len(runes))]
		}
		return string(s)
	case n == 5:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomJSON(r, depth-1)
		}
		return list
	}
	m := map[string]any{}
	for range r.IntN(4) {
		m[fmt.Sprint(randomJSON(r, 0))] = randomJSON(r, depth-1)
	}
	return m
}

// value rebuilds what a document holds.
func (d *Doc) value(n int) any {
	switch v := d.nodes[n]; v.kind {
	case nodeNull:
		return nil
	case nodeTrue, nodeFalse:
		return v.kind == nodeTrue
	case nodeNumber:
		var f float64
		_ = json.Unmarshal(d.raw(n), &f)
		return f
	case nodeString:
		return d.text(n)
	case nodeArray:
		list := []any{}
		for i := n + 1; i < int(v.next); i = int(d.nodes[i].next) {
			list = append(list, d.value(i))
		}
		return list
	default:
		m := map[string]any{}
		for i := n + 1; i < int(v.next); i = int(d.nodes[i+1].next) {
			m[d.text(i)] = d.value(i + 1)
		}
		return m
	}
}

func TestParseAgreesWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		want := randomJSON(r, 5)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if r.IntN(2) == 0 {
			var out bytes.Buffer
			if err := json.Indent(&out, text, " ", "\t"); err != nil {
				t.Fatal(err)
			}
			text = out.Bytes()
		}
		doc, syntax := Parse(text)
		if syntax != nil {
			t.Fatalf("%s: %v", text, syntax)
		}
		var standard any
		if err := json.Unmarshal(text, &standard); err != nil {
			t.Fatal(err)
		}
		if got := doc.value(0); !reflect.DeepEqual(got, standard) && !(got == nil && standard == nil) {
			t.Fatalf("%s: got %#v, want %#v", text, got, standard)
		}
		doc.Release()
		// What is cut off anywhere is no JSON, or the standard library agrees that it is.
		cut := text[:r.IntN(len(text)+1)]
		doc, syntax = Parse(cut)
		if (syntax == nil) != json.Valid(cut) {
			t.Fatalf("%q: error %v, valid %v", cut, syntax, json.Valid(cut))
		}
		if doc != nil {
			doc.Release()
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"name":"a","list":["\ud83d\ude00\ud800"],"at":"2026-11-23T12:00:00Z"}`, `{"name":1,"inner":{"a":1},"long":"P1D"}`, `[`, `"\u00"`, `{"a":1,"a":2}`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		var v thing
		errs := thingSpec.Decode(data, &v)
		if !json.Valid(AppendErrors(nil, errs)) {
			t.Fatalf("findings are no JSON: %q", AppendErrors(nil, errs))
		}
		if !bytes.Equal(before, data) {
			t.Fatal("decoding changed the body")
		}
		doc, syntax := Parse(data)
		// The standard library replaces invalid UTF-8 where this refuses it, and nests deeper.
		if syntax == nil && !json.Valid(data) {
			t.Fatalf("%q parsed, but is no JSON", data)
		}
		if syntax == nil {
			doc.Release()
		} else if len(errs) != 1 {
			t.Fatalf("%q: %d findings for broken JSON", data, len(errs))
		}
		_ = paramsSpec.Decode(data, &params{})
	})
}
