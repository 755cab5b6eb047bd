// Package python carries the Python SDK inside the binary, so that agents and the CLI can put it on the path of the
// Python processes they start.
package python

import (
	"archive/zip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Patterns, not directories: those would leave out __init__.py, and "all:" would take __pycache__ along.
//
//go:embed sluice/py.typed sluice/*.py sluice/*/*.py sluice/*/*/*.py
var files embed.FS

// Hash identifies the content of the SDK: 16 hexadecimal digits.
func Hash() (string, error) {
	sum := sha256.New()
	err := walk(func(path string, content []byte) error {
		fmt.Fprintf(sum, "%s\x00%d\x00", path, len(content))
		sum.Write(content)
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// WriteTo puts the SDK into a folder of its own below dir, which is made when missing, and returns that folder: an
// entry for PYTHONPATH. The folder's name has the content's hash, so that it is written once and SDKs of several
// versions can lie side by side. Several processes may do so at once. Files that were removed or cut are restored.
func WriteTo(dir string) (string, error) {
	hash, err := Hash()
	if err != nil {
		return "", err
	}
	folder, err := filepath.Abs(filepath.Join(dir, "python-"+hash))
	if err != nil {
		return "", fmt.Errorf("write the Python SDK: %w", err)
	}
	switch _, err := os.Stat(folder); {
	case err == nil:
		return folder, restore(folder)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("write the Python SDK: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", fmt.Errorf("write the Python SDK: %w", err)
	}
	// The folder appears complete or not at all: it is written beside and renamed.
	beside, err := os.MkdirTemp(filepath.Dir(folder), ".python-")
	if err != nil {
		return "", fmt.Errorf("write the Python SDK: %w", err)
	}
	defer os.RemoveAll(beside) //nolint:errcheck // leftovers do no harm
	if err := os.Chmod(beside, 0o755); err != nil {
		return "", fmt.Errorf("write the Python SDK: %w", err)
	}
	if err := restore(beside); err != nil {
		return "", err
	}
	if err := os.Rename(beside, folder); err != nil {
		if _, missing := os.Stat(folder); missing != nil {
			return "", fmt.Errorf("write the Python SDK: %w", err)
		}
		return folder, restore(folder) // another process was faster
	}
	return folder, nil
}

// restore writes the files that are not there with their full size. It replaces whole files, so that a process that
// is reading one never sees a part of it.
func restore(folder string) error {
	return walk(func(path string, content []byte) error {
		target := filepath.Join(folder, filepath.FromSlash(path))
		if info, err := os.Stat(target); err == nil && info.Size() == int64(len(content)) {
			return nil
		}
		if err := replace(target, content); err != nil {
			return fmt.Errorf("write the Python SDK: %w", err)
		}
		return nil
	})
}

func replace(target string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(target), ".part-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone once renamed
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), target)
}

// Zip writes the SDK as one zip file, which Python can import from as well. The same SDK gives the same bytes.
func Zip(w io.Writer) error {
	archive := zip.NewWriter(w)
	err := walk(func(path string, content []byte) error { return put(archive, path, content) })
	if err := errors.Join(err, archive.Close()); err != nil {
		return fmt.Errorf("zip the Python SDK: %w", err)
	}
	return nil
}

// walk visits the files in the order of their paths.
func walk(visit func(path string, content []byte) error) error {
	return fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return visit(path, content)
	})
}
