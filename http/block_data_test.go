package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// blockRow reads how a block is stored.
func (s *stack) blockRow(id string) *row.Block {
	s.t.Helper()
	view, err := s.node.machine.View()
	if err != nil {
		s.t.Fatal(err)
	}
	defer view.Close()
	parsed, err := api.ParseID(id)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := view.Block(parsed)
	if err != nil || b == nil {
		s.t.Fatalf("block %s: %v", id, err)
	}
	return b
}

func (s *stack) blockData(id string) string {
	s.t.Helper()
	data, err := json.Marshal(s.must(200, "GET", "/api/blocks/"+id, nil)["data"])
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

func TestSecretsInBlocks(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	spec := s.must(201, "POST", "/api/block_specs/", object{"name": "S", "version": "1.0", "type": "STORAGE", "fields": object{
		"properties": object{"hidden": object{"type": "string", "writeOnly": true}}}})
	create := func(name string, data object) string {
		t.Helper()
		return s.must(201, "POST", "/api/blocks/", object{"name": name, "block_spec_id": spec["id"], "data": data})["id"].(string)
	}
	t.Run("are stored encrypted, and shown in clear to who needs them, wherever blocks are shown", func(t *testing.T) {
		id := create("shown", object{"password": "hunter2", "bucket": "b"})
		if b := s.blockRow(id); len(b.DataJson) != 0 || bytes.Contains(b.DataSealed, []byte("hunter2")) || len(b.DataSealed) == 0 {
			t.Errorf("stored is %v", b)
		}
		s.do("POST", "/api/blocks/"+id+"/set_default_storage_block", nil)
		for _, a := range []answer{
			s.do("GET", "/api/blocks/"+id, nil), s.do("POST", "/api/blocks/filter", "{}"), s.do("POST", "/api/blocks/get_default_storage_block", nil),
			s.do("GET", "/api/block_specs/S/block/shown", nil), s.do("GET", "/api/block_specs/S/versions/1.0/block/shown", nil),
		} {
			if a.status != 200 || !strings.Contains(a.text, `"password":"hunter2"`) {
				t.Errorf("%d %s", a.status, a.text)
			}
		}
	})
	t.Run("are masked for roles that do not need them", func(t *testing.T) {
		b := s.blockRow(create("masked", object{"password": "hunter2", "hidden": "h", "bucket": "b", "nested": object{"api_key": "k", "empty_token": ""}}))
		for _, role := range []Role{RoleViewer, RoleFlowRun, RoleAgent, RoleOperator, RoleDeployer, RoleAdmin} {
			x := &exchange{server: s.server, who: actor{role: role}}
			shown, err := x.showBlock(b, &row.BlockSpec{FieldsJson: []byte(`{"properties":{"hidden":{"writeOnly":true}}}`)})
			if err != nil {
				t.Fatal(err)
			}
			clear := strings.Contains(string(shown.Data), "hunter2")
			if clear != x.seesSecrets() {
				t.Errorf("%s is shown %s", role, shown.Data)
			}
			if want := `{"password":"********","hidden":"********","bucket":"b","nested":{"api_key":"********","empty_token":""}}`; !clear && !sameJSON(t, string(shown.Data), want) {
				t.Errorf("%s is shown %s", role, shown.Data)
			}
		}
	})
	t.Run("of storages are masked for flows, which use them through their agent", func(t *testing.T) {
		b := s.blockRow(create("lake", object{"password": "hunter2", "bucket": "b"}))
		kind := api.BlockTypeStorage
		for role, clear := range map[Role]bool{RoleFlowRun: false, RoleAgent: true, RoleDeployer: true} {
			x := &exchange{server: s.server, who: actor{role: role}}
			shown, err := x.showBlock(b, &row.BlockSpec{Type: &kind})
			if err != nil || strings.Contains(string(shown.Data), "hunter2") != clear || !strings.Contains(string(shown.Data), `"bucket":"b"`) {
				t.Errorf("%s is shown %s, %v", role, shown.Data, err)
			}
		}
	})
	t.Run("are shown on no route to a viewer or an operator", func(t *testing.T) {
		guarded := newStack(t, oneNode, withTokens)
		guarded.undescribed()
		admin := bearer(guarded.token("admin", row.TokenRole_ADMIN))
		spec := guarded.must(201, "POST", "/api/block_specs/", object{"name": "S", "version": "1.0", "type": "STORAGE", "fields": object{}}, admin...)["id"].(string)
		id := guarded.must(201, "POST", "/api/blocks/", object{"name": "shown", "block_spec_id": spec, "data": object{"password": "hunter2"}}, admin...)["id"].(string)
		guarded.must(204, "POST", "/api/blocks/"+id+"/set_default_storage_block", nil, admin...)
		masked := 0
		for _, who := range [][]string{bearer(guarded.token("viewer", row.TokenRole_VIEWER)), bearer(guarded.token("operator", row.TokenRole_OPERATOR))} {
			for _, rt := range guarded.server.table {
				if rt.role > RoleOperator || rt.stream || rt.root || rt.method != "GET" && rt.method != "POST" {
					continue
				}
				for _, object := range []string{id, spec} {
					path := rt.path
					if strings.HasPrefix(path, "/block") {
						path = strings.NewReplacer("{name}", "S", "{version}", "1.0", "{block}", "shown").Replace(path)
					}
					var body any
					if rt.method == "POST" {
						body = "{}"
					}
					a := guarded.do(rt.method, "/api"+pathVariable.ReplaceAllString(path, object), body, who...)
					if strings.Contains(a.text, "hunter2") {
						t.Errorf("%s %s shows it: %s", rt.method, path, a.text)
					}
					if strings.Contains(a.text, `"password":"********"`) {
						masked++
					}
				}
			}
		}
		if masked < 10 { // by id, by two names, in the list and as the default, to two
			t.Errorf("it was masked in %d answers only", masked)
		}
	})
	t.Run("are kept by an update that shows them masked", func(t *testing.T) {
		id := create("kept", object{"password": "hunter2", "bucket": "b"})
		s.must(204, "PATCH", "/api/blocks/"+id, object{"data": object{"bucket": "c", "password": "********"}})
		if got := s.blockData(id); !sameJSON(t, got, `{"bucket":"c","password":"hunter2"}`) {
			t.Errorf("the data is %s", got)
		}
		s.must(204, "PATCH", "/api/blocks/"+id, object{"data": object{"password": "new"}})
		s.must(204, "PATCH", "/api/blocks/"+id, object{"name": "renamed"})
		if got := s.blockData(id); got != `{"password":"new"}` {
			t.Errorf("the data is %s", got)
		}
	})
	t.Run("are not invented for masks that stand for nothing", func(t *testing.T) {
		id := create("odd", object{"bucket": "b"})
		a := s.do("PATCH", "/api/blocks/"+id, object{"data": object{"bucket": "********"}})
		if a.status != 422 || !strings.Contains(a.text, "data: bucket is ********") {
			t.Errorf("%d %s", a.status, a.text)
		}
		if a := s.do("POST", "/api/blocks/", object{"name": "new", "block_spec_id": spec["id"], "data": object{"password": "********"}}); a.status != 422 {
			t.Errorf("%d %s", a.status, a.text)
		}
		if got := s.blockData(id); got != `{"bucket":"b"}` {
			t.Errorf("the data is %s", got)
		}
		s.must(404, "PATCH", "/api/blocks/"+spec["id"].(string), object{"data": object{"password": "********"}})
	})
	t.Run("survive updates at the same time", func(t *testing.T) {
		id := create("busy", object{"password": "0"})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 5 {
					a := s.do("PATCH", "/api/blocks/"+id, object{"data": object{"password": "********", "n": 1}})
					if a.status != 204 && a.status != 409 {
						t.Errorf("%d %s", a.status, a.text)
					}
				}
			})
		}
		all.Wait()
		if got := s.blockData(id); !sameJSON(t, got, `{"password":"0","n":1}`) {
			t.Errorf("the data is %s", got)
		}
	})
	t.Run("are read and sealed when they were stored in clear", func(t *testing.T) {
		id, specID := api.NewID(), s.blockRow(create("other", object{})).BlockSpecId
		_, _, err := s.server.proposer.Propose(t.Context(), &command.Envelope{Seed: newID(), Command: &command.Envelope_CreateBlock{
			CreateBlock: &command.CreateBlock{Id: id[:], Name: "old", BlockSpecId: specID, DataJson: []byte(`{"password":"old"}`)}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.blockData(id.String()); got != `{"password":"old"}` {
			t.Errorf("the data is %s", got)
		}
		s.must(201, "POST", "/api/webhooks", object{"name": "signed", "url": "https://example.com/hook"})
		s.secrets.rotate(t)
		total := 0
		for {
			step := s.must(200, "POST", "/api/secrets/reseal", nil)
			total += int(step["resealed"].(float64))
			if step["remaining"].(float64) == 0 {
				break
			}
		}
		if again := s.must(200, "POST", "/api/secrets/reseal", nil); again["resealed"].(float64) != 0 || total < 5 {
			t.Errorf("%d were resealed, then %v", total, again)
		}
		if b := s.blockRow(id.String()); len(b.DataJson) != 0 || s.blockData(id.String()) != `{"password":"old"}` {
			t.Errorf("stored is %v", b)
		}
		keys := s.must(200, "GET", "/api/secrets/keys", nil)["keys"].([]any)
		if n, hooks := keys[0].(object)["blocks"].(float64), keys[0].(object)["webhooks"].(float64); int(n+hooks) != total || hooks != 1 {
			t.Errorf("%v blocks and %v webhooks are under the new key, %d were resealed", n, hooks, total)
		}
	})
}

func TestAWarningLeavesTheNodeReady(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	s.health.checks = append(s.health.checks, Check{Name: "secrets", OK: true, Warning: true, Text: "something is to be done"})
	for _, path := range []string{"/readyz", "/readyz?verbose"} {
		if a := s.do("GET", path, nil); a.status != 200 || !strings.Contains(a.text, "[!] secrets: something is to be done\n") {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	ax, err1 := json.Marshal(x)
	by, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && string(ax) == string(by)
}

var _ Secrets = (*testSecrets)(nil)
