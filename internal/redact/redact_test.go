package redact

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestNamesOfSecrets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"password", "db_password", "dbPassword", "PASSWD", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "aws_session_token", "api-key", "apiKey", "APIKey", "key",
		"connection_string", "connectionString", "AzureConnectionString", "credentials", "service_account_info", "SLUICE_API_KEY", "auth", "sas_token", "mypassword1",
	} {
		if !Name(name) {
			t.Errorf("%s is shown", name)
		}
	}
	for _, name := range []string{
		"bucket", "idempotency_key", "cacheKey", "key_type", "key_prefix", "monkey", "tokenizer", "base_path", "path", "author", "region_name", "SLUICE_API_URL", "compass", "passenger", "",
	} {
		if Name(name) {
			t.Errorf("%s is hidden", name)
		}
	}
}

func TestValuesOfSettings(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"SLUICE_API_KEY", "abc", Mask}, {"SLUICE_API_KEY", "", ""}, {"SLUICE_API_URL", "http://h:1/api", "http://h:1/api"},
		{"url", "postgres://u:p@ss@h/db?x=1", "postgres://u:" + Mask + "@h/db?x=1"}, {"url", "https://u@h/", "https://u@h/"}, {"url", "x://%zz:pw@h", Mask},
		{"url", "https://h/a:b@c", "https://h/a:b@c"},
	} {
		if got := Value(c[0], c[1]); got != c[2] {
			t.Errorf("%s=%s is shown as %s", c[0], c[1], got)
		}
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	schema := ParseSchema([]byte(`{
		"properties": {
			"a": {"type": "string", "writeOnly": true}, "b": {"format": "password"}, "odd": true, "c": {"$ref": "#/definitions/inner"},
			"d": {"items": {"properties": {"hidden": {"writeOnly": true}}}}, "e": {"allOf": [{"$ref": "#/$defs/loop"}]}, "key": {"enum": ["x", "y"]}
		},
		"secret_fields": ["s", "deep.er", "all.*"],
		"definitions": {"inner": {"properties": {"x": {"anyOf": [{"type": "null"}, {"format": "password"}]}}}},
		"$defs": {"loop": {"allOf": [{"$ref": "#/$defs/loop"}, {"$ref": "#/$defs/loop"}], "properties": {"e": {"writeOnly": true}}}}
	}`))
	for _, c := range []struct{ name, data, shown string }{
		{"writeOnly", `{"a":"1","z":"1"}`, `{"a":"********","z":"1"}`},
		{"the format password", `{"b":12,"y":[1,2]}`, `{"b":"********","y":[1,2]}`},
		{"a definition", `{"c":{"x":"1","y":"1"}}`, `{"c":{"x":"********","y":"1"}}`},
		{"items", `{"d":[{"hidden":"1","n":1},{"hidden":null}]}`, `{"d":[{"hidden":"********","n":1},{"hidden":null}]}`},
		{"a definition that contains itself", `{"e":{"e":true}}`, `{"e":{"e":"********"}}`},
		{"secret_fields", `{"s":"1","deep":{"er":"1","x":"1"},"all":{"p":{"q":"1"}}}`, `{"s":"********","deep":{"er":"********","x":"1"},"all":{"p":{"q":"********"}}}`},
		{"a name", `{"password":"1","token":""}`, `{"password":"********","token":""}`},
		{"all inside a secret field", `{"credentials":{"user":"u","n":1,"list":["a",null]}}`, `{"credentials":{"user":"********","n":"********","list":["********",null]}}`},
		{"a password in an address", `{"url":"amqp://u:p@h/v"}`, `{"url":"amqp://u:********@h/v"}`},
		{"not a choice with the name of a secret", `{"key":"x"}`, `{"key":"x"}`},
		{"what is no JSON, as a whole", `{"password":`, `"********"`},
		{"two values, as a whole", `{"a":"1"} {"a":"2"}`, `"********"`},
		{"nothing of an empty object", `{}`, `{}`},
		{"a key with odd characters", `{"pass\"word \u0001":"1","x y":"<&>"}`, `{"pass\"word \u0001":"********","x y":"<&>"}`},
	} {
		t.Run("hide "+c.name, func(t *testing.T) {
			t.Parallel()
			if got := string(Object([]byte(c.data), schema)); got != c.shown {
				t.Errorf("shown is %s, not %s", got, c.shown)
			}
		})
	}
	t.Run("hide what lies too deep to look into", func(t *testing.T) {
		t.Parallel()
		deep := strings.Repeat(`{"x":`, 2*deepest) + `"plain"` + strings.Repeat("}", 2*deepest)
		if got := string(Object([]byte(deep), Schema{})); strings.Contains(got, "plain") || !json.Valid([]byte(got)) {
			t.Errorf("shown is %s", got)
		}
	})
	t.Run("need no schema", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"", "null", "[]", "{", `{"properties":5}`} {
			if got := string(Object([]byte(`{"password":"1","x":1}`), ParseSchema([]byte(text)))); got != `{"password":"********","x":1}` {
				t.Errorf("with %s shown is %s", text, got)
			}
		}
	})
}

