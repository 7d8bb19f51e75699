// Package definition reads what an ETL is to do: one text in YAML or JSON becomes
// a checked [Definition], and with the parameters of one execution a [Plan]. It
// does no I/O: names of connections, tables and columns are checked against each
// other here, and against servers by the engine.
package definition

import (
	"time"

	"github.com/holdfast-backup/holdfast"
)

// APIVersion is the version of the format that this package reads.
const APIVersion = "holdfast/etl/v1"

// MaxText bounds the text of a definition, in bytes.
const MaxText = 256 << 10

// Definition is one ETL: where rows come from, what is made of them, and where
// they go. [Parse] has filled in the defaults.
//
// A json tag without omitempty makes a field required; a field with the tag
// etl:"scalar" is the text of a value, and may be written without quotes.
type Definition struct {
	APIVersion        string                `json:"apiVersion"`
	Name              string                `json:"name"`
	Description       string                `json:"description,omitempty"`
	Mode              Mode                  `json:"mode,omitempty"`    // default: batch
	Service           *Service              `json:"service,omitempty"` // for mode service only
	Parameters        map[string]Parameter  `json:"parameters,omitempty"`
	UnknownProperties Unknown               `json:"unknown_properties,omitempty"` // default: ignore
	Connections       map[string]Connection `json:"connections"`
	Extract           []Extract             `json:"extract"`
	Transform         []Transform           `json:"transform,omitempty"`
	Load              []Load                `json:"load"`
	Batch             Batch                 `json:"batch,omitzero"`
	Resources         Resources             `json:"resources,omitzero"`
	Empty             Severity              `json:"empty,omitempty"` // when nothing is read in all; left out: ok, but a load that would delete all that its target has for that is an error
}

// Mode is how executions follow each other.
type Mode string

// The modes.
const (
	ModeBatch   Mode = "batch"   // each execution ends when what there was is loaded
	ModeService Mode = "service" // one endless execution, in rounds
)

// Service says how the rounds of a service follow each other.
type Service struct {
	Interval     Duration `json:"interval"`                // from the end of a round to the next
	IdleBackoff  Duration `json:"idle_backoff,omitempty"`  // the interval doubles up to this while nothing is read; default: the interval
	RecycleAfter int      `json:"recycle_after,omitempty"` // rounds, after which the transform process is replaced; default 500
}

// Unknown is what becomes of a property that no parameter names.
type Unknown string

// The answers to an unknown property.
const (
	UnknownIgnore Unknown = "ignore"
	UnknownWarn   Unknown = "warn"
	UnknownReject Unknown = "reject"
)

// Severity is what a finding makes of an execution.
type Severity string

// The severities.
const (
	SeverityOK      Severity = "ok"
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error"
)

// Parameter is a value that an execution may be given. It is bound wherever SQL
// names it, :name in a source or a target and $name in the engine, and never
// becomes part of the SQL.
type Parameter struct {
	Type     string   `json:"type"`                           // text, integer, bigint, numeric, boolean, date, timestamptz or uuid
	Default  *string  `json:"default,omitempty" etl:"scalar"` // nil and not required: NULL
	Required bool     `json:"required,omitempty"`             // an execution without it fails before it reads
	Enum     []string `json:"enum,omitempty" etl:"scalar"`
	Property string   `json:"property,omitempty"` // the property that gives it; default: its own name
}

// Connection is a place that rows come from or go to; exactly one field is set.
type Connection struct {
	Site      string  `json:"site,omitempty"`      // slug of a site: its PostgreSQL server
	Database  string  `json:"database,omitempty"`  // with Site; default: the site's
	Directory string  `json:"directory,omitempty"` // absolute, below a root that the worker allows
	URL       string  `json:"url,omitempty"`       // http or https; for reading
	Bucket    *Bucket `json:"bucket,omitempty"`    // in an object store
}

// Bucket is a place in an object store that speaks S3. Its keys are values of
// parameters, whose properties are secret: a definition is no place for them.
type Bucket struct {
	Location     string `json:"location"`                // s3:https://host/bucket/prefix; http for a store on the worker's machine only
	AccessKey    string `json:"access_key"`              // parameter that gives the id of the access key
	SecretKey    string `json:"secret_key"`              // parameter that gives the access key's secret
	SessionToken string `json:"session_token,omitempty"` // parameter that gives the token of temporary credentials
	Region       string `json:"region,omitempty"`        // default: the store is asked
	PathStyle    bool   `json:"path_style,omitempty"`    // the bucket stands in the path at Amazon's, too; elsewhere it always does
	CA           string `json:"ca,omitempty"`            // certificates in PEM that the store's is checked with; default: the system's
	StorageClass string `json:"storage_class,omitempty"` // of new objects; default: the bucket's
	Encryption   string `json:"encryption,omitempty"`    // of new objects by the store: AES256, aws:kms, or aws:kms: and a key's id; default: the bucket's
}

