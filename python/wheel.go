package python

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// versionLine is where the SDK says its version.
var versionLine = regexp.MustCompile(`(?m)^__version__ = "([^"]+)"$`)

// Version is the version of the SDK, as its package says it.
func Version() (string, error) {
	content, err := files.ReadFile("sluice/__init__.py")
	if err != nil {
		return "", fmt.Errorf("read the version of the Python SDK: %w", err)
	}
	found := versionLine.FindSubmatch(content)
	if found == nil {
		return "", errors.New("read the version of the Python SDK: sluice/__init__.py has no line __version__")
	}
	return string(found[1]), nil
}

// WheelName is the file name that installers expect of Wheel's bytes.
func WheelName() (string, error) {
	version, err := Version()
	if err != nil {
		return "", err
	}
	return "sluice-" + version + "-py3-none-any.whl", nil
}

// Wheel writes the SDK as a package that pip installs without an index. The same SDK gives the same bytes.
func Wheel(w io.Writer) error {
	version, err := Version()
	if err != nil {
		return err
	}
	archive := zip.NewWriter(w)
	var record strings.Builder // path, hash and size of every file but itself
	add := func(path string, content []byte) error {
		sum := sha256.Sum256(content)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", path, base64.RawURLEncoding.EncodeToString(sum[:]), len(content))
		return put(archive, path, content)
	}
	if err := walk(add); err != nil {
		return fmt.Errorf("make the wheel of the Python SDK: %w", err)
	}
	info := "sluice-" + version + ".dist-info/"
	metadata := "Metadata-Version: 2.1\nName: sluice\nVersion: " + version +
		"\nSummary: Flows and tasks in Python, run by a Sluice server\nRequires-Python: >=3.9\n"
	wheel := "Wheel-Version: 1.0\nGenerator: sluice\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	err = errors.Join(add(info+"METADATA", []byte(metadata)), add(info+"WHEEL", []byte(wheel)))
	record.WriteString(info + "RECORD,,\n")
	if err := errors.Join(err, put(archive, info+"RECORD", []byte(record.String())), archive.Close()); err != nil {
		return fmt.Errorf("make the wheel of the Python SDK: %w", err)
	}
	return nil
}

func put(archive *zip.Writer, path string, content []byte) error {
	file, err := archive.CreateHeader(&zip.FileHeader{Name: path, Method: zip.Deflate})
	if err != nil {
		return err
	}
	_, err = io.Copy(file, bytes.NewReader(content))
	return err
}
