package httpapi

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/http/openapi"
	"github.com/sluice-dev/sluice/internal/contract"
)

// checker holds what every stack is asked and answers against the description of the API.
var checker = sync.OnceValues(func() (*contract.Checker, error) {
	document, err := Document()
	if err != nil {
		return nil, err
	}
	return contract.New(document)
})

// oddly marks requests that the server takes although their description says otherwise.
var oddly = []string{contract.OddHeader, "1"}

// undescribed are routes without a description: the page is for people.
var undescribed = []string{"GET /"}

func TestEveryRouteIsDescribedAndEveryDescriptionHasARoute(t *testing.T) {
	t.Parallel()
	document, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	described, err := openapi.Operations(document)
	if err != nil {
		t.Fatal(err)
	}
	routed := slices.Clone(undescribed)
	for _, rt := range routes() {
		name := rt.method + " " + rt.fullPath()
		routed = append(routed, name)
		if _, found := slices.BinarySearch(described, name); !found && !slices.Contains(undescribed, name) {
			t.Errorf("%s is not described: add it to its file in http/openapi/parts (http/DESIGN.md, Describing an endpoint)", name)
		}
	}
	for _, name := range described {
		if !slices.Contains(routed, name) {
			t.Errorf("%s is described and has no route in table.go", name)
		}
	}
}

// described is what the document says of an operation, as far as tests look at it.
type described struct {
	OperationID string   `json:"operationId"`
	Summary     string   `json:"summary"`
	Tags        []string `json:"tags"`
	Role        string   `json:"x-sluice-role"`
	Responses   map[string]json.RawMessage
	RequestBody json.RawMessage `json:"requestBody"`
}

func (d described) hasBody() bool { return d.RequestBody != nil }

func operationsOf(t *testing.T) map[string]described {
	t.Helper()
	text, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	all := map[string]described{}
	for path, item := range document.Paths {
		for method, text := range item {
			if method == "parameters" {
				continue
			}
			var d described
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			all[strings.ToUpper(method)+" "+path] = d
		}
	}
	return all
}

func TestEveryOperationHasANameASummaryARoleAndAnAnswer(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	all := operationsOf(t)
	for _, at := range slices.Sorted(maps.Keys(all)) {
		d := all[at]
		if d.OperationID == "" || d.Summary == "" || d.Role == "" || len(d.Tags) != 1 {
			t.Errorf("%s lacks an operationId, a summary, a role or the tag of its file: %+v", at, d)
		}
		if strings.HasSuffix(d.Summary, ".") || len(d.Summary) > 90 {
			t.Errorf("%s: the summary %q is long or ends with a full stop", at, d.Summary)
		}
		if other := names[d.OperationID]; other != "" {
			t.Errorf("%s and %s are both named %s", other, at, d.OperationID)
		}
		names[d.OperationID] = at
		good := false
		for status := range d.Responses {
			good = good || status < "400"
		}
		if !good {
			t.Errorf("%s has no answer that is not an error", at)
		}
	}
}

func TestTheSchemasOfTheDocumentAreSchemas(t *testing.T) {
	t.Parallel()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Compile(); err != nil {
		t.Error(err)
	}
}

func TestTheServerShowsItsDocument(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	a := s.do("GET", "/api/openapi.json", nil)
	if a.status != 200 || a.object(t)["openapi"] != "3.1.0" {
		t.Errorf("%d %.200s", a.status, a.text)
	}
}

// TestTheDocumentIsOpenAPI holds the document against the schema of OpenAPI 3.1 itself, which comes with a module of tools/go.mod.
func TestTheDocumentIsOpenAPI(t *testing.T) {
	t.Parallel()
	document, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "mod", "download", "-modfile=../tools/go.mod", "-json", "github.com/pb33f/libopenapi").Output()
	if err != nil {
		t.Fatalf("find the schema of OpenAPI: %v: %s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile(filepath.Join(module.Dir, "datamodel", "schemas", "oas31-schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := contract.Validate(schema, document); err != nil {
		t.Error(err)
	}
}

// TestTheDocumentHasNoStrayNames finds what YAML makes of a text with a comma or a colon that nobody quoted.
func TestTheDocumentHasNoStrayNames(t *testing.T) {
	t.Parallel()
	text, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if strings.ContainsAny(name, " ,:") {
					t.Errorf("%s has the name %q: quote the text before it", at, name)
				}
				if name != "example" && name != "examples" {
					walk(at+"/"+name, member)
				}
			}
		case []any:
			for _, member := range v {
				walk(at, member)
			}
		}
	}
	walk("", document)
}
