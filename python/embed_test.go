package python_test

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/python"
)

// onDisk is the SDK of the checkout, by path.
func onDisk(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir("sluice", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".pyc" {
			return err
		}
		content, err := os.ReadFile(path)
		found[filepath.ToSlash(path)] = content
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func check(t *testing.T, folder string) {
	t.Helper()
	for path, want := range onDisk(t) {
		got, err := os.ReadFile(filepath.Join(folder, path))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from the checkout (%v)", path, err)
		}
	}
	leftovers, err := filepath.Glob(filepath.Join(filepath.Dir(folder), ".python-*"))
	if err != nil || len(leftovers) > 0 {
		t.Errorf("left behind: %v %v", leftovers, err)
	}
}

func TestEveryFileOfTheSDKIsEmbedded(t *testing.T) {
	t.Parallel()
	var buffer bytes.Buffer
	if err := python.Zip(&buffer); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(buffer.Bytes()), int64(buffer.Len()))
	if err != nil {
		t.Fatal(err)
	}
	want := onDisk(t)
	if want["sluice/__init__.py"] == nil || len(archive.File) != len(want) {
		t.Fatalf("%d files are embedded, the checkout has %d", len(archive.File), len(want))
	}
	for _, file := range archive.File {
		if want[file.Name] == nil {
			t.Errorf("%s is embedded and not in the checkout", file.Name)
		}
	}
}

func TestManyWritersAtOnceAgreeOnOneCompleteFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	folders := make([]string, 16)
	errs := make([]error, len(folders))
	var group sync.WaitGroup
	for i := range folders {
		group.Go(func() { folders[i], errs[i] = python.WriteTo(dir) })
	}
	group.Wait()
	for i, folder := range folders {
		if errs[i] != nil || folder != folders[0] {
			t.Fatalf("writer %d: %q, %v; writer 0: %q", i, folder, errs[i], folders[0])
		}
	}
	check(t, folders[0])
}

func TestADamagedFolderIsRestored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder, err := python.WriteTo(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "sluice", "engine.py")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(folder, "sluice", "runs.py"), 10); err != nil {
		t.Fatal(err)
	}
	again, err := python.WriteTo(dir)
	if err != nil || again != folder {
		t.Fatalf("second write: %q, %v", again, err)
	}
	check(t, folder)
}

func TestAnUnwritableFolderIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := python.WriteTo(filepath.Join(file, "cache"))
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Fatalf("error %v does not name %s", err, file)
	}
}

func TestPythonImportsTheSDKFromTheFolderAndFromTheZip(t *testing.T) {
	t.Parallel()
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on this machine")
	}
	folder, err := python.WriteTo(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var buffer bytes.Buffer
	if err := python.Zip(&buffer); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sdk.zip")
	if err := os.WriteFile(file, buffer.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, entry := range []string{folder, file} {
		command := exec.Command(interpreter, "-c", "import sluice, sluice.engine, sluice.orion.schemas.states; print(sluice.__file__)")
		command.Dir = t.TempDir() // the working directory comes first on the path
		command.Env = append(os.Environ(), "PYTHONPATH="+entry)
		out, err := command.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), entry) {
			t.Errorf("import from %s: %v: %s", entry, err, out)
		}
	}
}
