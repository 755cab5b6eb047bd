package pebblekv

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestOnlyTheClusterVersionRaisesTheFormat(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	// A later version with a newer format from cluster version 2 on.
	later := Options{FS: fs, FormatAt: func(v uint64) pebble.FormatMajorVersion {
		if v < 2 {
			return FormatMajor
		}
		return pebble.FormatNewest
	}}
	open := func(o Options) *Store {
		t.Helper()
		s, err := Open("db", o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	format := func(s *Store, want pebble.FormatMajorVersion, when string) {
		t.Helper()
		if got := s.FormatMajor(); got != uint64(want) {
			t.Errorf("%s: format %d, want %d", when, got, want)
		}
	}
	s := open(later)
	format(s, FormatMajor, "created by the later version")
	if err := s.RaiseFormat(1); err != nil {
		t.Fatal(err)
	}
	format(s, FormatMajor, "at the old cluster version")
	b := s.NewBatch()
	if err := errors.Join(b.Set([]byte("k"), []byte("v")), s.Commit(b, true), b.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(Options{FS: fs})
	format(s, FormatMajor, "the earlier version opens it again")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(later)
	for range 2 {
		if err := s.RaiseFormat(2); err != nil {
			t.Fatal(err)
		}
	}
	format(s, pebble.FormatNewest, "at the new cluster version")
	if err := errors.Join(s.RaiseFormat(1), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(Options{FS: fs})
	format(s, pebble.FormatNewest, "opening lowers nothing")
	if v, err := s.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("read %q, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFormatOfANewerVersionIsNotTouched(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, err := Open("db", Options{FS: fs})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	// Pebble keeps its format in the name of a file.
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "marker.format-version."); ok {
			number, _, _ := strings.Cut(rest, ".")
			if err := fs.Rename(fs.PathJoin("db", name), fs.PathJoin("db", "marker.format-version."+number+".999")); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{FS: fs}, {FS: fs, ReadOnly: true}} {
		_, err = Open("db", o)
		if want := fmt.Sprintf("this version reads on-disk formats up to %d", NewestReadableFormat); !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "999") {
			t.Errorf("got %v", err)
		}
	}
	if after, err := fs.List("db"); err != nil || len(after) != len(before) {
		t.Errorf("before %q, after %q, %v", before, after, err)
	}
}
