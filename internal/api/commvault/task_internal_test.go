package commvault

import (
	"strings"
	"testing"
)

func TestWhichStatusTakesWhichAction(t *testing.T) {
	t.Parallel()
	// docs/api/commvault.md, "Job actions".
	for status, want := range map[string][2]bool{ // pause, resume
		statusQueued: {true, false}, statusPending: {true, true}, statusRunning: {true, false}, statusSuspended: {false, true},
		statusSuspendPending: {true, true}, statusKillPending: {false, false},
	} {
		if got := [2]bool{takesPause(status), takesResume(status)}; got != want {
			t.Errorf("%s: pause, resume: got %v, want %v", status, got, want)
		}
	}
}

func TestALongRequestIsKeptWithoutItsAssociations(t *testing.T) {
	t.Parallel()
	info := taskInfo{SubTasks: []*subTask{{}}}
	info.SubTasks[0].Options.CommonOpts.JobDescription = "x"
	for n := range 5000 {
		info.Associations = append(info.Associations, &association{SubclientID: number{int64(1001 + n)}})
	}
	b, err := info.keep()
	if want := `{"associations":[],"subTasks":[{"options":{"commonOpts":{"jobDescription":"x"}}}]}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
	if len(info.Associations) != 5000 {
		t.Error("the request itself has lost its associations")
	}
	info.SubTasks[0].Options.CommonOpts.JobDescription = text(strings.Repeat("x", keptBytes))
	if b, err := info.keep(); b != nil || err != nil {
		t.Errorf("got %d bytes, %v, want nothing kept", len(b), err)
	}
}

// FuzzTask reads any body. What is read is kept, and what is kept reads the same.
func FuzzTask(f *testing.F) {
	for _, s := range []string{
		`{"taskInfo":{"associations":[{"subclientId":1001,"clientName":"string"}],"task":{"taskType":"IMMEDIATE"},"subTasks":[{"subTask":{"subTaskType":2,"operationType":"BACKUP"},"options":{"backupOpts":{"backupLevel":"Synthetic full","incrementalDataWithLogs":"True"},"commonOpts":{"startUpOpts":{"startInSuspendedState":1}}}}]}}`,
		`{"taskInfo":{"associations":[{"instanceId":"1001"}],"subTasks":[{"options":{"restoreOptions":{"jobIds":["1001",5],"browseOption":{"timeRange":{"toTimeValue":"a","toTime":5},"mediaOption":{"copyPrecedence":{"copyPrecedence":2}}},"fileOption":{"sourceItem":["/data"]},"destination":{"destPath":["/a"],"destClient":{"clientId":5}},"postgresRstOption":{"refTime":{},"pointOfTime":{"time":5},"redirectEnabled":false,"redirectItems":["/a#/b"]}}}}]}}`,
		`{"taskInfo":{"associations":[null],"subTasks":[{}]}}`, `{"TASKINFO":{}}`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		info, err := readTask(body)
		if err != nil {
			return
		}
		kept, err := info.keep()
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) == 0 || strings.Contains(string(kept), `"associations":[]`) {
			return // too long
		}
		again, err := readTask(append(append([]byte(`{"taskInfo":`), kept...), '}'))
		if err != nil {
			t.Fatalf("%s is read, and kept as %s: %v", body, kept, err)
		}
		if same, err := again.keep(); err != nil || string(same) != string(kept) {
			t.Fatalf("%s is kept as %s, and read again as %s, %v", body, kept, same, err)
		}
	})
}
