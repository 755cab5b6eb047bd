package spool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"

	"github.com/sluice-dev/sluice/agent/spool"
)

var start = time.Date(2022, 4, 27, 14, 18, 22, 0, time.UTC)

func lines(from, to int) []spool.Line {
	var all []spool.Line
	for i := from; i < to; i++ {
		all = append(all, spool.Line{Time: start.Add(time.Duration(i) * time.Microsecond), Text: fmt.Sprintf("line %d é", i)})
	}
	return all
}

func open(t *testing.T, path string, limits spool.Limits) *spool.Directory {
	t.Helper()
	d, err := spool.Open(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t *testing.T, d *spool.Directory) *spool.File {
	t.Helper()
	f, err := d.Create(api.NewID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func adoptOne(t *testing.T, d *spool.Directory) *spool.File {
	t.Helper()
	files, err := d.Adopt()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Fatalf("adopted %d files, want 1", len(files))
	}
	t.Cleanup(func() { files[0].Close() })
	return files[0]
}

func appendLines(t *testing.T, f *spool.File, l []spool.Line) {
	t.Helper()
	if err := f.Append(l); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, f *spool.File) spool.Batch {
	t.Helper()
	b, err := f.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func acknowledge(t *testing.T, f *spool.File) {
	t.Helper()
	if err := f.Acknowledge(); err != nil {
		t.Fatal(err)
	}
}

func drain(t *testing.T, f *spool.File) []spool.Line {
	t.Helper()
	var all []spool.Line
	for {
		b, err := f.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Lines...)
		acknowledge(t, f)
	}
}

func TestLinesComeBackInOrderInNumberedBatches(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir(), spool.Limits{BatchLines: 7})
	f := create(t, d)
	want := lines(0, 100)
	appendLines(t, f, want[:33])
	appendLines(t, f, want[33:])
	f.Finish()
	var got []spool.Line
	for sequence := uint64(1); ; sequence++ {
		b, err := f.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Sequence != sequence || len(b.Lines) > 7 {
			t.Fatalf("batch %d has %d lines, want number %d and at most 7", b.Sequence, len(b.Lines), sequence)
		}
		got = append(got, b.Lines...)
		acknowledge(t, f)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %d lines that differ from the %d written", len(got), len(want))
	}
}

func TestABatchThatWasSentKeepsItsBoundsInTheNextProcess(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path, spool.Limits{})
	f := create(t, d)
	appendLines(t, f, lines(0, 3))
	next(t, f)
	acknowledge(t, f)
	appendLines(t, f, lines(3, 5))
	sent := next(t, f)
	appendLines(t, f, lines(5, 9)) // after it was sent: belongs to the following batch
	f.Close()                      // what the end of a process does: the lock goes, the file stays

	again := adoptOne(t, d)
	if again.FlowRun() != f.FlowRun() {
		t.Errorf("flow run %s became %s", f.FlowRun(), again.FlowRun())
	}
	repeated := next(t, again)
	if !reflect.DeepEqual(repeated, sent) {
		t.Fatalf("sent %+v, repeated as %+v", sent, repeated)
	}
	acknowledge(t, again)
	rest := next(t, again)
	if rest.Sequence != sent.Sequence+1 || !reflect.DeepEqual(rest.Lines, lines(5, 9)) {
		t.Errorf("then came %+v", rest)
	}
	acknowledge(t, again)
	if _, err := again.Next(context.Background()); !errors.Is(err, io.EOF) {
		t.Errorf("then came %v, want EOF", err)
	}
	again.Close()
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("a drained file stayed: %v", left)
	}
}

