package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// LookPath finds a program as a shell with this PATH would, whose working
// directory is dir (empty: the agent's). Its errors are of the type *exec.Error.
func LookPath(program, path, dir string) (string, error) {
	if dir == "" {
		dir = "."
	}
	if strings.ContainsRune(program, filepath.Separator) {
		if !filepath.IsAbs(program) {
			program = filepath.Join(dir, program)
		}
		if err := executable(program); err != nil {
			return "", &exec.Error{Name: program, Err: err}
		}
		return filepath.Abs(program)
	}
	for _, folder := range filepath.SplitList(path) {
		if folder == "" {
			folder = "."
		}
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		if candidate := filepath.Join(folder, program); program != "" && executable(candidate) == nil {
			return filepath.Abs(candidate)
		}
	}
	return "", &exec.Error{Name: program, Err: exec.ErrNotFound}
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("is not an executable file: %w", os.ErrPermission)
	}
	return nil
}
