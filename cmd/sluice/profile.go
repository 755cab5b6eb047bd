package main

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

// profiles is the file of profiles: sections of KEY = "value" lines, and which section is active. Nothing else of TOML is
// used, so that the SDKs can read it without a library.
type profiles struct {
	path     string
	active   string
	sections map[string]map[string]string
}

// defaultProfile is active until another is chosen.
const defaultProfile = "default"

// readProfiles reads the file; a missing one has an empty default profile.
func readProfiles(path string) (*profiles, error) {
	p := &profiles{path: path, active: defaultProfile, sections: map[string]map[string]string{defaultProfile: {}}}
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
				return nil, usagef("%s:%d: expected [profiles.NAME]", path, number)
			}
			section = strings.Trim(name, `"`)
			if p.sections[section] == nil {
				p.sections[section] = map[string]string{}
			}
			continue
		}
		key, quoted, found := strings.Cut(line, "=")
		value, err := unquote(strings.TrimSpace(quoted))
		if !found || err != nil {
			return nil, usagef(`%s:%d: expected KEY = "value"`, path, number)
		}
		key = strings.Trim(strings.TrimSpace(key), `"`)
		switch {
		case section != "":
			p.sections[section][key] = value
		case key == "active":
			p.active = value
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

// write replaces the file whole; only its owner may read it, as it may hold keys.
func (p *profiles) write() error {
	var b strings.Builder
	fmt.Fprintf(&b, "active = %s\n", quote(p.active))
	for _, name := range slices.Sorted(maps.Keys(p.sections)) {
		fmt.Fprintf(&b, "\n[profiles.%s]\n", name)
		for _, key := range slices.Sorted(maps.Keys(p.sections[name])) {
			fmt.Fprintf(&b, "%s = %s\n", key, quote(p.sections[name][key]))
		}
	}
	if err := os.MkdirAll(filepath.Dir(p.path), 0o700); err != nil {
		return fmt.Errorf("make the directory of profiles: %w", err)
	}
	partial := p.path + ".partial"
	if err := os.WriteFile(partial, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	if err := os.Rename(partial, p.path); err != nil {
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
