// Package profile reads and writes the file in which a user keeps settings: named profiles of variables, one of them active.
package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is the file of profiles: sections of KEY = "value" lines, and which section is active. Nothing else of TOML is
// used, so that the SDKs can read it without a library.
type File struct {
	Path     string
	Active   string
	Sections map[string]map[string]string
}

// Name is that of the file, in the directory of Sluice's own files.
const Name = "profiles.toml"

// Default is active until another is chosen.
const Default = "default"

// Read reads the file; a missing one has an empty default profile. An error names the line.
func Read(path string) (*File, error) {
	p := &File{Path: path, Active: Default, Sections: map[string]map[string]string{Default: {}}}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	section := ""
	number := 0
	for line := range strings.SplitSeq(string(content), "\n") {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			name, found := strings.CutPrefix(strings.TrimSuffix(line, "]"), "[profiles.")
			if !found || !strings.HasSuffix(line, "]") {
				return nil, fmt.Errorf("%s:%d: expected [profiles.NAME]", path, number)
			}
			section = strings.Trim(name, `"`)
			if p.Sections[section] == nil {
				p.Sections[section] = map[string]string{}
			}
			continue
		}
		key, quoted, found := strings.Cut(line, "=")
		value, err := unquote(strings.TrimSpace(quoted))
		if !found || err != nil {
			return nil, fmt.Errorf(`%s:%d: expected KEY = "value"`, path, number)
		}
		key = strings.Trim(strings.TrimSpace(key), `"`)
		switch {
		case section != "":
			p.Sections[section][key] = value
		case key == "active":
			p.Active = value
		}
	}
	return p, nil
}

func unquote(s string) (string, error) {
	if len(s) >= 2 && s[0] == '\'' {
		if end := strings.IndexByte(s[1:], '\''); end >= 0 && onlyComment(s[end+2:]) {
			return s[1 : end+1], nil
		}
		return "", errors.New("unended text")
	}
	decoder := json.NewDecoder(strings.NewReader(s))
	var value string
	if err := decoder.Decode(&value); err != nil {
		return "", err
	}
	if !onlyComment(s[decoder.InputOffset():]) {
		return "", errors.New("text after the value")
	}
	return value, nil
}

func onlyComment(rest string) bool {
	rest = strings.TrimSpace(rest)
	return rest == "" || rest[0] == '#'
}

// Write replaces the file whole; only its owner may read it, as it may hold keys.
func (p *File) Write() error {
	var b strings.Builder
	fmt.Fprintf(&b, "active = %s\n", quote(p.Active))
	for _, name := range slices.Sorted(maps.Keys(p.Sections)) {
		fmt.Fprintf(&b, "\n[profiles.%s]\n", name)
		for _, key := range slices.Sorted(maps.Keys(p.Sections[name])) {
			fmt.Fprintf(&b, "%s = %s\n", key, quote(p.Sections[name][key]))
		}
	}
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o700); err != nil {
		return fmt.Errorf("make the directory of profiles: %w", err)
	}
	partial := p.Path + ".partial"
	if err := os.WriteFile(partial, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	if err := os.Rename(partial, p.Path); err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	return nil
}

func quote(s string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string and a Builder cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
