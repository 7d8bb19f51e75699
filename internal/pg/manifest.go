package pg

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// ManifestName is the manifest's place in the data directory.
const ManifestName = "backup_manifest"

// ErrManifestChecksum is returned for a manifest that was changed or cut off.
var ErrManifestChecksum = errors.New("backup_manifest's own checksum does not match")

// manifestTime is how a manifest writes a time, always in GMT.
const manifestTime = "2006-01-02 15:04:05 GMT"

// ManifestFile is one file of a backup_manifest.
type ManifestFile struct {
	Path      string // below the data directory, with slashes; any bytes but NUL
	Size      int64
	Modified  time.Time // to the second
	Algorithm string    // CRC32C, SHA224, SHA256, SHA384, SHA512; empty: no checksum
	Checksum  []byte
}

// AlgorithmCRC32C is the checksum that our own manifests carry.
const AlgorithmCRC32C = "CRC32C"

// ChecksumCRC32C returns crc as a manifest holds it: in the byte order of the
// machine that wrote it, and that is little-endian.
func ChecksumCRC32C(crc uint32) []byte {
	return []byte{byte(crc), byte(crc >> 8), byte(crc >> 16), byte(crc >> 24)}
}

// WALRange is WAL that a backup needs.
type WALRange struct {
	Timeline Timeline
	Start    LSN
	End      LSN
}

// Manifest is what a backup_manifest says besides its files.
type Manifest struct {
	Version          int
	SystemIdentifier uint64 // zero before version 2
	Ranges           []WALRange
}

// ManifestWriter writes a backup_manifest. Its methods are not for several
// goroutines. The first error sticks, and Close returns it.
type ManifestWriter struct {
	w     *bufio.Writer
	sum   hash.Hash
	line  []byte
	files int
	err   error
}

// NewManifestWriter begins a manifest. The system identifier is written from
// version 2 on.
func NewManifestWriter(w io.Writer, version int, systemIdentifier uint64) *ManifestWriter {
	sum := sha256.New()
	m := &ManifestWriter{w: bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10), sum: sum}
	m.printf("{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n", version)
	if version >= 2 {
		m.printf("\"System-Identifier\": %d,\n", systemIdentifier)
	}
	m.printf("\"Files\": [")
	return m
}

func (m *ManifestWriter) printf(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.w, format, args...)
	}
}

// Add writes one file. The manifest itself and what lies in pg_wal are not
// listed.
func (m *ManifestWriter) Add(f ManifestFile) {
	if m.err != nil {
		return
	}
	b := m.line[:0]
	if m.files > 0 {
		b = append(b, ',')
	}
	b = append(b, '\n')
	if utf8.ValidString(f.Path) {
		b = append(b, `{ "Path": `...)
		b = appendJSONString(b, f.Path)
	} else {
		b = append(b, `{ "Encoded-Path": "`...)
		b = hex.AppendEncode(b, []byte(f.Path))
		b = append(b, '"')
	}
	b = append(b, `, "Size": `...)
	b = strconv.AppendInt(b, f.Size, 10)
	b = append(b, `, "Last-Modified": "`...)
	b = f.Modified.UTC().AppendFormat(b, manifestTime)
	b = append(b, '"')
	if f.Algorithm != "" {
		b = append(b, `, "Checksum-Algorithm": "`...)
		b = append(b, f.Algorithm...)
		b = append(b, `", "Checksum": "`...)
		b = hex.AppendEncode(b, f.Checksum)
		b = append(b, '"')
	}
	b = append(b, " }"...)
	m.line = b
	m.files++
	_, m.err = m.w.Write(b)
}

// Close writes the ranges of WAL and the manifest's own checksum. It does not
// close the underlying writer.
func (m *ManifestWriter) Close(ranges []WALRange) error {
	m.printf("\n],\n\"WAL-Ranges\": [")
	for i, r := range ranges {
		if i > 0 {
			m.printf(",")
		}
		m.printf("\n{ \"Timeline\": %d, \"Start-LSN\": \"%s\", \"End-LSN\": \"%s\" }", r.Timeline, r.Start, r.End)
	}
	m.printf("\n],\n")
	if m.err == nil {
		m.err = m.w.Flush() // the checksum covers every line before its own
	}
	m.printf("\"Manifest-Checksum\": \"%x\"}\n", m.sum.Sum(nil))
	if m.err == nil {
		m.err = m.w.Flush()
	}
	return m.err
}

