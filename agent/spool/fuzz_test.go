package spool_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-dev/sluice/agent/spool"
)

// FuzzAdopt gives the next agent any file at all: it must not panic, and must
// come to an end.
func FuzzAdopt(f *testing.F) {
	path := f.TempDir()
	d, err := spool.Open(path, spool.Limits{})
	if err != nil {
		f.Fatal(err)
	}
	file, err := d.Create([16]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	if err := file.Append(lines(0, 5)); err != nil {
		f.Fatal(err)
	}
	if _, err := file.Next(context.Background()); err != nil {
		f.Fatal(err)
	}
	file.Close()
	names, _ := filepath.Glob(filepath.Join(path, "*.spool"))
	good, err := os.ReadFile(names[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte("SLSPOOL1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		d := open(t, dir, spool.Limits{})
		if err := os.WriteFile(filepath.Join(dir, "x.spool"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		files, _ := d.Adopt()
		for _, adopted := range files {
			for {
				if _, err := adopted.Next(context.Background()); err != nil {
					break
				}
				if err := adopted.Acknowledge(); err != nil {
					t.Fatal(err)
				}
			}
			adopted.Close()
		}
	})
}
