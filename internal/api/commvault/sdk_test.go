package commvault_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
)

// sdk makes the calls of cvpysdk 11.40.2 in its order, and reads the members
// that it cannot do without. Source: docs/api/commvault.md, "SDK".
type sdk struct {
	client
	w *apitest.World
}

// send makes a call as the SDK does, which takes nothing but 200 for a success.
func (s sdk) send(method, path string, body any) reply {
	s.t.Helper()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		text = string(b)
	}
	r := httptest.NewRequestWithContext(s.t.Context(), method, "/commandcenter/api/"+path, strings.NewReader(text))
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	if method == http.MethodPost && body == nil {
		r.Header.Set("Content-Type", "application/xml")
	}
	if s.token != "" {
		r.Header.Set("Authtoken", s.token)
	}
	rec := httptest.NewRecorder()
	s.h.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK || !strings.Contains(rec.Header().Get("Content-Type"), "application/json") {
		s.t.Fatalf("%s %s: got %d %s", method, path, rec.Code, rec.Body)
	}
	return s.parse(method+" "+path, rec.Body.Bytes())
}

func (s sdk) parse(call string, b []byte) reply {
	s.t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		s.t.Fatalf("%s: %v: %s", call, err, b)
	}
	return reply{s.t, call, v}
}

func (s sdk) get(path string) reply {
	s.t.Helper()
	return s.send(http.MethodGet, path, nil)
}

func (s sdk) post(path string, body any) reply {
	s.t.Helper()
	return s.send(http.MethodPost, path, body)
}

// reply is an answer, or a part of one.
type reply struct {
	t    *testing.T
	call string
	v    any
}

// at follows keys, and fails when one is missing.
func (r reply) at(keys ...string) reply {
	r.t.Helper()
	for _, key := range keys {
		m, ok := r.v.(map[string]any)
		v, there := m[key]
		if !ok || !there {
			r.t.Fatalf("%s: %q is missing in %v", r.call, key, r.v)
		}
		r.v = v
	}
	return r
}

// has fails unless every key is there.
func (r reply) has(keys ...string) reply {
	r.t.Helper()
	for _, key := range keys {
		r.at(key)
	}
	return r
}

func (r reply) list() []reply {
	r.t.Helper()
	items, ok := r.v.([]any)
	if !ok {
		r.t.Fatalf("%s: %v is no list", r.call, r.v)
	}
	list := make([]reply, len(items))
	for i, v := range items {
		list[i] = reply{r.t, r.call, v}
	}
	return list
}

// first is the first element of a list, which the SDK takes without looking.
func (r reply) first() reply {
	r.t.Helper()
	list := r.list()
	if len(list) == 0 {
		r.t.Fatalf("%s: the list is empty", r.call)
	}
	return list[0]
}

// text is a string that can be lower-cased.
func (r reply) text() string {
	r.t.Helper()
	s, ok := r.v.(string)
	if !ok {
		r.t.Fatalf("%s: %v is no text", r.call, r.v)
	}
	return s
}

// number is a whole number.
func (r reply) number() int64 {
	r.t.Helper()
	f, ok := r.v.(float64)
	if !ok || f != float64(int64(f)) {
		r.t.Fatalf("%s: %v is no whole number", r.call, r.v)
	}
	return int64(f)
}

func (r reply) flag() bool {
	r.t.Helper()
	b, ok := r.v.(bool)
	if !ok {
		r.t.Fatalf("%s: %v is no truth value", r.call, r.v)
	}
	return b
}

// byName is how the SDK keeps a list: by names in lower case.
func (s sdk) byName(list []reply, entity, name, id string) map[string]int64 {
	found := map[string]int64{}
	for _, item := range list {
		e := item.at(entity)
		found[strings.ToLower(e.at(name).text())] = e.at(id).number()
	}
	return found
}

// clients is what touching .clients asks for.
func (s sdk) clients() map[string]int64 {
	var list []reply
	for _, c := range s.get("Client").at("clientProperties").list() {
		e := c.at("client", "clientEntity")
		e.at("hostName").text()
		e.at("displayName").text()
		list = append(list, c.at("client"))
	}
	s.get("Client?hiddenclients=true").at("clientProperties").list()
	s.get("Client?PseudoClientType=VSPseudo")
	s.get("VSAClientAndClientGroupList")
	return s.byName(list, "clientEntity", "clientName", "clientId")
}