// Parameters are those that the access takes, by what they give.
func (b Bucket) Parameters() map[string]string {
	all := map[string]string{"access_key": b.AccessKey, "secret_key": b.SecretKey}
	if b.SessionToken != "" {
		all["session_token"] = b.SessionToken
	}
	return all
}

// Extract is a relation that is read; exactly one of Table, Query and File is set.
type Extract struct {
	Name       string   `json:"name"` // by which later steps know it
	Connection string   `json:"connection"`
	Table      string   `json:"table,omitempty"`   // schema.table, or table; case counts; see [ParseTable]
	Columns    []string `json:"columns,omitempty"` // of a table; default: all that the table has
	Query      string   `json:"query,omitempty"`   // one SELECT
	File       *File    `json:"file,omitempty"`
	// Incremental is nil for an extract that reads everything each time.
	Incremental *Incremental `json:"incremental,omitempty"`
	OnReject    *OnReject    `json:"on_reject,omitempty"` // nil: the first bad row of a file fails the execution
}

// File is what is read from files.
type File struct {
	Path   string  `json:"path"` // below the connection's directory, bucket or URL; *, ? and [] match in the last part, but not in a URL
	Format Format  `json:"format"`
	Header bool    `json:"header,omitempty"`    // of CSV: the first line names the columns, in any order
	Comma  string  `json:"comma,omitempty"`     // of CSV: one character; default ","
	Null   string  `json:"null_text,omitempty"` // of CSV: the unquoted text that means NULL; default: empty
	Fields []Field `json:"fields"`              // in the file's order, or by name with a header
	// MaxSize bounds one file that is fetched by HTTP or from a bucket; default 1 GiB.
	MaxSize Size `json:"max_size,omitempty"`
}

// Format is how rows stand in a file.
type Format string

// The formats.
const (
	FormatCSV     Format = "csv"
	FormatJSON    Format = "json" // one object a line
	FormatParquet Format = "parquet"
)

// Field is a column of a file, with its PostgreSQL type: numeric(18,6), text.
type Field struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Strategy is how an incremental extract knows what is new.
type Strategy string

// The strategies.
const (
	StrategyColumn Strategy = "column" // rows above the last (column, tie)
	StrategyFile   Strategy = "file"   // files whose name, size and time were not loaded before
)

// Incremental makes an extract continue where the last load of its flow ended.
type Incremental struct {
	Strategy Strategy `json:"strategy"`
	Column   string   `json:"column,omitempty"`             // not NULL in any row that is to be read
	Tie      string   `json:"tie,omitempty"`                // orders rows with equal Column; default: none, for a unique Column
	Start    *string  `json:"start,omitempty" etl:"scalar"` // first value, exclusive; nil: from the beginning
	Lag      Duration `json:"lag,omitempty"`                // rows of a time column younger than this wait for the next execution
}

// OnReject says what becomes of rows that cannot be read.
type OnReject struct {
	To       string  `json:"to,omitempty"`        // schema.table in the load's target; default: holdfast_etl.reject
	MaxRows  int64   `json:"max_rows,omitempty"`  // more are an error; 0: no limit
	MaxRatio float64 `json:"max_ratio,omitempty"` // of the rows read; more is an error; 0: no limit
	NoRaw    bool    `json:"no_raw,omitempty"`    // the rows themselves are not kept; they never are when row steps hash or mask
}

// Place is where a transform runs.
type Place string

// The places.
const (
	InSource Place = "source" // as part of the extract's query
	InRows   Place = "rows"   // row by row, on their way
	InEngine Place = "engine" // DuckDB: joins across sources, aggregates, files
	InTarget Place = "target" // in the load's transaction, over the rows that arrived
)

// Transform makes one relation of others.
type Transform struct {
	Name string `json:"name"`
	In   Place  `json:"in"`
	// Over is the relation that it reads: in source, rows and target there is
	// exactly one, which SQL knows by this name.
	Over   string    `json:"over,omitempty"`
	SQL    string    `json:"sql,omitempty"`  // one SELECT; not in rows
	Rows   []RowStep `json:"rows,omitempty"` // in rows, in order
	Assert string    `json:"assert,omitempty"`
	// Expect is the text of the one value that Assert must select.
	Expect   string   `json:"expect,omitempty" etl:"scalar"`
	Severity Severity `json:"severity,omitempty"` // of an assertion that fails; default: error
}