// appendJSONString writes valid UTF-8 as a JSON string, the way the server does:
// only quote, backslash and control characters are escaped.
func appendJSONString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// ReadManifest reads a backup_manifest of version 1 or 2 and calls fn for each of
// its files. The manifest's own checksum is known to be right only when
// ReadManifest has returned: without it, [ErrManifestChecksum].
func ReadManifest(r io.Reader, fn func(ManifestFile) error) (Manifest, error) {
	lines := &lastLine{r: r, sum: sha256.New()}
	d := json.NewDecoder(lines)
	d.UseNumber()
	var m Manifest
	checksum, err := m.decode(d, fn)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup_manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.New("backup_manifest: more follows its end")
	}
	switch {
	case m.Version != 1 && m.Version != 2:
		return Manifest{}, fmt.Errorf("backup_manifest: version %d is not known", m.Version)
	case !bytes.Equal(checksum, lines.sum.Sum(nil)):
		return Manifest{}, ErrManifestChecksum
	}
	return m, nil
}

// decode reads the object and returns the manifest's own checksum.
func (m *Manifest) decode(d *json.Decoder, fn func(ManifestFile) error) (checksum []byte, err error) {
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "PostgreSQL-Backup-Manifest-Version":
			err = d.Decode(&m.Version)
		case "System-Identifier":
			err = d.Decode(&m.SystemIdentifier)
		case "Files":
			err = decodeFiles(d, fn)
		case "WAL-Ranges":
			err = m.decodeRanges(d)
		case "Manifest-Checksum":
			var s string
			if err = d.Decode(&s); err == nil {
				checksum, err = hex.DecodeString(s)
			}
		default:
			err = fmt.Errorf("key %q is not known", key)
		}
		if err != nil {
			return nil, err
		}
	}
	return checksum, expect(d, json.Delim('}'))
}

func expect(d *json.Decoder, want json.Token) error {
	got, err := d.Token()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%v stands where %v should", got, want)
	}
	return nil
}

func decodeFiles(d *json.Decoder, fn func(ManifestFile) error) error {
	if err := expect(d, json.Delim('[')); err != nil {
		return err
	}
	for d.More() {
		var e struct {
			Path        *string `json:"Path"`
			EncodedPath *string `json:"Encoded-Path"`
			Size        *int64  `json:"Size"`
			Modified    string  `json:"Last-Modified"`
			Algorithm   string  `json:"Checksum-Algorithm"`
			Checksum    string  `json:"Checksum"`
		}
		if err := d.Decode(&e); err != nil {
			return err
		}
		f := ManifestFile{Algorithm: e.Algorithm}
		switch {
		case (e.Path == nil) == (e.EncodedPath == nil):
			return errors.New("a file has no path, or two")
		case e.Path != nil:
			f.Path = *e.Path
		default:
			b, err := hex.DecodeString(*e.EncodedPath)
			if err != nil {
				return fmt.Errorf("path %q: %w", *e.EncodedPath, err)
			}
			f.Path = string(b)
		}
		if e.Size == nil || *e.Size < 0 {
			return fmt.Errorf("file %q has no size", f.Path)
		}
		f.Size = *e.Size
		if e.Modified != "" {
			t, err := time.Parse(manifestTime, e.Modified)
			if err != nil {
				return fmt.Errorf("file %q: %w", f.Path, err)
			}
			f.Modified = t
		}
		if (e.Algorithm == "") != (e.Checksum == "") {
			return fmt.Errorf("file %q has a checksum without an algorithm, or the other way round", f.Path)
		}
		sum, err := hex.DecodeString(e.Checksum)
		if err != nil {
			return fmt.Errorf("file %q: checksum: %w", f.Path, err)
		}
		f.Checksum = sum
		if err := fn(f); err != nil {
			return err
		}
	}
	return expect(d, json.Delim(']'))
}

func (m *Manifest) decodeRanges(d *json.Decoder) error {
	var ranges []struct {
		Timeline Timeline `json:"Timeline"`
		Start    string   `json:"Start-LSN"`
		End      string   `json:"End-LSN"`
	}
	if err := d.Decode(&ranges); err != nil {
		return err
	}
	for _, r := range ranges {
		start, err := ParseLSN(r.Start)
		if err != nil {
			return err
		}
		end, err := ParseLSN(r.End)
		if err != nil {
			return err
		}
		m.Ranges = append(m.Ranges, WALRange{Timeline: r.Timeline, Start: start, End: end})
	}
	return nil
}

// lastLine hashes all that is read but the last line, which ends with a newline
// and holds the checksum of the rest.
type lastLine struct {
	r    io.Reader
	sum  hash.Hash
	held []byte // read, not hashed: at most the newest whole line and what follows it
}

func (l *lastLine) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.held = append(l.held, p[:n]...)
	last := bytes.LastIndexByte(l.held, '\n')
	if last < 0 {
		return n, err
	}
	if before := bytes.LastIndexByte(l.held[:last], '\n'); before >= 0 {
		l.sum.Write(l.held[:before+1])
		l.held = append(l.held[:0], l.held[before+1:]...)
	}
	return n, err
}
