package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

// A snapshot on the wire and in a backup:
//
//	magic 8 bytes | format u32 | length of the manifest u32 | CRC of the manifest u32 | manifest (JSON)
//	each file: its bytes | CRC u32
//	end magic 8 bytes
//
// Integers are big endian, CRCs are CRC-32C. A file's CRC follows it so that the sender reads each file once.
const (
	magic    = "SLUICESN"
	endMagic = "SLUICEND"
	// formatVersion is raised when an older version could not read the stream rightly.
	formatVersion = 1
	prefixSize    = len(magic) + 3*4
	crcSize       = 4
	// maxManifest bounds what is read before anything is verified; 64 MiB describe about a million files.
	maxManifest = 64 << 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	// safeName matches the names Pebble gives files, and no path.
	safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$`)
)

// Errors of a stream that cannot be installed. The state is untouched by it.
var (
	// ErrForeign is returned for bytes that are no snapshot of this program.
	ErrForeign = errors.New("this is not a snapshot")
	// ErrNewer is returned for a snapshot that only a newer version can read: upgrade this node.
	ErrNewer = errors.New("the snapshot was made by a newer version; upgrade this node")
	// ErrCorrupt is returned for a snapshot that was cut short or changed on its way: send it again.
	ErrCorrupt = errors.New("the snapshot is damaged; send it again")
)

type manifest struct {
	// MinReader is the lowest formatVersion whose readers understand the stream, if that is not its own.
	MinReader uint32 `json:"min_reader,omitempty"`
	// PebbleFormat is the on-disk format of the tables.
	PebbleFormat uint64         `json:"pebble_format"`
	Index        uint64         `json:"index"`
	Term         uint64         `json:"term"`
	Info         Info           `json:"info,omitzero"`
	Files        []manifestFile `json:"files"`
}

type manifestFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// encoder reads a checkpoint directory as a stream.
type encoder struct {
	fs    vfs.FS
	dir   string
	files []manifestFile
	size  int64

	// ready are bytes to hand out before going on.
	ready []byte
	// file is being sent, left of it to go; nil between files.
	file  vfs.File
	left  int64
	crc   uint32
	next  int
	ended bool
}

func newEncoder(fs vfs.FS, dir string, m manifest) (*encoder, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	e := &encoder{fs: fs, dir: dir}
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		e.files = append(e.files, manifestFile{Name: name, Size: info.Size()})
		e.size += info.Size() + crcSize
	}
	m.Files = e.files
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(body) > maxManifest {
		return nil, fmt.Errorf("%d files are more than a snapshot can hold", len(names))
	}
	e.ready = append(e.ready, magic...)
	e.ready = binary.BigEndian.AppendUint32(e.ready, formatVersion)
	e.ready = binary.BigEndian.AppendUint32(e.ready, uint32(len(body)))
	e.ready = binary.BigEndian.AppendUint32(e.ready, crc32.Checksum(body, castagnoli))
	e.ready = append(e.ready, body...)
	e.size += int64(len(e.ready) + len(endMagic))
	return e, nil
}

func (e *encoder) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case len(e.ready) > 0:
			n := copy(p, e.ready)
			e.ready = e.ready[n:]
			return n, nil
		case e.file != nil && e.left == 0:
			err := e.file.Close()
			e.file = nil
			if err != nil {
				return 0, err
			}
			e.ready = binary.BigEndian.AppendUint32(nil, e.crc)
		case e.file != nil:
			n, err := e.file.Read(p[:min(int64(len(p)), e.left)])
			e.crc = crc32.Update(e.crc, castagnoli, p[:n])
			e.left -= int64(n)
			if err == io.EOF && e.left > 0 {
				return n, fmt.Errorf("checkpoint file %s: %w", e.files[e.next-1].Name, io.ErrUnexpectedEOF)
			}
			if err != nil && err != io.EOF {
				return n, err
			}
			if n > 0 {
				return n, nil
			}
		case e.next < len(e.files):
			f, err := e.fs.Open(e.fs.PathJoin(e.dir, e.files[e.next].Name), vfs.SequentialReadsOption)
			if err != nil {
				return 0, err
			}
			e.file, e.left, e.crc = f, e.files[e.next].Size, 0
			e.next++
		case !e.ended:
			e.ended = true
			e.ready = []byte(endMagic)
		default:
			return 0, io.EOF
		}
	}
}

func (e *encoder) Close() error {
	if e.file == nil {
		return nil
	}
	err := e.file.Close()
	e.file = nil
	return err
}

// decode reads a whole stream, verifies it and hands each file's bytes to a writer that create returns. accept may refuse
// after the manifest, before the bulk is read.
func decode(r io.Reader, create func(name string) (fileWriter, error), accept func(manifest) error) (manifest, error) {
	m, err := decodeManifest(r)
	if err != nil {
		return m, err
	}
	if m.PebbleFormat > uint64(pebblekv.NewestReadableFormat) {
		return m, fmt.Errorf("%w (tables of format %d, this version reads up to %d)", ErrNewer, m.PebbleFormat,
			pebblekv.NewestReadableFormat)
	}
	if err := accept(m); err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := decodeFile(r, create, f); err != nil {
			return m, fmt.Errorf("file %s: %w", f.Name, err)
		}
	}
	end := make([]byte, len(endMagic))
	if err := readFull(r, end); err != nil {
		return m, err
	}
	if string(end) != endMagic {
		return m, fmt.Errorf("%w: no end mark", ErrCorrupt)
	}
	switch n, err := r.Read(end[:1]); {
	case n > 0:
		return m, fmt.Errorf("%w: bytes after its end", ErrCorrupt)
	case err != nil && err != io.EOF:
		return m, err
	}
	return m, nil
}

// decodeInto writes a stream into the new directory dir, every file synced and verified.
func decodeInto(r io.Reader, fs vfs.FS, dir string, accept func(manifest) error) (manifest, error) {
	m, err := decode(r, func(name string) (fileWriter, error) {
		f, err := fs.Create(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		// Syncing on the way spreads the write-back over the transfer.
		return vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: 1 << 20}), nil
	}, func(m manifest) error {
		if err := accept(m); err != nil {
			return err
		}
		return makeDir(fs, dir)
	})
	if err != nil {
		return m, err
	}
	return m, syncDir(fs, dir)
}

func decodeManifest(r io.Reader) (m manifest, err error) {
	prefix := make([]byte, prefixSize)
	if err := readFull(r, prefix[:len(magic)]); err != nil {
		return m, err
	}
	if string(prefix[:len(magic)]) != magic {
		return m, fmt.Errorf("%w: it begins with %q", ErrForeign, prefix[:len(magic)])
	}
	if err := readFull(r, prefix[len(magic):]); err != nil {
		return m, err
	}
	numbers := prefix[len(magic):]
	format := binary.BigEndian.Uint32(numbers)
	if format == 0 {
		return m, fmt.Errorf("%w: format 0", ErrCorrupt)
	}
	newer := fmt.Errorf("%w (format %d, this version reads up to %d)", ErrNewer, format, formatVersion)
	// A newer format may say that this version can read it all the same.
	defer func() {
		if format > formatVersion && (err != nil || m.MinReader == 0 || m.MinReader > formatVersion) {
			err = newer
		}
	}()
	size := binary.BigEndian.Uint32(numbers[4:])
	if size > maxManifest {
		return m, fmt.Errorf("%w: a manifest of %d bytes", ErrCorrupt, size)
	}
	var body bytes.Buffer
	if n, err := io.CopyN(&body, r, int64(size)); err != nil {
		return m, shortRead(err, n)
	}
	if crc32.Checksum(body.Bytes(), castagnoli) != binary.BigEndian.Uint32(numbers[8:]) {
		return m, fmt.Errorf("%w: checksum of the manifest", ErrCorrupt)
	}
	if err := json.Unmarshal(body.Bytes(), &m); err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrCorrupt, err)
	}
	seen := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		if !safeName.MatchString(f.Name) || seen[f.Name] || f.Size < 0 {
			return m, fmt.Errorf("%w: the manifest names a file %q of %d bytes", ErrCorrupt, f.Name, f.Size)
		}
		seen[f.Name] = true
	}
	return m, nil
}

// fileWriter takes the bytes of one file.
type fileWriter interface {
	io.WriteCloser
	Sync() error
}

func decodeFile(r io.Reader, create func(name string) (fileWriter, error), f manifestFile) error {
	out, err := create(f.Name)
	if err != nil {
		return err
	}
	crc := crc32.New(castagnoli)
	// The checksum comes first: a vfs.File may change the bytes it is given.
	n, err := io.CopyN(io.MultiWriter(crc, out), r, f.Size)
	if err != nil {
		return errors.Join(shortRead(err, n), out.Close())
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	sum := make([]byte, crcSize)
	if err := readFull(r, sum); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(sum) != crc.Sum32() {
		return fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	return nil
}

func readFull(r io.Reader, p []byte) error {
	n, err := io.ReadFull(r, p)
	return shortRead(err, int64(n))
}

// shortRead names the end of the stream for what it is.
func shortRead(err error, n int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early (after %d bytes of a part)", ErrCorrupt, n)
	}
	return err
}
