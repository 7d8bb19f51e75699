package session

/*
void holdfast_sink(void *info, void *chunk, void *result);
typedef void (*holdfast_sink_t)(void *, void *, void *);
// It stands below, in Go.
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// sinkFunction is a scalar function of our own: it writes its arguments behind the
// first as a row to where the first says, and returns 1. So rows leave the engine in
// PostgreSQL's binary form, from each of its threads, and are kept nowhere.
const sinkFunction = "holdfast_sink"

// sink is where rows go.
type sink struct {
	encoders []encoder

	mu   sync.Mutex // held for a write
	file *os.File
}

// sinks are those that are open.
var sinks tokens[sink]

// sinkScalar makes the function known to the engine.
func sinkScalar(c mapping.Connection) mapping.State {
	f := mapping.CreateScalarFunction()
	defer mapping.DestroyScalarFunction(&f)
	number, anything := mapping.CreateLogicalType(mapping.TypeBigInt), mapping.CreateLogicalType(mapping.TypeAny)
	defer mapping.DestroyLogicalType(&number)
	defer mapping.DestroyLogicalType(&anything)
	mapping.ScalarFunctionSetName(f, sinkFunction)
	mapping.ScalarFunctionSetVarargs(f, anything)
	mapping.ScalarFunctionSetReturnType(f, number)
	mapping.ScalarFunctionSetSpecialHandling(f) // a row with NULL is one, too
	mapping.ScalarFunctionSetVolatile(f)        // it is called for every row
	mapping.ScalarFunctionSetFunction(f, unsafe.Pointer(C.holdfast_sink_t(C.holdfast_sink)))
	return mapping.RegisterScalarFunction(c, f)
}

//export holdfast_sink
func holdfast_sink(info, chunk, result unsafe.Pointer) {
	n := 0
	err := guarded(func() (err error) {
		n, err = sinkChunk(mapping.DataChunk{Ptr: chunk})
		return err
	})
	if err != nil {
		mapping.ScalarFunctionSetError(mapping.FunctionInfo{Ptr: info}, err.Error())
		return
	}
	counts := unsafe.Slice((*int64)(mapping.VectorGetData(mapping.Vector{Ptr: result})), n)
	for i := range counts {
		counts[i] = 1
	}
}

// buffers hold rows on their way. What the engine's memory limit does not count stays
// small: rows are written when there are sinkBuffer bytes of them.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const (
	sinkBuffer = 512 << 10 // bytes
	maxKept    = 4 << 20   // bytes of the largest buffer that is used again
)

// sinkChunk finds where the rows of a chunk go. Its error is the engine's, and ends
// the statement.
func sinkChunk(chunk mapping.DataChunk) (n int, err error) {
	n = int(mapping.DataChunkGetSize(chunk))
	columns := make([]vector, mapping.DataChunkGetColumnCount(chunk))
	for i := range columns {
		v := mapping.DataChunkGetVector(chunk, mapping.IdxT(i))
		columns[i] = vector{data: mapping.VectorGetData(v), n: n}
		if valid := mapping.VectorGetValidity(v); valid != nil {
			columns[i].valid = unsafe.Slice((*uint64)(valid), (n+63)/64)
		}
	}
	if n == 0 {
		return 0, nil
	}
	if len(columns) == 0 || columns[0].null(0) {
		return 0, errors.New(sinkFunction + " is called without a sink")
	}
	s := sinks.find(values[int64](columns[0])[0])
	if s == nil || len(columns)-1 != len(s.encoders) {
		return 0, errors.New(sinkFunction + " is called without a sink")
	}
	return n, s.write(columns[1:], n)
}

// write writes the rows of a chunk, each as a whole.
func (s *sink) write(columns []vector, n int) (err error) {
	kept := buffers.Get().(*[]byte)
	rows := (*kept)[:0]
	for i := 0; i < n && err == nil; i++ {
		rows, err = appendRow(rows, columns, s.encoders, i)
		if err == nil && (len(rows) >= sinkBuffer || i == n-1) {
			s.mu.Lock()
			_, err = s.file.Write(rows)
			s.mu.Unlock()
			rows = rows[:0]
		}
	}
	if *kept = rows; cap(rows) <= maxKept {
		buffers.Put(kept)
	}
	return err
}

// sunk has the engine write a query's rows to a file in binary.
func (s *Session) sunk(ctx context.Context, q query, columns []duck.Column, file *os.File) (rows int64, err error) {
	selected, names := make([]string, len(columns)), make([]string, len(columns))
	encoders := make([]encoder, len(columns))
	for i, c := range columns {
		names[i] = fmt.Sprintf("c%d", i)
		typ, value := binaryValue(c.Type, identifier(c.Name))
		selected[i] = value + " AS " + names[i]
		if encoders[i], err = encoderOf(typ); err != nil {
			return 0, err
		}
	}
	if _, err := file.Write(copyBegin); err != nil {
		return 0, err
	}
	token := sinks.add(&sink{encoders: encoders, file: file})
	defer sinks.remove(token)
	statement := fmt.Sprintf("SELECT CAST(coalesce(sum(%s(%d::BIGINT, %s)), 0) AS BIGINT) FROM (%s)", sinkFunction, token, strings.Join(names, ", "), q.text(strings.Join(selected, ", ")))
	if err := s.db.QueryRowContext(ctx, statement, q.args...).Scan(&rows); err != nil {
		return 0, err
	}
	_, err = file.Write(copyEnd)
	return rows, err
}

// binaryValue returns the type in which a column of a type is encoded, and the SQL that
// makes its values such.
func binaryValue(typ, column string) (encoded, value string) {
	switch typ {
	case "BLOB", "TIMESTAMP WITH TIME ZONE":
		return typ, column
	case "TIMESTAMP_S", "TIMESTAMP_MS":
		return "TIMESTAMP", "CAST(" + column + " AS TIMESTAMP)"
	}
	if _, err := encoderOf(typ); err == nil {
		return typ, column
	}
	_, value = duck.ResultOf(typ, column)
	return "VARCHAR", "CAST(" + value + " AS VARCHAR)"
}
