package houserules

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pureFolders are applied on every replica and must do the same there: no clock, randomness, environment or map order.
var pureFolders = []string{"fsm", "fsm/command", "fsm/state", "fsm/orchestration"}

// impureImports must not be imported there. The adapter to Raft (fsm/fsm.go) may log and lock; it makes no decision.
var impureImports = []string{"math/rand", "math/rand/v2", "crypto/rand", "os", "net", "net/http", "os/exec", "runtime"}

// impureCalls must not be called there.
var impureCalls = map[string][]string{"time": {"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep", "LoadLocation"}}

// mapRangesAllowed says where ranging over a map cannot reach the state, and why.
var mapRangesAllowed = map[string]string{
	"fsm/state/tx.go:Flush": "each counter is written once, under its own key: order does not show in the store",
}

func TestTheStateMachineIsAPureFunction(t *testing.T) {
	t.Parallel()
	root := moduleRoot(t)
	for _, folder := range pureFolders {
		fset := token.NewFileSet()
		var files []*ast.File
		var names []string
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".go") && !strings.HasSuffix(e.Name(), "_test.go") && !strings.HasSuffix(e.Name(), ".pb.go") {
				f, err := parser.ParseFile(fset, filepath.Join(root, folder, e.Name()), nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
				names = append(names, folder+"/"+e.Name())
			}
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
		// Imports that do not resolve leave types unknown; maps of our own and of the standard library do resolve.
		config := types.Config{Importer: importer.Default(), Error: func(error) {}}
		_, _ = config.Check(folder, fset, files, info)
		for i, f := range files {
			checkImports(t, names[i], f)
			checkBodies(t, fset, names[i], f, info)
		}
	}
}

func checkImports(t *testing.T, name string, f *ast.File) {
	for _, spec := range f.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if spec.Name != nil && spec.Name.Name == "." {
			t.Errorf("%s imports %s without a name: what it uses of it cannot be seen", name, path)
		}
		for _, bad := range impureImports {
			if path == bad {
				t.Errorf("%s imports %s: what it needs from there must come in the command, put there by the proposer", name, path)
			}
		}
	}
}

func checkBodies(t *testing.T, fset *token.FileSet, name string, f *ast.File, info *types.Info) {
	imported := importNames(f)
	for _, decl := range f.Decls {
		where := ""
		if fn, isFunc := decl.(*ast.FuncDecl); isFunc {
			where = fn.Name.Name
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				pkg, isName := n.X.(*ast.Ident)
				if !isName {
					return true
				}
				for _, bad := range impureCalls[imported[pkg.Name]] {
					if n.Sel.Name == bad {
						t.Errorf("%s uses %s.%s: times come in the command or the entry's stamp", fset.Position(n.Pos()), imported[pkg.Name], bad)
					}
				}
			case *ast.RangeStmt:
				if tv, known := info.Types[n.X]; known && tv.Type != nil {
					if _, isMap := tv.Type.Underlying().(*types.Map); isMap && mapRangesAllowed[name+":"+where] == "" {
						t.Errorf("%s ranges over a map: its order differs between replicas; sort the keys, or allow it here with the reason why order cannot show", fset.Position(n.Pos()))
					}
				}
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: applying is sequential", fset.Position(n.Pos()))
			}
			return true
		})
	}
}

// importNames are the paths of a file's imports by the names they have in it.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

func moduleRoot(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(dir))
}
