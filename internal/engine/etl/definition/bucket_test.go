package definition_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

const inBucket = `apiVersion: holdfast/etl/v1
name: lake
parameters: {id: {type: text, property: lake.access_key}, secret: {type: text, property: lake.secret_key, required: true}}
connections:
  shop: {site: shop}
  lake: {bucket: {location: "s3:https://s3.example.com/landing/in", access_key: id, secret_key: secret}}
extract:
  - {name: a, connection: lake, file: {path: "orders/*.csv", format: csv, fields: [{name: x, type: text}]}, incremental: {strategy: file}}
load:
  - {from: a, connection: lake, output: {path: out, format: parquet}}
`

func TestBucket(t *testing.T) {
	t.Parallel()
	d, err := definition.Parse([]byte(inBucket))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Extract[0].File.MaxSize; got != 1<<30 {
		t.Errorf("got the limit %d, want the default", got)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no store":           {"s3:https://s3.example.com/landing/in", "https://s3.example.com/landing", "connections.lake.bucket.location: is no place in an object store"},
		"a directory":        {"s3:https://s3.example.com/landing/in", "file:///srv", "is a directory"},
		"another machine":    {"s3:https:", "s3:http:", "without TLS"},
		"a secret":           {"s3:https://s3.example.com", "s3:https://me:planted@s3.example.com", "give the access key apart"},
		"no parameter":       {"access_key: id", "access_key: other", `access_key: is "other", which is no parameter`},
		"no key":             {"access_key: id, ", "", "access_key: is missing"},
		"a secret that show": {"property: lake.secret_key, required: true", "default: planted, property: lake.secret_key", "leave out default and enum"},
		"a property in the clear": {
			"property: lake.secret_key", "property: lake.where", "property lake.where is no secret by its name",
		},
		"a number":     {"secret: {type: text", "secret: {type: bigint", "it has to be text"},
		"bad class":    {"secret_key: secret}}", "secret_key: secret, storage_class: a b}}", "storage class"},
		"bad ca":       {"secret_key: secret}}", "secret_key: secret, ca: nothing}}", "certificates"},
		"a table":      {"file: {path: \"orders/*.csv\", format: csv, fields: [{name: x, type: text}]}, incremental: {strategy: file}", "table: orders", "a table or query needs one"},
		"with another": {"lake: {bucket:", "lake: {url: \"https://a\", bucket:", "exactly one of"},
	} {
		text := strings.Replace(inBucket, c.old, c.new, 1)
		if text == inBucket {
			t.Errorf("%s: nothing was replaced", name)
		}
		_, err := definition.Parse([]byte(text))
		got := holdfast.ErrorMessage(err)
		if err == nil || !strings.Contains(got, c.want) || strings.Contains(got, "planted") {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