// RowStep changes rows one by one; exactly one field is set.
type RowStep struct {
	Rename   *Rename   `json:"rename,omitempty"`
	Drop     []string  `json:"drop,omitempty"`
	Cast     *Field    `json:"cast,omitempty"`
	Constant *Constant `json:"constant,omitempty"`
	Hash     *Hash     `json:"hash,omitempty"`
	Mask     *Mask     `json:"mask,omitempty"`
	Filter   *Check    `json:"filter,omitempty"` // rows that do not pass are left out
	Reject   *Check    `json:"reject,omitempty"` // rows that do not pass go to the reject table, and are counted
}

// Kind is the name of the field that is set, for people.
func (s RowStep) Kind() string {
	switch {
	case s.Rename != nil:
		return "rename"
	case len(s.Drop) > 0:
		return "drop"
	case s.Cast != nil:
		return "cast"
	case s.Constant != nil:
		return "constant"
	case s.Hash != nil:
		return "hash"
	case s.Mask != nil:
		return "mask"
	case s.Filter != nil:
		return "filter"
	case s.Reject != nil:
		return "reject"
	}
	return "empty"
}

// Rename gives a column another name.
type Rename struct {
	Column string `json:"column"`
	To     string `json:"to"`
}

// Constant adds a column with the same value in each row.
type Constant struct {
	Column string  `json:"column"`
	Type   string  `json:"type"`
	Value  *string `json:"value,omitempty" etl:"scalar"` // nil: NULL
	Param  string  `json:"param,omitempty"`              // instead of Value: the parameter that gives it
}

// Hash replaces a column by the hexadecimal SHA-256 of its text, keyed with a
// parameter when one is named (HMAC); NULL stays NULL. Its type becomes text.
type Hash struct {
	Column string `json:"column"`
	Key    string `json:"key,omitempty"` // parameter
}

// Mask replaces all but the last Keep characters of a text by asterisks.
type Mask struct {
	Column string `json:"column"`
	Keep   int    `json:"keep"`
}

// Check compares a column with values. NULL passes only "is null".
type Check struct {
	Column string   `json:"column"`
	Op     string   `json:"op"`                            // =, <>, <, <=, >, >=, in, is null, is not null
	Values []string `json:"values,omitempty" etl:"scalar"` // as text of the column's type; one, several for in, none for is [not] null
	Param  string   `json:"param,omitempty"`               // instead of one value
}

// LoadMode is what a load does to what its target holds.
type LoadMode string

// The modes of a load.
const (
	LoadAppend  LoadMode = "append"
	LoadReplace LoadMode = "replace" // all of it, by a swap in one transaction
	LoadUpsert  LoadMode = "upsert"  // by key
	LoadMerge   LoadMode = "merge"   // by key, and what did not arrive is deleted
)

// Load is a flow of rows into one target. It has a counter of its own for each
// incremental extract that it reads.
type Load struct {
	Name       string   `json:"name,omitempty"` // of the flow, unique; default: From
	From       string   `json:"from"`           // relation
	Connection string   `json:"connection"`
	Table      string   `json:"table,omitempty"` // of a site: schema.table, or table
	Output     *Output  `json:"output,omitempty"`
	Mode       LoadMode `json:"mode,omitempty"`   // default: append
	Key        []string `json:"key,omitempty"`    // for upsert and merge: columns of a unique index
	Update     []string `json:"update,omitempty"` // for upsert and merge; default: every column but the key
}

// Output is what is written to files: a new version for each execution.
type Output struct {
	Path    string `json:"path"` // directory below the connection's, or prefix in its bucket
	Format  Format `json:"format"`
	MaxKept int    `json:"max_kept,omitempty"` // versions that stay; 0: all
}

// Batch bounds a unit of work: what is committed together, and what a stop waits
// for. Without bounds an execution, or a round of a service, is one unit. Bounds
// need an incremental extract by column.
type Batch struct {
	Rows int64 `json:"rows,omitempty"`
}

// Resources bounds what an execution takes of its machine.
type Resources struct {
	Memory  Size `json:"memory,omitempty"`  // of the engine; default 512 MiB
	Threads int  `json:"threads,omitempty"` // of the engine; default: processors
	Temp    Size `json:"temp,omitempty"`    // of the engine's spill files; default 20 GiB
}

// Duration is a time.Duration that is written as 30s, 5m or 1h30m.
type Duration time.Duration

// Size is a number of bytes.
type Size = holdfast.Size

// Source says where the values of an execution's parameters come from: property
// names and values, the later over the earlier.
type Source []map[string]string
