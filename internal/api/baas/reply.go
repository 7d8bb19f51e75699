package baas

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// ResourceHeader carries the id of what a request made or found in its way.
const ResourceHeader = "X-Resource-Id"

// ID writes an id as text.
func ID[T ~int64](id T) string { return strconv.FormatInt(int64(id), 10) }

// writeJSON answers with v, which is one of this package's shapes.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a shape that JSON cannot hold is a fault in this package
	}
	write(w, status, bytes.TrimRight(b.Bytes(), "\n"))
}

// writeAccepted answers that an execution has been asked for or will end. The
// body is an empty object because scripts read one.
func writeAccepted(w http.ResponseWriter, id, location string) {
	w.Header().Set(ResourceHeader, id)
	w.Header().Set("Location", location)
	write(w, http.StatusAccepted, []byte("{}"))
}

// writeList answers with a page of a list.
func writeList[T any](w http.ResponseWriter, p Page, total int, list []T) {
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	writePage(w, p)
	if list == nil {
		list = []T{}
	}
	writeJSON(w, http.StatusOK, list)
}

// writePage tells which page of a list comes.
func writePage(w http.ResponseWriter, p Page) {
	w.Header().Set("X-Page", strconv.Itoa(p.Number))
	w.Header().Set("X-Page-Size", strconv.Itoa(p.Size))
}

func write(w http.ResponseWriter, status int, b []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that has gone needs no answer
}