// openClient reads a client twice, as each look-up does.
func (s sdk) openClient(id int64) {
	for range 2 {
		p := s.get(fmt.Sprintf("Client/%d", id)).at("clientProperties").first()
		c := p.at("client")
		c.at("osInfo").has("Type", "SubType").at("OsDisplayInfo").has("ProcessorType", "OSName")
		c.has("cvdPort", "versionInfo").at("clientEntity", "hostName").text()
		c.at("TimeZone", "TimeZoneName").text()
		p.at("clientProps").has("EnableSnapBackups").at("activityControl").has("EnableDataRecovery", "EnableDataManagement", "EnableOnlineContentIndex")
		for _, a := range p.at("clientProps", "clientActivityControl", "activityControlOptions").list() {
			a.at("activityType").number()
			a.at("enableActivityType").flag()
		}
		if _, virtual := p.v.(map[string]any)["vmStatusInfo"]; virtual {
			s.t.Error("vmStatusInfo makes the SDK take the client for a virtual machine")
		}
	}
}

// openBackupset opens a backup set with its subclients, and returns these.
func (s sdk) openBackupset(client, id int64) (entity map[string]any, subclients map[string]int64) {
	p := s.get(fmt.Sprintf("Backupset/%d", id)).at("backupsetProperties").first().has("planEntity")
	p.at("commonBackupSet", "isDefaultBackupSet").flag()
	entity, _ = p.at("backupSetEntity").v.(map[string]any)
	list := s.get(fmt.Sprintf("Subclient?clientId=%d&applicationId=125&backupsetId=%d&propertyLevel=20", client, id)).at("subClientProperties").list()
	for _, sub := range list {
		sub.has("commonProperties").at("subClientEntity").has("appName", "instanceName", "backupsetName")
	}
	s.get(fmt.Sprintf("Schedules?clientId=%d&apptypeId=125&backupsetId=%d", client, id))
	return entity, s.byName(list, "subClientEntity", "subclientName", "subclientId")
}

// openSubclient opens a subclient, and returns what becomes its association.
func (s sdk) openSubclient(client, set, id int64) map[string]any {
	p := s.get(fmt.Sprintf("Subclient/%d", id)).at("subClientProperties").first()
	p.at("commonProperties").has("lastBackupTime", "nextBackupTime", "description").at("snapCopyInfo", "isSnapBackupEnabled").flag()
	if !p.at("commonProperties", "enableBackup").flag() || p.at("commonProperties", "storageDevice", "dataBackupStoragePolicy", "storagePolicyName").text() == "" {
		s.t.Error("backupset.backup() would start nothing")
	}
	s.get(fmt.Sprintf("Schedules?clientId=%d&apptypeId=125&backupsetId=%d&subclientId=%d", client, set, id))
	entity, _ := p.at("subClientEntity").v.(map[string]any)
	return entity
}

// status is each look at job.status: the summary, then the details.
func (s sdk) status(job string) string {
	sum := s.get("Job/" + job)
	if sum.at("totalRecordsWithoutPaging").number() == 0 {
		s.t.Fatalf("job %s cannot be read", job)
	}
	j := sum.at("jobs").first().at("jobSummary")
	j.at("jobStartTime").number()
	j.at("lastUpdateTime").number()
	j.at("subclient").has("clientId", "clientName", "appName", "instanceName", "backupsetName", "subclientId", "subclientName")
	j.has("jobType", "jobEndTime", "percentComplete").at("userName").has("userName", "userId")
	d := s.post("JobDetails", map[string]any{"jobId": json.Number(job), "showAttempt": true}).at("job", "jobDetail", "progressInfo")
	d.has("reasonForJobDelay", "numOfFilesTransferred").at("state").text()
	return j.at("status").text()
}

// started reads a new job as the SDK does right after the answer that made it.
func (s sdk) started(made reply) string {
	s.t.Helper()
	made.at("taskId").number()
	ids := made.at("jobIds").list()
	if len(ids) != 1 {
		s.t.Fatalf("%s: got %d jobs, want 1", made.call, len(ids))
	}
	job := ids[0].text()
	s.get("Job/" + job)
	s.status(job)
	s.status(job)
	return job
}

func (s sdk) want(job, status string) {
	s.t.Helper()
	if got := s.status(job); got != status {
		s.t.Errorf("job %s: got %q, want %q", job, got, status)
	}
}

func (s sdk) give(lines ...string) { s.t.Helper(); give(s.t, s.w, lines...) }

// login is Commcell(host, user, password).
func (s *sdk) login(user, password string) {
	s.get("")
	answer := s.client.login(user, password)
	var ok bool
	if s.token, ok = answer["token"].(string); !ok || answer["userName"] == nil {
		s.t.Fatalf("Login: got %v", answer)
	}
}

