package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// recover reads a file that another process left: identity, the newer of the
// two checkpoints, and the frames up to the first one that is not whole.
func (f *File) recover() error {
	header := make([]byte, framesAt)
	if _, err := f.raw.ReadAt(header, 0); err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	if string(header[:8]) != magic || crc32.Checksum(header[:40], castagnoli) != binary.LittleEndian.Uint32(header[40:]) {
		return errors.New("the header is damaged")
	}
	copy(f.producer[:], header[8:24])
	copy(f.flowRun[:], header[24:40])
	found := false
	for i := range 2 {
		at := checkpointsAt + i*checkpointSize
		slot := header[at : at+checkpointSize]
		if crc32.Checksum(slot[:28], castagnoli) != binary.LittleEndian.Uint32(slot[28:]) {
			continue
		}
		writes := binary.LittleEndian.Uint32(slot[24:])
		if writes == 0 || (found && int32(writes-f.writes) < 0) {
			continue
		}
		found = true
		f.writes = writes
		f.mark = checkpoint{
			sequence:   binary.LittleEndian.Uint64(slot[0:]),
			acked:      int64(binary.LittleEndian.Uint64(slot[8:])),
			pendingEnd: int64(binary.LittleEndian.Uint64(slot[16:])),
		}
	}
	if !found {
		return errors.New("both checkpoints are damaged")
	}
	if f.mark.acked < framesAt || (f.mark.pendingEnd != 0 && f.mark.pendingEnd <= f.mark.acked) {
		return errors.New("the checkpoint makes no sense")
	}
	info, err := f.raw.Stat()
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if f.mark.acked > info.Size() {
		// The process died between cutting the file and noting it.
		f.mark.acked, f.mark.pendingEnd = framesAt, 0
	}
	f.size, err = f.wholeUntil(f.mark.acked, info.Size())
	if err != nil {
		return err
	}
	if f.size < info.Size() {
		if err := f.raw.Truncate(f.size); err != nil {
			return fmt.Errorf("cut a torn line: %w", err)
		}
	}
	if f.mark.pendingEnd > f.size {
		f.mark.pendingEnd = f.size
	}
	if f.mark.pendingEnd == f.mark.acked {
		f.mark.pendingEnd = 0
	}
	f.finished = true
	return nil
}

// wholeUntil is the offset behind the last frame of [from, to) that is whole.
func (f *File) wholeUntil(from, to int64) (int64, error) {
	var head [frameHead]byte
	var payload []byte
	for at := from; ; {
		if to-at < frameHead+frameTime {
			return at, nil
		}
		if _, err := f.raw.ReadAt(head[:], at); err != nil {
			return 0, fmt.Errorf("read a frame: %w", err)
		}
		length := int64(binary.LittleEndian.Uint32(head[:]))
		if length < frameTime || length > maxFrame || at+frameHead+length > to {
			return at, nil
		}
		payload = append(payload[:0], make([]byte, length)...)
		if _, err := f.raw.ReadAt(payload, at+frameHead); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read a frame: %w", err)
		}
		if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return at, nil
		}
		at += frameHead + length
	}
}
