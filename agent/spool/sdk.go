package spool

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sluice-dev/sluice/api"
)

// sdkSuffix ends the names of the files in which the SDKs keep the log lines of one process: SDKWriter writes those of Go,
// python/sluice/log_spool.py those of Python, which also describes them.
const sdkSuffix = ".lines"

// sdkHeader is the size of their header.
const sdkHeader = 256

// sdkHead is their header: who sends the lines to which server, and which bytes were sent last under which number.
type sdkHead struct {
	Form     int    `json:"sluice_lines"` // 1
	Producer api.ID `json:"producer"`
	API      string `json:"api"`
	Sequence uint64 `json:"sequence"`
	Start    int64  `json:"start"`
	End      int64  `json:"end"`
}

func (h *sdkHead) valid() bool { return h.Start >= sdkHeader && h.End >= h.Start }

// write puts the header at the beginning of a file.
func (h *sdkHead) write(to io.WriterAt) error {
	text, err := json.Marshal(h)
	if err == nil && len(text) >= sdkHeader { // the addresses are for telling servers apart, which their digest does as well
		short := *h
		short.API = addressDigest(h.API)
		text, err = json.Marshal(short)
	}
	if err != nil {
		return fmt.Errorf("note what is sent of a flow process's log lines: %w", err)
	}
	header := bytes.Repeat([]byte{' '}, sdkHeader)
	copy(header, text)
	header[sdkHeader-1] = '\n'
	if _, err := to.WriteAt(header, 0); err != nil {
		return fmt.Errorf("note what is sent of a flow process's log lines: %w", err)
	}
	return nil
}

// addressDigest stands for addresses that are too long for the header; it is the Python SDK's.
func addressDigest(addresses string) string {
	sum := md5.Sum([]byte(addresses)) // for naming, not for security
	return hex.EncodeToString(sum[:])
}

// SDKFolder is where the flow processes of agents with this spool directory keep log lines until they are delivered. They deliver them
// themselves; what a killed one leaves is delivered by its agent.
func SDKFolder(directory string) string { return filepath.Join(directory, "sdk") }

// SDKFile holds the log lines of a flow process that has ended.
type SDKFile struct {
	path   string
	raw    *os.File
	header sdkHead
	limits Limits
	reader *bufio.Reader
	begun  bool
	at     int64 // where the next line begins
}

// AdoptSDK takes over the files that ended processes of a flow run have left, of all runs if it is nil. Files of living processes are
// left alone. The caller must Close each.
func (d *Directory) AdoptSDK(flowRun *api.ID) ([]*SDKFile, error) {
	pattern := "*" + sdkSuffix
	if flowRun != nil {
		pattern = flowRun.String() + "-*" + sdkSuffix
	}
	return adoptSDK(filepath.Join(SDKFolder(d.path), pattern), d.limits, nil)
}

// AdoptScripts takes over the files in a folder that ended processes have left for the server with these addresses: those of programs
// that no agent had started. The caller must Close each.
func AdoptScripts(folder, addresses string) ([]*SDKFile, error) {
	var limits Limits
	limits.setDefaults()
	return adoptSDK(filepath.Join(folder, "*"+sdkSuffix), limits, func(h *sdkHead) bool {
		return h.API == addresses || h.API == addressDigest(addresses)
	})
}

// adoptSDK takes over the files of a pattern that are wanted; nil wants all.
func adoptSDK(pattern string, limits Limits, wanted func(*sdkHead) bool) ([]*SDKFile, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("look for log lines of flow processes: %w", err)
	}
	var found []*SDKFile
	var problems []error
	for _, path := range paths {
		file, err := openSDK(path, limits)
		switch {
		case err != nil:
			problems = append(problems, err)
		case file == nil:
		case wanted != nil && !wanted(&file.header):
			_ = file.Close()
		default:
			found = append(found, file)
		}
	}
	return found, errors.Join(problems...)
}

// openSDK takes over one file; nil when its process lives.
func openSDK(path string, limits Limits) (*SDKFile, error) {
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil // it was delivered meanwhile
		}
		return nil, fmt.Errorf("open log lines of a flow process: %w", err)
	}
	if held, err := lock(raw); err != nil || !held {
		_ = raw.Close()
		return nil, err // its process lives, or all was delivered meanwhile
	}
	f := &SDKFile{path: path, raw: raw, limits: limits}
	header := make([]byte, sdkHeader)
	if _, err := raw.ReadAt(header, 0); err != nil || json.Unmarshal(header, &f.header) != nil || !f.header.valid() {
		_ = raw.Close()
		return nil, fmt.Errorf("%s holds no log lines of a flow process; it is left as it is", path)
	}
	// The batch that was sent last may not have arrived: it is sent again under its number, exactly.
	f.at = f.header.Start
	if _, err := raw.Seek(f.at, io.SeekStart); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("read log lines of a flow process: %w", err)
	}
	f.reader = bufio.NewReaderSize(raw, 64<<10)
	return f, nil
}

// SDKBatch is a part of the lines, to be stored once under (Producer, Sequence).
type SDKBatch struct {
	Producer api.ID
	Sequence uint64
	Logs     []api.LogCreate
}

// Next returns the next batch, io.EOF after the last one. The one before it counts as delivered.
func (f *SDKFile) Next() (SDKBatch, error) {
	batch := SDKBatch{Producer: f.header.Producer, Sequence: f.header.Sequence}
	again := !f.begun && f.header.End > f.header.Start
	f.begun = true
	start := f.at
	for {
		if again && f.at >= f.header.End {
			return batch, nil
		}
		if !again && len(batch.Logs) > 0 && (len(batch.Logs) >= f.limits.BatchLines || f.at-start >= int64(f.limits.BatchBytes)) {
			break
		}
		line, err := f.reader.ReadBytes('\n')
		if err != nil { // the last line may be half of one
			if !errors.Is(err, io.EOF) {
				return SDKBatch{}, fmt.Errorf("read log lines of a flow process: %w", err)
			}
			break
		}
		f.at += int64(len(line))
		var log api.LogCreate
		if json.Unmarshal(line, &log) == nil {
			batch.Logs = append(batch.Logs, log)
		}
	}
	if len(batch.Logs) == 0 {
		return SDKBatch{}, io.EOF
	}
	if again {
		return batch, nil
	}
	f.header.Sequence++
	f.header.Start, f.header.End = start, f.at
	batch.Sequence = f.header.Sequence
	return batch, f.header.write(f.raw) // for the next one who adopts the file
}

// Remove deletes the file, whose lines are delivered.
func (f *SDKFile) Remove() error { return os.Remove(f.path) }

// Path is the file's.
func (f *SDKFile) Path() string { return f.path }

// Close ends the use of the file. What was not removed can be adopted again.
func (f *SDKFile) Close() error { return f.raw.Close() }
