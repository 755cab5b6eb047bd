package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/sluice-dev/sluice/cluster"
)

// methodDebug is how a node asks any other for a part of what support needs; the question is the part's name.
const methodDebug = "debug"

// maxPart bounds a part, in bytes: it must fit into an answer between nodes.
const maxPart = 4 << 20

// debugParts is what a node tells for support, by file. None of it holds what users stored: no rows, parameters, results, logs of
// runs, blocks or keys.
var debugParts = []struct {
	file string
	make func(*Node, context.Context, *bytes.Buffer) error
}{
	{"status.json", asJSON(func(n *Node, _ context.Context) (any, error) { return describeStatus(n.cluster.Status()), nil })},
	{"report.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.report(), nil })},
	{"members.json", asJSON(func(n *Node, ctx context.Context) (any, error) { return n.cluster.Roll(ctx), nil })},
	{"leader-views.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.cluster.MemberViews(), nil })},
	{"gossip.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.cluster.Members(), nil })},
	{"raft.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.cluster.RaftStats(), nil })},
	{"settings.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.config.Settings, nil })},
	{"process.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.describeProcess(), nil })},
	{"disk.json", asJSON(func(n *Node, _ context.Context) (any, error) { return n.describeDisk() })},
	{"readyz.txt", (*Node).writeChecks},
	{"build.txt", writeBuild},
	{"metrics.txt", (*Node).writeMetrics},
	{"log.txt", (*Node).writeLog},
	{"goroutines.txt", func(_ *Node, _ context.Context, b *bytes.Buffer) error {
		return pprof.Lookup("goroutine").WriteTo(b, 2)
	}},
	{"heap.pprof", func(_ *Node, _ context.Context, b *bytes.Buffer) error { return pprof.Lookup("heap").WriteTo(b, 0) }},
}

func asJSON(describe func(*Node, context.Context) (any, error)) func(*Node, context.Context, *bytes.Buffer) error {
	return func(n *Node, ctx context.Context, b *bytes.Buffer) error {
		v, err := describe(n, ctx)
		if err != nil {
			return err
		}
		e := json.NewEncoder(b)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
}

func (n *Node) serveDebug(ctx context.Context, body []byte) ([]byte, error) {
	for _, p := range debugParts {
		if p.file != string(body) {
			continue
		}
		var b bytes.Buffer
		if err := p.make(n, ctx, &b); err != nil {
			return nil, fmt.Errorf("make %s: %w", p.file, err)
		}
		if b.Len() > maxPart {
			b.Truncate(maxPart)
			b.WriteString("\n... cut here\n")
		}
		return b.Bytes(), nil
	}
	return nil, fmt.Errorf("this version makes no %q", body)
}

// describeStatus is a Status with its errors as text.
func describeStatus(s cluster.Status) any {
	say := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	halted, disk := say(s.Halted), say(s.DiskErr)
	s.Halted, s.DiskErr = nil, nil
	return struct {
		cluster.Status
		Halted, DiskErr string
	}{s, halted, disk}
}

func (n *Node) describeProcess() any {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]any{"pid": os.Getpid(), "started": n.started.UTC(), "now": time.Now().UTC(), "cpus": runtime.NumCPU(), "gomaxprocs": runtime.GOMAXPROCS(0),
		"goroutines": runtime.NumGoroutine(), "heap_bytes": m.HeapAlloc, "system_bytes": m.Sys, "collections": m.NumGC}
}

// maxFiles bounds the files that are listed of a data directory.
const maxFiles = 5000

func (n *Node) describeDisk() (any, error) {
	type file struct {
		Path    string    `json:"path"`
		Bytes   int64     `json:"bytes"`
		Changed time.Time `json:"changed"`
	}
	var out struct {
		Dir      string `json:"dir"`
		Free     int64  `json:"free_bytes"`
		Size     int64  `json:"size_bytes"`
		LowWater int64  `json:"low_water_bytes"`
		Refuses  string `json:"refuses"`
		Used     int64  `json:"used_bytes"` // by all files
		Count    int    `json:"file_count"`
		Files    []file `json:"files"` // the first of them
	}
	now, err := n.disk.room()
	if err != nil {
		return nil, err
	}
	out.Dir, out.Free, out.Size, out.LowWater, out.Refuses = n.config.DataDir, now.free, now.size, n.disk.low, n.disk.level(now.free).String()
	err = filepath.WalkDir(n.config.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		out.Used += info.Size()
		if out.Count++; out.Count <= maxFiles {
			relative, err := filepath.Rel(n.config.DataDir, path)
			if err != nil {
				return err
			}
			out.Files = append(out.Files, file{relative, info.Size(), info.ModTime().UTC()})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", n.config.DataDir, err)
	}
	return out, nil
}

// ignoreGone drops the error of a file that was removed while files were listed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (n *Node) writeChecks(ctx context.Context, b *bytes.Buffer) error {
	for _, c := range n.Checks(ctx) {
		fmt.Fprintf(b, "%s %s: %s\n", c.Mark(), c.Name, c.Text)
	}
	return nil
}

func writeBuild(n *Node, _ context.Context, b *bytes.Buffer) error {
	fmt.Fprintf(b, "version\t%s\n", n.config.Version)
	if info, ok := debug.ReadBuildInfo(); ok {
		b.WriteString(info.String())
	}
	return nil
}

func (n *Node) writeMetrics(_ context.Context, b *bytes.Buffer) error {
	families, err := n.registry.Gather()
	if err != nil {
		return err
	}
	e := expfmt.NewEncoder(b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) writeLog(_ context.Context, b *bytes.Buffer) error {
	if n.config.RecentLog == nil {
		return errors.New("this process keeps no recent log")
	}
	text, lost := n.config.RecentLog.Lines()
	if lost > 0 {
		fmt.Fprintf(b, "... %d earlier lines are not kept\n", lost)
	}
	b.Write(text)
	return nil
}
