package pg_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/pg"
)

var manifestFiles = []pg.ManifestFile{
	{Path: "PG_VERSION", Size: 3, Modified: time.Unix(1763725272, 0).UTC(), Algorithm: pg.AlgorithmCRC32C, Checksum: pg.ChecksumCRC32C(0x01020304)},
	{Path: "odd \"name\"\\\n\u00e9\U0001f600", Size: 0, Modified: time.Unix(0, 0).UTC(), Algorithm: "SHA256", Checksum: []byte{1, 2, 3}},
	{Path: "not\xffutf-8", Size: 1 << 40, Modified: time.Unix(1763725272, 0).UTC()},
}

func writeManifest(t testing.TB, version int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pg.NewManifestWriter(&b, version, 7123456789012345678)
	for _, f := range manifestFiles {
		w.Add(f)
	}
	if err := w.Close([]pg.WALRange{{Timeline: 1, Start: 0x2000028, End: 0x2000100}}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readManifest(b []byte) (pg.Manifest, []pg.ManifestFile, error) {
	var files []pg.ManifestFile
	m, err := pg.ReadManifest(bytes.NewReader(b), func(f pg.ManifestFile) error {
		files = append(files, f)
		return nil
	})
	return m, files, err
}

func sameFile(a, b pg.ManifestFile) bool {
	return a.Path == b.Path && a.Size == b.Size && a.Modified.Equal(b.Modified) && a.Algorithm == b.Algorithm &&
		bytes.Equal(a.Checksum, b.Checksum)
}

func TestManifestRoundTrip(t *testing.T) {
	for version, id := range map[int]uint64{1: 0, 2: 7123456789012345678} {
		b := writeManifest(t, version)
		m, files, err := readManifest(b)
		if err != nil {
			t.Fatalf("version %d: %v\n%s", version, err, b)
		}
		if m.Version != version || m.SystemIdentifier != id ||
			!slices.Equal(m.Ranges, []pg.WALRange{{Timeline: 1, Start: 0x2000028, End: 0x2000100}}) {
			t.Errorf("version %d: got %+v", version, m)
		}
		if !slices.EqualFunc(files, manifestFiles, sameFile) {
			t.Errorf("version %d: got %+v, want %+v", version, files, manifestFiles)
		}
	}
}

func TestManifestWithoutFiles(t *testing.T) {
	var b bytes.Buffer
	if err := pg.NewManifestWriter(&b, 1, 0).Close(nil); err != nil {
		t.Fatal(err)
	}
	if _, files, err := readManifest(b.Bytes()); err != nil || len(files) != 0 {
		t.Errorf("got %v, %v", files, err)
	}
}

func TestManifestChanged(t *testing.T) {
	good := writeManifest(t, 1)
	if _, _, err := readManifest(bytes.Replace(good, []byte(`"Size": 3`), []byte(`"Size": 4`), 1)); !errors.Is(err, pg.ErrManifestChecksum) {
		t.Errorf("changed size: got %v", err)
	}
	for n := range len(good) {
		if _, _, err := readManifest(good[:n]); err == nil {
			t.Fatalf("cut off after %d of %d bytes: no error", n, len(good))
		}
	}
	for what, s := range map[string]string{
		"version 3":      strings.Replace(string(good), `Version": 1`, `Version": 3`, 1),
		"no path":        strings.Replace(string(good), `"Path": "PG_VERSION", `, ``, 1),
		"negative size":  strings.Replace(string(good), `"Size": 3`, `"Size": -3`, 1),
		"unknown key":    strings.Replace(string(good), `"WAL-Ranges"`, `"WAL-Range"`, 1),
		"trailing bytes": string(good) + "{}",
	} {
		if _, _, err := readManifest([]byte(s)); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(writeManifest(f, 1))
	f.Add(writeManifest(f, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, files, err := readManifest(b)
		if err != nil {
			return
		}
		var again bytes.Buffer
		w := pg.NewManifestWriter(&again, m.Version, m.SystemIdentifier)
		for _, file := range files {
			w.Add(file)
		}
		if err := w.Close(m.Ranges); err != nil {
			t.Fatal(err)
		}
		m2, files2, err := readManifest(again.Bytes())
		if err != nil || m2.Version != m.Version || !slices.EqualFunc(files2, files, sameFile) {
			t.Fatalf("got %+v %+v %v, want %+v %+v", m2, files2, err, m, files)
		}
	})
}
