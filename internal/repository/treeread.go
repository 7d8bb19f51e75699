package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// errEnough ends the reading of a tree before its end.
var errEnough = errors.New("enough was read")

// plainTree returns the JSON of the tree in content, which is the opened blob.
func plainTree(b pack.Blob, content []byte) (io.ReadCloser, error) {
	src := io.NopCloser(bytes.NewReader(content))
	if b.Raw == 0 {
		return src, nil
	}
	return compress.NewReader(src)
}

// decodeTree calls fn for each node of the tree in content, which is the opened
// blob. Nodes come one at a time, so that a directory of any size takes little
// memory, and only the end shows whether the tree was the one that its id names.
func decodeTree(b pack.Blob, content []byte, fn func(node) error) (err error) {
	src, err := plainTree(b, content)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	h := hash.New()
	counted := &io.LimitedReader{R: io.TeeReader(src, h), N: b.Size() + 1}
	err = parseTree(counted, fn)
	if errors.Is(err, errEnough) {
		return nil
	}
	if err != nil {
		return err
	}
	if counted.N != 1 || hash.Finish(h) != b.ID {
		return holdfast.Errorf(holdfast.CodeInvalid, "tree %s is damaged: its content is not what its name says", b.ID)
	}
	return nil
}

// parseTree reads the JSON of a tree to its end.
func parseTree(r io.Reader, fn func(node) error) error {
	dec := json.NewDecoder(r)
	if err := want(dec, json.Delim('{')); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return badTree(err)
		}
		if name != "nodes" {
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return badTree(err)
			}
			continue
		}
		if err := parseNodes(dec, fn); err != nil {
			return err
		}
	}
	if err := want(dec, json.Delim('}')); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badTree(errors.New("it goes on after its end"))
	}
	return nil
}

func parseNodes(dec *json.Decoder, fn func(node) error) error {
	list, err := dec.Token()
	if err != nil {
		return badTree(err)
	}
	if list == nil { // null
		return nil
	}
	if list != json.Delim('[') {
		return badTree(fmt.Errorf("%v where its nodes belong", list))
	}
	last := ""
	for dec.More() {
		var j nodeJSON
		if err := dec.Decode(&j); err != nil {
			return badTree(err)
		}
		n, err := j.parse()
		if err != nil {
			return err
		}
		if n.name <= last {
			return holdfast.Errorf(holdfast.CodeInvalid, "a tree lists %q after %q", n.name, last)
		}
		last = n.name
		if err := fn(n); err != nil {
			return err
		}
	}
	return want(dec, json.Delim(']'))
}

func want(dec *json.Decoder, d json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return badTree(err)
	}
	if t != d {
		return badTree(fmt.Errorf("%v where %v belongs", t, d))
	}
	return nil
}

func badTree(err error) error {
	return holdfast.Wrap(holdfast.CodeInvalid, err, "a tree is not the JSON of one")
}
