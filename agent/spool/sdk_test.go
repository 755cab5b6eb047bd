package spool_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
)

// sdkFile writes a file as the Python SDK does: lines with the given numbers, of which the batch from..to was sent last as sequence.
func sdkFile(t *testing.T, folder string, run api.ID, count, from, to, sequence int, tail string) (path string, producer api.ID) {
	t.Helper()
	producer = api.NewID()
	var text strings.Builder
	offsets := []int{256}
	for n := range count {
		line, err := json.Marshal(api.LogCreate{Name: "sluice.flow_runs", Level: 20, Message: fmt.Sprint(n), FlowRunID: run})
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
		offsets = append(offsets, 256+text.Len())
	}
	header := fmt.Sprintf(`{"sluice_lines":1,"producer":"%s","api":"http://a/api","sequence":%d,"start":%d,"end":%d}`, producer, sequence, offsets[from], offsets[to])
	path = filepath.Join(folder, run.String()+"-77-x.lines")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(fmt.Sprintf("%-255s\n", header)+text.String()+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, producer
}

func readSDK(t *testing.T, f *spool.SDKFile, most int) (got []string) {
	t.Helper()
	for range most {
		batch, err := f.Next()
		if errors.Is(err, io.EOF) {
			return append(got, "end")
		}
		if err != nil {
			t.Fatal(err)
		}
		numbers := make([]string, 0, len(batch.Logs))
		for _, log := range batch.Logs {
			numbers = append(numbers, log.Message)
		}
		got = append(got, fmt.Sprintf("%d: %s", batch.Sequence, strings.Join(numbers, " ")))
	}
	return got
}

func adoptSDKFile(t *testing.T, d *spool.Directory, run *api.ID) *spool.SDKFile {
	t.Helper()
	files, err := d.AdoptSDK(run)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	t.Cleanup(func() { _ = files[0].Close() })
	return files[0]
}

func TestLinesOfAnEndedFlowProcessAreDeliveredFromTheBatchThatWasSentLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, run := open(t, dir, spool.Limits{BatchLines: 3}), api.NewID()
	path, _ := sdkFile(t, spool.SDKFolder(dir), run, 10, 2, 6, 5, `{"message":"half a li`)
	other := api.NewID()
	if files, err := d.AdoptSDK(&other); err != nil || len(files) != 0 {
		t.Fatalf("another run's: %v %v", files, err)
	}
	f := adoptSDKFile(t, d, &run)
	if files, err := d.AdoptSDK(nil); err != nil || len(files) != 0 {
		t.Errorf("adopted twice: %v %v", files, err)
	}
	if got := fmt.Sprint(readSDK(t, f, 2)); got != "[5: 2 3 4 5 6: 6 7 8]" {
		t.Errorf("got %s", got)
	}
	// The one who delivers is killed as well: the next repeats its last batch.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = adoptSDKFile(t, d, nil)
	if got := fmt.Sprint(readSDK(t, f, 9)); got != "[6: 6 7 8 7: 9 end]" {
		t.Errorf("got %s", got)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestFilesOfLivingFlowProcessesAndDamagedOnesAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, run := open(t, dir, spool.Limits{}), api.NewID()
	path, _ := sdkFile(t, spool.SDKFolder(dir), run, 3, 0, 0, 0, "")
	living, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if err := syscall.Flock(int(living.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if files, err := d.AdoptSDK(&run); err != nil || len(files) != 0 {
		t.Errorf("of a living process: %v %v", files, err)
	}
	for i, content := range []string{"", "x", strings.Repeat("y", 400), fmt.Sprintf("%-255s\n", `{"start":1,"end":0}`)} {
		if err := os.WriteFile(filepath.Join(spool.SDKFolder(dir), fmt.Sprint("broken", i, ".lines")), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := d.AdoptSDK(nil)
	if len(files) != 0 || err == nil || strings.Count(err.Error(), "left as it is") != 4 {
		t.Errorf("%v %v", files, err)
	}
}
