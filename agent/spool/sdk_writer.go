package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-dev/sluice/api"
)

// sdkReuse is how long a file may get, in bytes, before it starts again once all of it is delivered.
const sdkReuse = 4 << 20

// SDKWriter keeps the log lines of this process on disk until they are delivered, so that another process can deliver them when this
// one is killed. Nothing is synced. It is used by one goroutine at a time.
type SDKWriter struct {
	path    string
	raw     *os.File
	head    sdkHead
	read    int64 // what lies before is delivered
	written int64
}

// CreateSDK makes the file of a process in a folder, which is made too: of the process of a flow run, or "script". addresses are those of
// the server the lines are for.
func CreateSDK(folder, of, addresses string, producer api.ID) (*SDKWriter, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for log lines: %w", err)
	}
	path := filepath.Join(folder, fmt.Sprintf("%s-%d-%s%s", of, os.Getpid(), producer.String()[:8], sdkSuffix))
	raw, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a file for log lines: %w", err)
	}
	w := &SDKWriter{path: path, raw: raw, head: sdkHead{Form: 1, Producer: producer, API: addresses, Start: sdkHeader, End: sdkHeader}, read: sdkHeader, written: sdkHeader}
	held, err := lock(raw)
	if err == nil && !held {
		err = errors.New("another process holds it")
	}
	if err = errors.Join(err, w.head.write(raw)); err != nil {
		_ = raw.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("make a file for log lines: %w", err)
	}
	return w, nil
}

// Append keeps a line, which is one of JSON without a line end, and returns how many bytes of the file it takes.
func (w *SDKWriter) Append(line []byte) (int64, error) {
	n, err := w.raw.WriteAt(append(line, '\n'), w.written)
	if err != nil {
		return 0, errors.Join(err, w.raw.Truncate(w.written))
	}
	w.written += int64(n)
	return int64(n), nil
}

// Announce notes that the next lines, which take so many bytes, are about to be sent as batch number sequence.
func (w *SDKWriter) Announce(sequence uint64, bytes int64) error {
	w.head.Sequence, w.head.Start, w.head.End = sequence, w.read, w.read+bytes
	return w.head.write(w.raw)
}

// Done notes that lines which take so many bytes are delivered, or given up.
func (w *SDKWriter) Done(bytes int64) error {
	w.read += bytes
	if w.read < w.written || w.written <= sdkReuse {
		return nil
	}
	if err := w.raw.Truncate(sdkHeader); err != nil {
		return fmt.Errorf("start a file of log lines again: %w", err)
	}
	w.read, w.written = sdkHeader, sdkHeader
	return w.Announce(w.head.Sequence, 0)
}

// Close ends the use of the file, and removes it when all of it is delivered.
func (w *SDKWriter) Close() error {
	var err error
	if w.read >= w.written {
		err = os.Remove(w.path)
	}
	return errors.Join(err, w.raw.Close())
}
