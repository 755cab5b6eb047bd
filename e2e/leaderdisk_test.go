//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-dev/sluice/api"
)

// newDiskNodes prepares three nodes; the first has its data on the disk.
func newDiskNodes(t *testing.T, dir string, flags ...string) *nodes {
	t.Helper()
	c := newNodes(t, 3, append([]string{"--insecure"}, flags...)...)
	c.all[0].dataDir = filepath.Join(dir, "data")
	c.all[0].flags = append(c.all[0].flags, "--data-dir", c.all[0].dataDir)
	c.start()
	return c
}

// lead makes a node the leader.
func (c *nodes) lead(s *server) {
	c.t.Helper()
	shell := newClient(c.t, s)
	eventually(c.t, "the node leads", func() error {
		if c.leader() == s {
			return nil
		}
		if r := shell.run("cluster", "transfer-leadership", clusterOf(c.t, s).NodeID); r.code != 0 {
			return fmt.Errorf("leadership is not transferred\n%s", r)
		}
		return fmt.Errorf("%s leads", c.leader().address)
	})
}

// leadsNot waits until another node leads.
func (c *nodes) leadsNot(s *server) {
	c.t.Helper()
	eventually(c.t, "another node leads", func() error {
		if c.leader() == s {
			return fmt.Errorf("%s leads", s.address)
		}
		return nil
	})
}

func TestALeaderWhoseDiskIsNearlyFullGivesWay(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 256<<20)
	c := newDiskNodes(t, d.dir, "--disk-low-water", fmt.Sprint(64<<20))
	sick := c.all[0]
	c.lead(sick)
	mark := sick.mark()
	d.fill(20 << 20)
	sick.waitAfter(mark, "this node gives up leadership.*the disk under .* is nearly full")
	c.leadsNot(sick)
	sick.says("refused: logs, stored values and new runs")
	conn := c.connect(c.all[1:]...)
	queue(t, conn, "written meanwhile", 0)
	d.fill(0) // to the last byte: it stays a follower that cannot store, and nobody waits for it
	queue(t, conn, "written on a full disk", 0)
	c.leadsNot(sick)
	d.empty()
	sick.waitReady()
	contains(t, newClient(t, sick).ok("work-queue", "ls"), "written meanwhile", "written on a full disk")
}

func TestAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	t.Run("at start is refused with what to do", func(t *testing.T) {
		t.Parallel()
		d := newDisk(t, 256<<20)
		remount := func(flags uintptr) {
			t.Helper()
			if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
				t.Fatalf("remount: %v", err)
			}
		}
		s := newServer(t)
		s.flags = append(s.flags, "--data-dir", filepath.Join(d.dir, "alone"))
		s.start()
		s.stop()
		remount(unix.MS_RDONLY)
		s.begin()
		if code := s.wait(); code != 1 {
			t.Errorf("it ended with exit code %d", code)
		}
		contains(t, s.output(), "read-only file system", "try: ", "remount it writable")
		remount(0)
		s.start()
		s.stop()
	})
	t.Run("under the leader makes another lead", func(t *testing.T) {
		t.Parallel()
		d := newFileDisk(t, 512<<20)
		c := newDiskNodes(t, d.dir)
		sick := c.all[0]
		c.lead(sick)
		conn := c.connect(c.all[1:]...)
		queue(t, conn, "before", 0)
		mark := sick.mark()
		d.fail()
		if _, err := conn.CreateWorkQueue(t.Context(), api.WorkQueueCreate{Name: "while the disk is read-only"}); err != nil && api.KindOf(err) != api.KindUnknownOutcome {
			t.Errorf("a write to a leader whose disk fails: %v", err)
		}
		sick.waitAfter(mark, "read-only file system")
		c.leadsNot(sick)
		sick.says("read-only")
		queue(t, conn, "another leads", 0)
	})
}

// fileDisk is a file system in a file, which can hang and fail as a disk does.
type fileDisk struct {
	t     *testing.T
	dir   string
	guard *exec.Cmd
}

func newFileDisk(t *testing.T, size int64) *fileDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a disk needs root")
	}
	image := filepath.Join(t.TempDir(), "image")
	f := must[*os.File](t)(os.Create(image))
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	d := &fileDisk{t: t, dir: t.TempDir()}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop,errors=remount-ro", image, d.dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			if command[0] == "mount" {
				t.Skipf("mounting a file is not possible here: %v: %s", err, out)
			}
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", d.dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
		}
	})
	return d
}

// freeze makes every write hang until thaw, or until this process ends: what hangs on a disk cannot even be killed.
func (d *fileDisk) freeze() {
	d.t.Helper()
	d.guard = exec.Command("sh", "-c", `fsfreeze -f "$1" && echo frozen && { read -r _; fsfreeze -u "$1"; }`, "sh", d.dir)
	input := must[io.WriteCloser](d.t)(d.guard.StdinPipe())
	output := must[io.ReadCloser](d.t)(d.guard.StdoutPipe())
	if err := d.guard.Start(); err != nil {
		d.t.Fatal(err)
	}
	guard := d.guard
	d.t.Cleanup(func() { // before those of the processes, which were started earlier
		_ = input.Close()
		_ = guard.Wait()
	})
	if _, err := output.Read(make([]byte, 16)); err != nil {
		d.t.Fatalf("the disk cannot be frozen: %v", err)
	}
}

// fail makes the kernel find an error on the disk and let nobody write any more.
func (d *fileDisk) fail() {
	d.t.Helper()
	device := strings.TrimSpace(string(must[[]byte](d.t)(exec.Command("findmnt", "-no", "SOURCE", d.dir).Output())))
	if err := os.WriteFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error"), []byte("e2e"), 0); err != nil {
		d.t.Skipf("the kernel offers no way to let a disk fail: %v", err)
	}
}

func (d *fileDisk) thaw() {
	d.t.Helper()
	if out, err := exec.Command("fsfreeze", "-u", d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("thaw: %v: %s", err, out)
	}
}

func TestALeaderWhoseDiskHangsStepsDownAndComesBack(t *testing.T) {
	t.Parallel()
	d := newFileDisk(t, 512<<20)
	c := newDiskNodes(t, d.dir)
	sick := c.all[0]
	c.lead(sick)
	conn := c.connect(c.all[1:]...)
	queue(t, conn, "before", 0)
	mark := sick.mark()
	d.freeze()
	// The leader has this write in its hands: nobody can say whether it is done until the disk comes back or another leads.
	if _, err := conn.CreateWorkQueue(t.Context(), api.WorkQueueCreate{Name: "while the disk hangs"}); err != nil && api.KindOf(err) != api.KindUnknownOutcome {
		t.Errorf("a write to a leader whose disk hangs: %v", err)
	}
	sick.waitAfter(mark, "leadership lost")
	c.leadsNot(sick)
	sick.says("a write to the raft log has not returned within")
	queue(t, conn, "another leads", 0)
	d.thaw()
	sick.waitAfter(mark, "raft restarted from disk.*a log write took")
	sick.waitReady()
	eventually(t, "the node shows what was written without it", func() error {
		got := newClient(t, sick).run("work-queue", "ls").stdout
		for _, name := range []string{"before", "another leads"} {
			if !strings.Contains(got, name) {
				return fmt.Errorf("%q is missing in\n%s", name, got)
			}
		}
		return nil
	})
}
