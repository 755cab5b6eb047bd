package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// ErrFull is returned by Append when the file already holds Limits.Unshipped
// bytes the server has not acknowledged. Nothing of the call was kept.
var ErrFull = errors.New("the spool of this flow run is full")

// Line is one line of output without its line end.
type Line struct {
	Time time.Time // kept in microseconds
	Text string
}

// Batch is what is sent to the server in one request.
type Batch struct {
	Producer api.ID
	Sequence uint64 // 1, 2, … per producer
	Lines    []Line
}

// Layout of a file: identity (magic, producer, flow run, checksum), two
// checkpoint slots written in turn so that a torn write leaves the other, then
// frames of (length, checksum, time, text).
const (
	magic          = "SLSPOOL1"
	identitySize   = 8 + 16 + 16 + 4
	checkpointsAt  = 64
	checkpointSize = 32
	framesAt       = 128
	frameHead      = 8
	frameTime      = 8
	maxFrame       = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkpoint says what the server has. Invariant: framesAt <= acked <= file
// size, and pendingEnd is 0 or in (acked, file size].
type checkpoint struct {
	sequence   uint64 // of the last acknowledged batch
	acked      int64  // offset behind the last acknowledged frame
	pendingEnd int64  // end of the batch sequence+1 that may have been sent, or 0
}

// File holds the output of one flow run. Append and Finish may be called by one
// goroutine while another one calls Next and Acknowledge.
type File struct {
	raw      *os.File
	path     string
	limits   Limits
	flowRun  api.ID
	producer api.ID
	wake     chan struct{} // capacity 1: something was appended or finished

	mu       sync.Mutex // guards what follows
	size     int64
	finished bool
	mark     checkpoint
	writes   uint32 // number of checkpoint writes; its parity is the slot
}

func newFile(raw *os.File, path string, limits Limits) *File {
	return &File{raw: raw, path: path, limits: limits, size: framesAt,
		mark: checkpoint{acked: framesAt}, wake: make(chan struct{}, 1)}
}

// FlowRun is the run whose output this is.
func (f *File) FlowRun() api.ID { return f.flowRun }

// Append keeps the lines, all or none.
func (f *File) Append(lines []Line) error { return f.append(lines, f.limits.Unshipped) }

// AppendAnyway keeps one line even when the file is full: the one that says so.
func (f *File) AppendAnyway(line Line) error { return f.append([]Line{line}, math.MaxInt64) }

func (f *File) append(lines []Line, limit int64) error {
	var frames []byte
	for _, line := range lines {
		if len(line.Text) > maxFrame-frameTime {
			return fmt.Errorf("write to the spool: a line of %d bytes is longer than %d", len(line.Text), maxFrame-frameTime)
		}
		frames = appendFrame(frames, line)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.finished {
		return errors.New("append to a finished spool file")
	}
	if f.size+int64(len(frames))-f.mark.acked > limit {
		return ErrFull
	}
	if _, err := f.raw.WriteAt(frames, f.size); err != nil {
		// A half written frame must not stay before the next ones.
		return errors.Join(fmt.Errorf("write to the spool: %w", err), f.raw.Truncate(f.size))
	}
	f.size += int64(len(frames))
	f.signal()
	return nil
}

// Finish says that no more lines come.
func (f *File) Finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished = true
	f.signal()
}

func (f *File) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Drained reports whether the server has acknowledged every line so far.
func (f *File) Drained() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mark.acked == f.size
}

// Next waits for lines and returns the next batch, the same one until it was
// acknowledged. It answers io.EOF when the file is finished and drained.
func (f *File) Next(ctx context.Context) (Batch, error) {
	for {
		batch, err := f.next()
		if err != nil || len(batch.Lines) > 0 {
			return batch, err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
	}
}

func (f *File) next() (Batch, error) {
	f.mu.Lock()
	mark, size, finished := f.mark, f.size, f.finished
	f.mu.Unlock()
	if mark.acked == size {
		if finished {
			return Batch{}, io.EOF
		}
		return Batch{}, nil
	}
	end := size
	if mark.pendingEnd != 0 {
		end = mark.pendingEnd
	}
	lines, end, err := f.read(mark.acked, end, mark.pendingEnd != 0)
	if err != nil {
		return Batch{}, err
	}
	if mark.pendingEnd == 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		mark.pendingEnd = end
		if err := f.writeCheckpoint(mark); err != nil {
			return Batch{}, err
		}
	}
	return Batch{Producer: f.producer, Sequence: mark.sequence + 1, Lines: lines}, nil
}

