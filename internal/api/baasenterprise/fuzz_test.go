package baasenterprise_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
)

// FuzzRequests sends any request to the dialect, from anybody: oslo's admin has
// no right to berlin.
func FuzzRequests(f *testing.F) {
	const (
		berlin  = baasenterprise.Root + "/sites/berlin"
		restore = berlin + "/jobs/1001/executions/1001/restores"
	)
	w := apitest.NewWorld(f)
	for _, line := range []string{"job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10", "restore 1001 /srv/restore/a", "clock 2m"} {
		if err := w.Give(f.Context(), line); err != nil {
			f.Fatal(err)
		}
	}
	h := baasenterprise.Handler(baasenterprise.Config{Service: w.Service, Log: w.Log})
	apitest.Fuzz(f, w, h, func(path string) bool { return !strings.HasPrefix(path, berlin) }, [][5]string{
		{"GET", berlin + "/jobs", "page=2&page-size=3&is-active&job-type=Backup", "Accept: */*", ""},
		{"GET", berlin + "/executions", "page=9223372036854775807&page-size=1000", "", ""},
		{"GET", berlin + "/jobs/1001/executions/1001", "", "Authorization: Basic x", ""},
		{"HEAD", berlin + "/jobs/1001/", "", "", ""},
		{"POST", berlin + "/jobs", "", "Content-Type: text/html", `{"name":"n","objects":[{"objectName":"a"}],"autoAbort":true}`},
		{"PUT", berlin + "/jobs/1001", "", "", `{"name":"n","job_settings":{"objects":[]},"targetSite":"x"}`},
		{"PATCH", berlin + "/jobs/1001", "", "", `{"job_settings":{"restore_to_a_different_database_on_target_site":true},"priority":1}`},
		{"PATCH", berlin + "/jobs/1002", "", "", `{"job_settings":{"retained_copy":"1001","skipJoinHashIndexes":true}}`},
		{"POST", berlin + "/jobs/1001/execute", "run_type=delta", "Idempotency-Key: k", `{"run_type":"INCREMENTAL"}`},
		{"POST", berlin + "/jobs/1001/abort", "", "", `{}`},
		{"POST", berlin + "/jobs/1001/executions/1002/abort", "", "", ``},
		{"DELETE", berlin + "/jobs/1002", "delete-savesets=true", "", ``},
		{"POST", restore, "", "X-Auth-Credentials: Basic dTpw", `{"target_directory":"/srv/a","tablespaces":{"1":"/srv/b"},"target_host":1001}`},
		{"POST", restore, "", "X-Auth-Credentials: Basic %", `{"job_settings":{"objects":[{"object_name":"a","rename_to":"b"}]}}`},
		{"PATCH", restore + "/1002", "", "", `{"target_directory":null,"target_site":"oslo"}`},
		{"POST", restore + "/1002/rerun", "", "", ``},
		{"GET", berlin + "/restores", "", "", ``},
		{"POST", berlin + "/restore-permissions", "", "", `{"target_site":"oslo","objects":[]}`},
		{"GET", berlin + "/objects-preparation-status", "id=1", "", ``},
		{"GET", berlin + "/database-objects", "object-name=a", "X-Auth-Credentials: Basic dTpw", ``},
		{"POST", berlin + "/jobs/1001/schedules", "", "", `{"schedule_expression":"cron(0 4 L * ? *)","time_zone":"Europe/Berlin","run_type":"delta"}`},
		{"PUT", berlin + "/jobs/1001/schedules/1001", "", "", `{"scheduleExpression":"rate(6 hours)","active":false}`},
		{"POST", berlin + "/jobs/1001/schedules/preview", "limit=100", "", `{"schedule_expression":"*/5 * * * *","schedule_id":1001}`},
		{"DELETE", berlin + "/jobs/1001/schedules/1001/", "", "", ``},
		{"GET", berlin + "/jobs/1001/next-runs", "limit=3", "", ``},
		{"GET", berlin + "/retained-copies", "page=1", "", ``},
		{"PUT", berlin + "/jobs/1001/retained-copies/1001", "confirm=true", "", `{"is_saveset_retained":true}`},
		{"GET", berlin + "/activity", "page=3&page-size=7", "", ``},
		{"PUT", berlin + "/notifications/settings", "", "", `{}`},
		{"PROPFIND", baasenterprise.Root + "/sites", "%zz", "", `<xml/>`},
	})
}
