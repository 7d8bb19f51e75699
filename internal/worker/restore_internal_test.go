package worker

import "testing"

func TestLocalDir(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"file:///backup/a%20b": "/backup/a b", "file:///backup": "/backup", "s3://bucket/backup": "", "mem:shelf": "", "file:///%zz": "", "": "",
	} {
		if got := localDir(location); got != want {
			t.Errorf("%q: got %q, want %q", location, got, want)
		}
	}
}