func TestMasksThatComeBack(t *testing.T) {
	t.Parallel()
	stored := `{"password":"p1","n":{"token":7,"user":"u"},"list":[{"key":"k0"},{"key":"k1"}],"url":"x://u:pw@h"}`
	fill := func(data string) (string, error) {
		out, err := Fill([]byte(data), []byte(stored), Schema{})
		return string(out), err
	}
	t.Run("all of them are what was stored", func(t *testing.T) {
		t.Parallel()
		if got, err := fill(string(Object([]byte(stored), Schema{}))); err != nil || got != stored {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("stand beside new values", func(t *testing.T) {
		t.Parallel()
		got, err := fill(`{"url":"y://other","n":{"token":"********"},"password":"new"}`)
		if want := `{"url":"y://other","n":{"token":7},"password":"new"}`; err != nil || got != want {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("are refused where no secret is stored", func(t *testing.T) {
		t.Parallel()
		for data, path := range map[string]string{
			`{"other":"********"}`: "other", `{"n":{"user":"********"}}`: "n.user", `{"list":[{"key":"k"},{},{"key":"********"}]}`: "list.2.key",
			`{"url":"x://someone:********@h"}`: "url", `{"password":{"a":"********"}}`: "password.a",
		} {
			_, err := fill(data)
			if m, ok := errors.AsType[*MaskError](err); !ok || m.Path != path {
				t.Errorf("%s: %v", data, err)
			}
		}
		if _, err := Fill([]byte(`{"password":"********"}`), nil, Schema{}); err == nil {
			t.Error("a new object may hold a mask")
		}
	})
}

// FuzzObject looks for data whose secrets are shown, that loses its form, or that does not come back.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"password":"hunter2","a":[{"token":1.5e3}]}`), []byte(`{"properties":{"a":{"writeOnly":true}}}`))
	f.Add([]byte(`{"a":"x://u:p@h"}`), []byte(`{"$ref":"#/definitions/a","definitions":{"a":{"allOf":[{"$ref":"#/definitions/a"}]}}}`))
	f.Fuzz(func(t *testing.T, data, schema []byte) {
		s := ParseSchema(schema)
		shown := Object(data, s)
		if !json.Valid(shown) {
			t.Fatalf("%q is shown as %q", data, shown)
		}
		inside, err := json.Marshal(map[string]json.RawMessage{"password": data})
		if err != nil {
			return // no JSON
		}
		var leaks func(v any) bool
		leaks = func(v any) bool {
			switch v := v.(type) {
			case map[string]any:
				for _, x := range v {
					if leaks(x) {
						return true
					}
				}
			case []any:
				for _, x := range v {
					if leaks(x) {
						return true
					}
				}
			case string:
				return v != "" && v != Mask
			case nil:
			default:
				return true
			}
			return false
		}
		var got any
		if err := json.Unmarshal(Object(inside, Schema{}), &got); err != nil || leaks(got) {
			t.Fatalf("%s is shown as %s (%v)", inside, Object(inside, Schema{}), err)
		}
	})
}