func TestAFileCutAnywhereLosesOnlyItsTornLine(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path, spool.Limits{})
	f := create(t, d)
	const first = 128
	ends := []int64{first}
	want := lines(0, 4)
	name, _ := filepath.Glob(filepath.Join(path, "*.spool"))
	for _, line := range want {
		appendLines(t, f, []spool.Line{line})
		info, err := os.Stat(name[0])
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Size())
	}
	f.Close()
	whole, err := os.ReadFile(name[0])
	if err != nil {
		t.Fatal(err)
	}
	for size := int64(first); size <= int64(len(whole)); size++ {
		kept := 0
		for kept < len(want) && ends[kept+1] <= size {
			kept++
		}
		cut := t.TempDir()
		if err := os.WriteFile(filepath.Join(cut, filepath.Base(name[0])), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		got := drain(t, adoptOne(t, open(t, cut, spool.Limits{})))
		if len(got) != kept || (kept > 0 && !reflect.DeepEqual(got, want[:kept])) {
			t.Fatalf("cut at %d: got %d lines, want %d", size, len(got), kept)
		}
	}
}

func TestADamagedCheckpointFallsBackToTheOneBefore(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path, spool.Limits{BatchLines: 1})
	f := create(t, d)
	appendLines(t, f, lines(0, 2))
	first := next(t, f) // the newest checkpoint says only: batch 1 may have been sent
	f.Close()
	name, _ := filepath.Glob(filepath.Join(path, "*.spool"))
	raw, err := os.ReadFile(name[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[64+3] ^= 1 // second write of two: slot 0
	if err := os.WriteFile(name[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := next(t, adoptOne(t, d)); !reflect.DeepEqual(got, first) {
		t.Errorf("got %+v, want %+v", got, first)
	}
}

func TestAFileIsNotAdoptedWhileItsProcessHoldsIt(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir(), spool.Limits{})
	create(t, d)
	files, err := d.Adopt()
	if err != nil || len(files) != 0 {
		t.Errorf("adopted %d files (%v) of a living writer", len(files), err)
	}
}

func TestADamagedFileIsNamedAndTheOthersAreAdopted(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path, spool.Limits{})
	f := create(t, d)
	appendLines(t, f, lines(0, 1))
	f.Close()
	if err := os.WriteFile(filepath.Join(path, "bad.spool"), make([]byte, 500), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := d.Adopt()
	if err == nil {
		t.Error("no error names the damaged file")
	}
	if len(files) != 1 {
		t.Fatalf("adopted %d files, want 1", len(files))
	}
	files[0].Close()
}

func TestAFullFileAcceptsLinesAgainOnceTheServerHasSome(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir(), spool.Limits{Unshipped: 100})
	f := create(t, d)
	appendLines(t, f, lines(0, 3))
	if err := f.Append(lines(3, 6)); !errors.Is(err, spool.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	next(t, f)
	if err := f.AppendAnyway(lines(6, 7)[0]); err != nil {
		t.Fatalf("the line that tells of the loss: %v", err)
	}
	acknowledge(t, f)
	appendLines(t, f, lines(7, 8))
	if b := next(t, f); !reflect.DeepEqual(b.Lines, lines(6, 8)) {
		t.Errorf("got %+v", b)
	}
}

func TestWhatIsShippedDoesNotFillTheDisk(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path, spool.Limits{BatchBytes: 1000})
	f := create(t, d)
	var got []spool.Line
	for i := 0; i < 1000; i += 50 {
		appendLines(t, f, lines(i, i+50))
		for !f.Drained() {
			got = append(got, next(t, f).Lines...)
			acknowledge(t, f)
		}
		name, _ := filepath.Glob(filepath.Join(path, "*.spool"))
		info, err := os.Stat(name[0])
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 5000 {
			t.Fatalf("the file grew to %d bytes though everything was shipped", info.Size())
		}
	}
	if !reflect.DeepEqual(got, lines(0, 1000)) {
		t.Error("lines were lost or reordered")
	}
	f.Close()
	again := adoptOne(t, d)
	if _, err := again.Next(context.Background()); !errors.Is(err, io.EOF) {
		t.Errorf("a shipped file still had lines: %v", err)
	}
}

func TestNextWaitsForALine(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir(), spool.Limits{})
	f := create(t, d)
	got := make(chan spool.Batch)
	go func() {
		b, _ := f.Next(context.Background())
		got <- b
	}()
	appendLines(t, f, lines(0, 1))
	if b := <-got; len(b.Lines) != 1 {
		t.Errorf("got %+v", b)
	}
	acknowledge(t, f)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after the context ended", err)
	}
}
