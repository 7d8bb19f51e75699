package pgsession

import (
	"math"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestNamesOfSessions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		owner Owner
		fence holdfast.Fence
		want  string
	}{
		{Owner{Execution: 1001}, 2, "holdfast execution 1001 fence 2"},
		{Owner{Installation: "here", Execution: 1001}, 2, "holdfast fcec9150 execution 1001 fence 2"},
		{Owner{Installation: "here", Execution: 1001, Job: 1007}, 2, "holdfast fcec9150 execution 1001 fence 2 job 1007"},
		{Owner{Installation: "here", Execution: 123456789, Job: 12345678}, 20, "holdfast fcec9150 execution 123456789 fence 20 job 12345678"},
		{Owner{Installation: "here", Execution: 1001, Identity: "k7w2mmq4ab2c5d6e", Job: 1007}, 2, "holdfast fcec9150 execution 1001-k7w2 fence 2 job 1007"},
		{Owner{Installation: "here", Execution: 1001, Identity: "old", Job: 1007}, 2, "holdfast fcec9150 execution 1001-old fence 2 job 1007"},
		// The server would cut it, and show another job's number.
		{Owner{Installation: "here", Execution: 123456789012345, Job: 123456789}, 20, "holdfast fcec9150 execution 123456789012345 fence 20"},
		{Owner{Installation: "here", Execution: math.MaxInt32, Job: math.MaxInt32}, 20, "holdfast fcec9150 execution 2147483647 fence 20 job 2147483647"},
	} {
		if got := c.owner.Session(c.fence); got != c.want || len(got) > nameLimit {
			t.Errorf("got %q (%d bytes), want %q", got, len(got), c.want)
		}
	}
}