// jobList is what the SDK reads of each job of a list.
func (s sdk) jobList(category int) []int64 {
	r := s.post("Jobs", map[string]any{
		"scope": 1, "category": category, "pagingConfig": map[string]any{"sortDirection": 1, "offset": 0, "sortField": "jobId", "limit": 20},
		"jobFilter": map[string]any{
			"completedJobLookupTime": 86400, "showAgedJobs": false, "hideAdminJobs": false, "clientList": []any{},
			"jobTypeList": []string{"Backup", "SYNTHFULL"},
		},
	})
	var ids []int64
	for _, item := range r.at("jobs").list() {
		j := item.at("jobSummary")
		if !j.at("isVisible").flag() {
			s.t.Error("the SDK drops a job that is not visible")
		}
		j.at("status").text()
		j.at("percentComplete").number()
		ids = append(ids, j.at("jobId").number())
	}
	return ids
}

// task is the body of Createtask as the SDK builds it.
func task(association map[string]any, kind, operation int, options map[string]any) map[string]any {
	return map[string]any{"taskInfo": map[string]any{
		"associations": []any{association},
		"task":         map[string]any{"initiatedFrom": 2, "taskType": 1, "policyType": 0, "taskFlags": map[string]any{"disabled": false}},
		"subTasks": []any{map[string]any{
			"subTaskOperation": 1, "subTask": map[string]any{"subTaskType": kind, "operationType": operation}, "options": options,
		}},
	}}
}

