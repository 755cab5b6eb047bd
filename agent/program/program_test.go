package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	file := bytes.Repeat([]byte("#!/bin/sh\necho hello\n"), 1000)
	packed, err := Pack(file)
	if err != nil {
		t.Fatal(err)
	}
	describe := func() *api.Program {
		return &api.Program{Language: "go", Name: "leo", OS: runtime.GOOS, Arch: runtime.GOARCH, SHA256: Hash(file)}
	}
	cache := func(t *testing.T, stored []byte) (*Cache, *int) {
		loads := 0
		return &Cache{Dir: filepath.Join(t.TempDir(), "programs"), Load: func(context.Context, api.DataDocument) ([]byte, error) {
			loads++
			if stored == nil {
				return nil, errors.New("no such key")
			}
			return stored, nil
		}}, &loads
	}
	t.Run("are fetched once and can be executed", func(t *testing.T) {
		t.Parallel()
		c, loads := cache(t, packed)
		for range 3 {
			path, err := c.Path(t.Context(), describe())
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			info, _ := os.Stat(path)
			if err != nil || !bytes.Equal(got, file) || info.Mode().Perm() != 0o700 {
				t.Fatal(err, info.Mode())
			}
		}
		again := &Cache{Dir: c.Dir, Load: c.Load} // as after a restart of the agent
		if _, err := again.Path(t.Context(), describe()); err != nil || *loads != 1 {
			t.Error(err, *loads)
		}
	})
	t.Run("are fetched again when their file was changed or removed", func(t *testing.T) {
		t.Parallel()
		c, loads := cache(t, packed)
		path, err := c.Path(t.Context(), describe())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("something else"), 0o700); err != nil {
			t.Fatal(err)
		}
		again := &Cache{Dir: c.Dir, Load: c.Load}
		if _, err := again.Path(t.Context(), describe()); err != nil || *loads != 2 {
			t.Fatal(err, *loads)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := again.Path(t.Context(), describe()); err != nil || *loads != 3 {
			t.Error(err, *loads)
		}
	})
	t.Run("that were not used for a month make room for new ones", func(t *testing.T) {
		t.Parallel()
		c, _ := cache(t, packed)
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		old := filepath.Join(c.Dir, "old")
		long := time.Now().Add(-keep - time.Hour)
		if err := errors.Join(os.WriteFile(old, nil, 0o700), os.Chtimes(old, long, long)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Path(t.Context(), describe()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
			t.Error("the old file is still there")
		}
	})
	for name, test := range map[string]struct {
		stored []byte
		change func(*api.Program)
		want   string
	}{
		"for another machine":  {packed, func(p *api.Program) { p.OS, p.Arch = "plan9", "mips" }, "was built for plan9/mips, but this machine is " + runtime.GOOS},
		"that are not stored":  {nil, func(*api.Program) {}, `fetch the program "leo": no such key`},
		"that are no programs": {[]byte("hello"), func(*api.Program) {}, `unpack the program "leo"`},
		"that have changed":    {packed, func(p *api.Program) { p.SHA256 = Hash([]byte("x")) }, "is not the one the deployment was created with"},
	} {
		t.Run(name+" are refused", func(t *testing.T) {
			t.Parallel()
			c, _ := cache(t, test.stored)
			p := describe()
			test.change(p)
			if _, err := c.Path(t.Context(), p); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
	t.Run("whose description is damaged are refused", func(t *testing.T) {
		t.Parallel()
		for _, blob := range []string{"", "[]", "{}", `{"sha256":"../../etc/passwd"}`} {
			if p, err := Parse(api.DataDocument{Encoding: api.EncodingProgram, Blob: blob}); err == nil {
				t.Errorf("%q was read as %+v", blob, p)
			}
		}
	})
}
