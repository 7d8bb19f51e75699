package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// MaxBlobs is how many blobs we put in one index object: about 8 MiB of JSON,
// as other programs of the format do.
const MaxBlobs = 50_000

// Pack is what an index object says of one pack.
type Pack struct {
	ID    hash.ID
	Blobs []pack.Blob
}

// End returns where the last of the pack's blobs ends.
func (p Pack) End() int64 {
	var end int64
	for _, b := range p.Blobs {
		end = max(end, int64(b.Offset)+int64(b.Length))
	}
	return end
}

// The names below are the format's.
type fileJSON struct {
	Packs []packJSON `json:"packs"`
}

type packJSON struct {
	ID    hash.ID    `json:"id"`
	Blobs []blobJSON `json:"blobs"`
}

type blobJSON struct {
	ID     hash.ID `json:"id"`
	Type   string  `json:"type"`
	Offset uint32  `json:"offset"`
	Length uint32  `json:"length"`
	Raw    uint32  `json:"uncompressed_length,omitempty"`
}

// Encode returns the JSON of an index object.
func Encode(packs []Pack) ([]byte, error) {
	f := fileJSON{Packs: make([]packJSON, 0, len(packs))}
	for _, p := range packs {
		out := packJSON{ID: p.ID, Blobs: make([]blobJSON, 0, len(p.Blobs))}
		for _, b := range p.Blobs {
			out.Blobs = append(out.Blobs, blobJSON{ID: b.ID, Type: b.Type.String(), Offset: b.Offset, Length: b.Length, Raw: b.Raw})
		}
		f.Packs = append(f.Packs, out)
	}
	return json.Marshal(f)
}

// Decode reads the JSON of an index object and calls fn for each pack in it,
// one at a time. The blobs are valid until fn returns.
func Decode(data []byte, fn func(Pack) error) error {
	packs, ok := plain(data)
	if !ok {
		return decodeAny(data, fn)
	}
	for _, p := range packs {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// decodeAny reads an index object however its JSON is written.
func decodeAny(data []byte, fn func(Pack) error) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := delim(dec, '{'); err != nil {
		return err
	}
	var blobs []pack.Blob
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return invalid(err)
		}
		if name != "packs" { // "supersedes": what it names is gone, or says the same
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return invalid(err)
			}
			continue
		}
		list, err := dec.Token()
		if err != nil {
			return invalid(err)
		}
		if list == nil { // null
			continue
		}
		if list != json.Delim('[') {
			return holdfast.Errorf(holdfast.CodeInvalid, "the index has %v where its packs belong", list)
		}
		for dec.More() {
			var p packJSON
			if err := dec.Decode(&p); err != nil {
				return invalid(err)
			}
			if blobs, err = p.blobs(blobs[:0]); err != nil {
				return err
			}
			if err := fn(Pack{ID: p.ID, Blobs: blobs}); err != nil {
				return err
			}
		}
		if err := delim(dec, ']'); err != nil {
			return err
		}
	}
	if err := delim(dec, '}'); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the index goes on after its end")
	}
	return nil
}

func (p packJSON) blobs(dst []pack.Blob) ([]pack.Blob, error) {
	if p.ID.IsZero() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the index lists a pack without an id")
	}
	for _, b := range p.Blobs {
		t, err := pack.ParseType(b.Type)
		if err != nil {
			return nil, err
		}
		blob := pack.Blob{ID: b.ID, Type: t, Offset: b.Offset, Length: b.Length, Raw: b.Raw}
		if err := blob.Check(); err != nil {
			return nil, err
		}
		dst = append(dst, blob)
	}
	return dst, nil
}

func delim(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return invalid(err)
	}
	if t != want {
		return holdfast.Errorf(holdfast.CodeInvalid, "the index has %v where %v belongs", t, want)
	}
	return nil
}

func invalid(err error) error {
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the index is not the JSON of one")
}
