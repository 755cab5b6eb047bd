package spool_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
)

// appendSDK keeps lines with the given numbers and returns their bytes on disk.
func appendSDK(t *testing.T, w *spool.SDKWriter, from, to int) (bytes int64) {
	t.Helper()
	for n := from; n < to; n++ {
		line, err := json.Marshal(api.LogCreate{Message: fmt.Sprint(n)})
		if err != nil {
			t.Fatal(err)
		}
		size, err := w.Append(line)
		if err != nil {
			t.Fatal(err)
		}
		bytes += size
	}
	return bytes
}

func TestLinesOfAKilledProgramAreDeliveredByAnotherFromTheBatchThatWasSentLast(t *testing.T) {
	t.Parallel()
	dir, run := t.TempDir(), api.NewID()
	d, folder, producer := open(t, dir, spool.Limits{}), spool.SDKFolder(dir), api.NewID()
	w, err := spool.CreateSDK(folder, run.String(), "http://a/api", producer)
	if err != nil {
		t.Fatal(err)
	}
	first, second := appendSDK(t, w, 0, 3), appendSDK(t, w, 3, 5)
	appendSDK(t, w, 5, 8)
	for _, step := range []error{w.Announce(1, first), w.Done(first), w.Announce(2, second)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if files, err := d.AdoptSDK(&run); err != nil || len(files) != 0 {
		t.Fatalf("while its process lives: %v %v", files, err)
	}
	if err := w.Close(); err != nil { // as the system does for a killed process; there are undelivered lines
		t.Fatal(err)
	}
	if files, err := spool.AdoptScripts(folder, "http://b/api"); err != nil || len(files) != 0 {
		t.Fatalf("for another server: %v %v", files, err)
	}
	files, err := spool.AdoptScripts(folder, "http://a/api")
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	if got := fmt.Sprint(readSDK(t, files[0], 9)); got != "[2: 3 4 3: 5 6 7 end]" {
		t.Errorf("got %s", got)
	}
	if err := files[0].Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFileWhoseLinesWereAllDeliveredStartsAgainWhenItIsLongAndGoesWhenItIsClosed(t *testing.T) {
	t.Parallel()
	addresses := strings.Repeat("http://a.node.with.a.long.name.example/api,", 10) // more than the header holds
	folder := t.TempDir()
	w, err := spool.CreateSDK(folder, "script", addresses, api.NewID())
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(`{"message":"` + strings.Repeat("x", 1<<20) + `"}`)
	for n := range uint64(9) {
		size, err := w.Append(line)
		if err = errors.Join(err, w.Announce(n+1, size), w.Done(size)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Size() > 5<<20 {
		t.Error(info.Size(), err)
	}
	appendSDK(t, w, 0, 1)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := spool.AdoptScripts(folder, addresses)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if got := fmt.Sprint(readSDK(t, files[0], 9)); !strings.HasSuffix(got, " 10: 0 end]") || len(got) > 2<<20 { // the last batch again, then the rest
		t.Errorf("got %d bytes, %.80s", len(got), got)
	}
	_ = files[0].Close()
	w, err = spool.CreateSDK(t.TempDir(), "script", addresses, api.NewID())
	if err != nil {
		t.Fatal(err)
	}
	size := appendSDK(t, w, 0, 2)
	if err := errors.Join(w.Announce(1, size), w.Done(size), w.Close()); err != nil {
		t.Fatal(err)
	}
}
