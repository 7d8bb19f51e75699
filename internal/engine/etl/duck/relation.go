package duck

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/holdfast-backup/holdfast"
)

// Set gives parameters their values: SQL knows each as $name, as a value of its type.
// Others keep theirs. A value that its type does not take is CodeInvalid here, a name
// in SQL that was not set is one there.
func (c *Client) Set(ctx context.Context, parameters []Parameter) error {
	_, err := c.call(ctx, &Request{Set: &Set{Parameters: parameters}})
	return err
}

// Step makes a relation by one SELECT over relations that were declared before. A
// kept step is computed now, and the count of its rows is returned. A streamed one is
// computed by each request that reads it; wrong SQL is found now all the same.
func (c *Client) Step(ctx context.Context, name, sql string, streamed bool) (int64, error) {
	r, err := c.call(ctx, &Request{Step: &Step{Name: name, SQL: sql, Streamed: streamed}})
	if err != nil {
		return 0, err
	}
	return r.Rows, nil
}

// Assert returns the text of the one value that one SELECT returns: NULL for NULL,
// true and false, numbers in their own form. Any other count of rows or columns is
// CodeInvalid.
func (c *Client) Assert(ctx context.Context, sql string) (string, error) {
	r, err := c.call(ctx, &Request{Assert: &Assert{SQL: sql}})
	if err != nil {
		return "", err
	}
	if r.Value == nil {
		return "NULL", nil
	}
	return *r.Value, nil
}

// Columns returns the columns of a relation with the PostgreSQL types of what a
// [Client.Drain] of it returns; see [Results]. It reads no rows, of a streamed one
// neither.
func (c *Client) Columns(ctx context.Context, relation string) ([]Column, error) {
	r, err := c.call(ctx, &Request{Look: &Look{Relation: relation}})
	if err != nil {
		return nil, err
	}
	return r.Columns, nil
}

// Rows returns the first n rows of a relation as text, at most [MaxSampled] and each
// value cut to [MaxSampling] characters; nil is NULL. Of what a streamed pipe brings
// the rest is dropped.
func (c *Client) Rows(ctx context.Context, relation string, n int) ([]Column, [][]*string, error) {
	r, err := c.call(ctx, &Request{Look: &Look{Relation: relation, Rows: n}})
	if err != nil {
		return nil, nil, err
	}
	return r.Columns, r.Sample, nil
}

// Counts returns how many rows a relation has, and how many values that are not NULL
// each of its columns has. Compared with the source's own counts they show that
// nothing was lost in between. What leads from a streamed pipe is read by it.
func (c *Client) Counts(ctx context.Context, relation string) (Counts, error) {
	r, err := c.call(ctx, &Request{Look: &Look{Relation: relation, Count: true}})
	if err != nil {
		return Counts{}, err
	}
	if r.Counts == nil {
		return Counts{}, errors.New("holdfast-etl answered without counts")
	}
	return *r.Counts, nil
}

// Reset makes the engine forget all relations and parameters, and give their memory
// back to itself. Feeds that nobody has read end.
func (c *Client) Reset(ctx context.Context) error {
	_, err := c.call(ctx, &Request{Reset: true})
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, f := range c.feeds {
		delete(c.feeds, name)
		f.settle(holdfast.Errorf(holdfast.CodeConflict, "the relation %s was given up before it was read", name))
	}
	return err
}

// WriteParquet computes a relation into a Parquet file, and returns the count of its
// rows. After an error the file is incomplete. Syncing it is the caller's.
func (c *Client) WriteParquet(ctx context.Context, relation string, w io.Writer) (int64, error) {
	return c.write(ctx, relation, FormatParquet, w)
}

// WriteCSV is [Client.WriteParquet] for CSV with a line of names. NULL is nothing,
// and an empty text is "".
func (c *Client) WriteCSV(ctx context.Context, relation string, w io.Writer) (int64, error) {
	return c.write(ctx, relation, FormatCSV, w)
}

// writeBuffer is what passes at once from the engine into a file, in bytes.
const writeBuffer = 256 << 10

func (c *Client) write(ctx context.Context, relation string, format Format, w io.Writer) (int64, error) {
	d, err := c.output(ctx, relation, format)
	if err != nil {
		return 0, err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, d, make([]byte, writeBuffer))
	return d.Rows(), errors.Join(err, d.Close())
}

// Source is a relation that stands in Parquet files.
type Source struct {
	Columns []Column // found in the files by their names
	// Files are regular files that are open for reading. They stay the caller's, who may
	// close them when Read has returned.
	Files []*os.File
	Names []string // of the files, for messages; empty: their own
}

// name returns what a message calls a file.
func (s Source) name(i int) string {
	if i < len(s.Names) {
		return s.Names[i]
	}
	return s.Files[i].Name()
}

// Read declares a relation that stands in files, and returns the count of its rows
// when it is kept. A streamed one is read by each request that needs it; with more
// than [MaxFiles] files it is kept. The files get a name in the child's directory, or
// are copied there when it is on another file system. Types that they have must be
// such as [Fits] says.
func (c *Client) Read(ctx context.Context, relation string, s Source, streamed bool) (int64, error) {
	groups, err := s.groups()
	if err != nil {
		return 0, err
	}
	var rows int64
	for i, g := range groups {
		in := &Input{
			Relation: relation, Columns: s.Columns, Format: FormatParquet, Streamed: streamed && len(groups) == 1, Append: i > 0, Names: g.names,
		}
		r, err := c.call(ctx, &Request{Input: in}, g.files...)
		if err != nil {
			return rows, err
		}
		rows += r.Rows
	}
	return rows, nil
}

// Describe returns the engine's types of the files' columns, by their names. Files that
// differ in the type of a column are an error.
func (c *Client) Describe(ctx context.Context, s Source) (map[string]string, error) {
	groups, err := s.groups()
	if err != nil {
		return nil, err
	}
	types := map[string]string{}
	for i, g := range groups {
		r, err := c.call(ctx, &Request{Describe: &Describe{Names: g.names}}, g.files...)
		if err != nil {
			return nil, err
		}
		for _, column := range r.Columns {
			if before, ok := types[column.Name]; i > 0 && (!ok || before != column.Type) {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s is %s in %s, and another type in files before it", clip(column.Name, MaxName), column.Type, g.names[0]).
					WithHint("%s", HintFilesDiffer)
			}
			types[column.Name] = column.Type
		}
	}
	return types, nil
}

// HintFilesDiffer is what to do about files of one extract with other types.
const HintFilesDiffer = "let extracts of their own read files of different types"

// group is a number of files.
type group struct {
	files []*os.File
	names []string
}

// groups cuts the files into what one request hands over.
func (s Source) groups() ([]group, error) {
	if len(s.Files) == 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a relation stands in at least one file")
	}
	var all []group
	for i, f := range s.Files {
		name := s.name(i)
		if info, err := f.Stat(); err != nil {
			return nil, fail(err, "%s cannot be looked at", name)
		} else if !info.Mode().IsRegular() {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is no file", name).WithHint("only regular files are read")
		}
		if len(all) == 0 || len(all[len(all)-1].files) == MaxFiles {
			all = append(all, group{})
		}
		g := &all[len(all)-1]
		g.files, g.names = append(g.files, f), append(g.names, name)
	}
	return all, nil
}