// read decodes the frames in [from, to), as many as fit into one batch unless
// all are asked for, and says where it stopped.
func (f *File) read(from, to int64, all bool) ([]Line, int64, error) {
	if !all {
		to = min(to, from+max(int64(f.limits.BatchBytes), maxFrame+frameHead))
	}
	r := io.NewSectionReader(f.raw, from, to-from)
	data := make([]byte, 0, min(to-from, int64(f.limits.BatchBytes)+64<<10))
	var lines []Line
	at, bytes := from, 0
	for at < to && (all || len(lines) < f.limits.BatchLines) {
		var head [frameHead]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, 0, fmt.Errorf("read the spool: %w", err)
		}
		length := int(binary.LittleEndian.Uint32(head[:]))
		if !all && len(lines) > 0 && bytes+length > f.limits.BatchBytes {
			break
		}
		if length < frameTime || length > maxFrame {
			return nil, 0, fmt.Errorf("read the spool: frame at %d has the impossible length %d", at, length)
		}
		data = append(data[:0], make([]byte, length)...)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, 0, fmt.Errorf("read the spool: %w", err)
		}
		if crc32.Checksum(data, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return nil, 0, fmt.Errorf("read the spool: frame at %d is damaged", at)
		}
		lines = append(lines, Line{
			Time: time.UnixMicro(int64(binary.LittleEndian.Uint64(data))).UTC(),
			Text: string(data[frameTime:]),
		})
		bytes += length
		at += int64(frameHead + length)
	}
	return lines, at, nil
}

// Acknowledge says that the server has the batch Next returned last.
func (f *File) Acknowledge() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mark.pendingEnd == 0 {
		return errors.New("acknowledge a batch that was never taken")
	}
	mark := checkpoint{sequence: f.mark.sequence + 1, acked: f.mark.pendingEnd}
	// A long run must not fill the disk with what is shipped. Cut first, note
	// afterwards: recover reads "acked beyond the end" as this very step.
	if mark.acked == f.size && f.size-framesAt > int64(f.limits.BatchBytes) {
		if err := f.raw.Truncate(framesAt); err != nil {
			return fmt.Errorf("cut the spool: %w", err)
		}
		f.size, mark.acked = framesAt, framesAt
		f.mark = mark
	}
	return f.writeCheckpoint(mark)
}

// Close gives the file up: a drained and finished one is removed, any other
// stays for the next agent. Calling it again does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var removed error
	if f.finished && f.mark.acked == f.size {
		removed = os.Remove(f.path)
	}
	err := f.raw.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(removed, err)
}

func appendFrame(b []byte, line Line) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = binary.LittleEndian.AppendUint64(b, uint64(line.Time.UnixMicro()))
	b = append(b, line.Text...)
	payload := b[at+frameHead:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b
}

func (f *File) writeHeader() error {
	header := make([]byte, framesAt)
	copy(header, magic)
	copy(header[8:], f.producer[:])
	copy(header[24:], f.flowRun[:])
	binary.LittleEndian.PutUint32(header[40:], crc32.Checksum(header[:40], castagnoli))
	if _, err := f.raw.WriteAt(header, 0); err != nil {
		return err
	}
	return f.writeCheckpoint(f.mark)
}

// writeCheckpoint notes mark on disk and then in memory. Callers hold mu, or are
// the only ones who know the file.
func (f *File) writeCheckpoint(mark checkpoint) error {
	var slot [checkpointSize]byte
	binary.LittleEndian.PutUint64(slot[0:], mark.sequence)
	binary.LittleEndian.PutUint64(slot[8:], uint64(mark.acked))
	binary.LittleEndian.PutUint64(slot[16:], uint64(mark.pendingEnd))
	binary.LittleEndian.PutUint32(slot[24:], f.writes+1)
	binary.LittleEndian.PutUint32(slot[28:], crc32.Checksum(slot[:28], castagnoli))
	at := int64(checkpointsAt + checkpointSize*((f.writes+1)%2))
	if _, err := f.raw.WriteAt(slot[:], at); err != nil {
		return fmt.Errorf("note what was shipped: %w", err)
	}
	f.writes++
	f.mark = mark
	return nil
}
