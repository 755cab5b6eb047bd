package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv"
)

func TestANewerStreamSaysWhoReadsIt(t *testing.T) {
	t.Parallel()
	hist := newHistory(11)
	leader := newNode(t, vfs.NewMem(), hist, nil)
	leader.apply(50)
	meta, good := leader.stream()
	of := func(minReader uint32) []byte {
		b := edit(t, good, func(m *manifest) { m.MinReader = minReader })
		binary.BigEndian.PutUint32(b[len(magic):], formatVersion+4)
		return b
	}
	n := newNode(t, vfs.NewMem(), hist, nil)
	_, err := n.receive(meta, bytes.NewReader(of(formatVersion+1)))
	want := fmt.Sprintf("the snapshot was made by a newer version; upgrade this node (format %d, this version reads up to %d)", formatVersion+4, formatVersion)
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), want) {
		t.Errorf("a stream only newer versions read: %v", err)
	}
	n.checkDir("refused")
	sized := *meta
	stream := of(formatVersion)
	sized.Size = int64(len(stream))
	id, err := n.receive(&sized, bytes.NewReader(stream))
	n.must(err)
	n.must(n.restore(id))
	n.check("a newer stream that this version reads")
}

// filesIn lists all files with their sizes.
func filesIn(t *testing.T, fs vfs.FS, dir string) (files []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			files = append(files, filesIn(t, fs, path)...)
			continue
		}
		files = append(files, fmt.Sprint(path, " ", info.Size()))
	}
	slices.Sort(files)
	return files
}

func TestAStateThatIsNotAdmittedIsNotTouched(t *testing.T) {
	t.Parallel()
	errNo := errors.New("this cluster version is too new")
	hist := newHistory(12)
	fs := vfs.NewMem()
	n := newNode(t, fs, hist, nil)
	n.apply(50)
	if err := n.h.Close(); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, fs, n.h.dir)
	c := config(fs, &n.lock)
	c.Admit = func(r kv.Reader) error {
		if m, err := ReadMeta(r); err != nil || m.Applied != 50 {
			t.Errorf("asked about a database at %d, %v", m.Applied, err)
		}
		return errNo
	}
	if _, err := Open(c); !errors.Is(err, errNo) {
		t.Fatalf("opened: %v", err)
	}
	// Pebble's lock file is not data.
	after := filesIn(t, fs, n.h.dir)
	if !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

func TestASnapshotThatIsNotAdmittedIsNotInstalled(t *testing.T) {
	t.Parallel()
	hist := newHistory(13)
	leader := newNode(t, vfs.NewMem(), hist, nil)
	leader.h.c.Describe = func(kv.Reader) (Info, error) { return Info{ClusterID: "theirs", ClusterVersion: 7}, nil }
	leader.apply(200)
	meta, stream := leader.stream()
	n := newNode(t, vfs.NewMem(), hist, nil)
	n.apply(100)
	errForeign, errOld := errors.New("of another cluster"), errors.New("too new for this binary")
	n.h.c.AdmitInfo = func(i Info) error {
		if i.ClusterID == "theirs" && i.ClusterVersion == 7 {
			return errForeign
		}
		return nil
	}
	if _, err := n.receive(meta, bytes.NewReader(stream)); !errors.Is(err, errForeign) {
		t.Errorf("by what it says: %v", err)
	}
	n.h.c.AdmitInfo = func(Info) error { return nil }
	n.h.c.Admit = func(kv.Reader) error { return errOld }
	if _, err := n.receive(meta, bytes.NewReader(stream)); !errors.Is(err, errOld) {
		t.Errorf("by what is in it: %v", err)
	}
	n.checkDir("refused")
	if got := n.check("refused"); got != 100 {
		t.Errorf("the state is at %d", got)
	}
}