// TestTheSDKWalk makes the calls that a script makes which opens a subclient,
// backs it up, watches, suspends, resumes and kills jobs, and restores.
func TestTheSDKWalk(t *testing.T) {
	w := apitest.NewWorld(t)
	give(t, w, "user alice operator", "job berlin default", "job oslo nightly")
	s := sdk{client{t: t, h: handlerOf(w)}, w}
	s.login("alice", apitest.Password)

	// .commserv_name, .version, .default_timezone
	cs := s.get("CommServ").has("hostName", "currentSPVersion", "csVersionInfo", "releaseName")
	cs.at("csTimeZone", "TimeZoneName").text()
	if !strings.Contains(cs.at("timeZone").text(), "(") {
		t.Error("timeZone has no parenthesis, which the SDK takes it from")
	}
	clients := s.clients()
	name := strings.ToLower(cs.at("commcell", "commCellName").text())
	if id := clients[name]; id != 2 || cs.at("commcell", "commCellId").number() != 2 {
		t.Fatalf("the CommServe client %q has id %d, want the CommCell's, 2", name, id)
	}
	s.openClient(2)
	if agents := s.get("Agent?clientId=2").at("agentProperties").list(); len(agents) != 0 {
		t.Errorf("the CommServe has %d agents, want none", len(agents))
	}

	// client, agent, instance, backup sets, subclient
	host := clients["db1"]
	s.openClient(host)
	agents := s.byName(s.get(fmt.Sprintf("Agent?clientId=%d", host)).at("agentProperties").list(), "idaEntity", "appName", "applicationId")
	if agents["postgresql"] != 125 {
		t.Fatalf("got agents %v, want postgresql with 125", agents)
	}
	s.get(fmt.Sprintf("Agent?clientId=%d&applicationId=125&propertyLevel=30", host)).at("agentProperties").first()
	list := s.get(fmt.Sprintf("Instance?clientId=%d", host)).at("instanceProperties").list()
	instance := s.byName(list, "instance", "instanceName", "instanceId")["berlin"]
	p := s.get(fmt.Sprintf("Instance/%d?association/entity/clientId=%d&association/entity/applicationId=125", instance, host)).
		at("instanceProperties").first().has("instanceActivityControl", "version")
	p.at("postGreSQLInstance").has("BinaryDirectory", "LibDirectory", "ArchiveLogDirectory", "MaintainenceDB", "ArchiveDelete").at("port").text()
	p.at("postGreSQLInstance", "SAUser", "userName").text()
	p.at("postGreSQLInstance", "logStoragePolicy", "storagePolicyName").text()
	p.at("postGreSQLInstance", "standbyOptions", "isStandbyEnabled").flag()
	list = s.get(fmt.Sprintf("Backupset?clientId=%d&propertyLevel=10&applicationId=125&instanceId=%d", host, instance)).at("backupsetProperties").list()
	sets := s.byName(list, "backupSetEntity", "backupsetName", "backupsetId")
	if len(sets) != 2 || sets["fsbasedbackupset"] == 0 || sets["dumpbasedbackupset"] == 0 {
		t.Fatalf("got backup sets %v, want both", sets)
	}
	fs := sets["fsbasedbackupset"]
	setEntity, subclients := s.openBackupset(host, fs)
	if _, none := s.openBackupset(host, sets["dumpbasedbackupset"]); len(none) != 0 {
		t.Errorf("the logical backup set has subclients %v, want none", none)
	}
	entity := s.openSubclient(host, fs, subclients["default"])
	s.get("/Schedules")
	s.get("/CommCell/Credentials?propertyLevel=30").at("credentialRecordInfo").list()

	// subclient.backup("FULL"), and waiting for its end
	backup := fmt.Sprintf("Subclient/%d/action/backup?backupLevel=full&collectMetaInfo=False", subclients["default"])
	job := s.started(s.post(backup, nil))
	s.give("start "+job, "phase "+job+" copy")
	s.want(job, "Running")
	s.give("clock 1m", "succeed "+job+" 4096")
	s.want(job, "Completed")

	// subclient.backup("INCREMENTAL", inc_with_data=True)
	options := map[string]any{"backupOpts": map[string]any{
		"backupLevel": "incremental", "incLevel": "BEFORE_SYNTH", "runIncrementalBackup": false, "incrementalDataWithLogs": true,
	}}
	second := s.started(s.post("CreateTask", task(entity, 2, 2, options)))
	if active := s.jobList(1); len(active) != 1 || fmt.Sprint(active[0]) != second {
		t.Errorf("active jobs: got %v, want job %s", active, second)
	}
	s.give("start "+second, "succeed "+second+" 4096")
	if done := s.jobList(2); len(done) != 2 || fmt.Sprint(done[0]) != second {
		t.Errorf("finished jobs: got %v, want two, job %s first", done, second)
	}
	if all := s.jobList(0); len(all) != 2 {
		t.Errorf("all jobs: got %v, want two", all)
	}
	for _, e := range s.get("Events?jobId=" + job).at("commservEvents").list() {
		e.has("severity", "eventCode", "eventCodeString", "subsystem", "description", "timeSource", "type", "acknowledge", "clientEntity").at("id").number()
	}

	// job.pause(), job.resume(), job.kill()
	act := func(job, action string) {
		t.Helper()
		e := s.post("Job/"+job+"/action/"+action, nil).at("errors").first().at("errList").first().has("errLogMessage")
		if code := e.at("errorCode").number(); code != 0 {
			t.Errorf("%s of job %s: got error %d", action, job, code)
		}
	}
	third := s.started(s.post(backup, nil))
	s.give("start " + third)
	act(third, "pause")
	s.want(third, "Suspend Pending")
	s.give("move " + third + " rest")
	s.want(third, "Suspended")
	if active := s.jobList(1); len(active) != 1 {
		t.Errorf("a suspended job is active: got %v", active)
	}
	act(third, "resume")
	s.want(third, "Queued")
	s.give("start " + third)
	act(third, "kill")
	s.want(third, "Kill Pending")
	s.give("move " + third + " rest")
	s.want(third, "Killed")

	// backupset.restore_postgres_server() beside the source: its client and its
	// instance in lower case
	delete(setEntity, "subclientId")
	where := func(m map[string]any) map[string]any {
		m["clientName"], m["appName"] = "db1", "postgresql"
		return m
	}
	options = map[string]any{"commonOpts": map[string]any{}, "restoreOptions": map[string]any{
		"browseOption": map[string]any{
			"commCellId": 2, "backupset": where(map[string]any{}), "timeZone": map[string]any{"TimeZoneName": "UTC"}, "timeRange": map[string]any{},
		},
		"commonOptions": map[string]any{"unconditionalOverwrite": true},
		"destination": map[string]any{
			"destinationInstance": where(map[string]any{"instanceName": "berlin"}), "destClient": map[string]any{"clientName": "db1"},
		},
		"fileOption": map[string]any{"sourceItem": []string{"/data"}, "browseFilters": []any{}},
		"postgresRstOption": map[string]any{
			"restoreToSameServer": false, "tableLevelRestore": false, "instanceRestore": false, "fsBackupSetRestore": true,
			"isCloneRestore": false, "refTime": map[string]any{},
		},
	}}
	restore := s.started(s.post("CreateTask", task(setEntity, 3, 1001, options)))
	s.give("start "+restore, "succeed "+restore+" 4096")
	s.want(restore, "Completed")

	// the token, renewed and ended
	if s.post("WhoAmI", nil).at("user", "userName").text() != "alice" {
		t.Error("WhoAmI does not tell who logged in")
	}
	s.give("clock 31m")
	if status, _ := s.do(http.MethodGet, "/Client", ""); status != http.StatusUnauthorized {
		t.Errorf("a token without use: got %d, want 401", status)
	}
	s.token = s.post("RenewLoginToken", map[string]any{"sessionId": s.token, "deviceId": "laptop"}).at("token").text()
	s.get("Client")
	s.post("Logout", nil)
	if status, _ := s.do(http.MethodGet, "/Client", ""); status != http.StatusUnauthorized {
		t.Errorf("after logout: got %d, want 401", status)
	}
}
