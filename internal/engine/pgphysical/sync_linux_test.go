package pgphysical

import "testing"

func TestKernelAtLeast(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{
		"5.8.0": true, "5.10.0-28-amd64": true, "6.1": true, "10.0-rc1": true,
		"5.7.19": false, "4.18.0-553.el8.x86_64": false, "": false, "unknown": false,
	} {
		if got := kernelAtLeast(release, 5, 8); got != want {
			t.Errorf("%q: got %v, want %v", release, got, want)
		}
	}
}
