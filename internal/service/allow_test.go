package service_test

import (
	"context"
	"reflect"
	"regexp"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// kind is how a scope bounds an operation.
type kind int

const (
	open         kind = iota // no actor
	target                   // one thing of site berlin
	list                     // what the scope holds
	whole                    // the account
	another                  // one thing of the account that a scope may see: hosts, sites, repositories
	installation             // all accounts: for the owner of the socket alone
)

// operation is a row of the table: who may, and how to ask for it. The call is
// about the thing with the id that prepare made.
type operation struct {
	role    holdfast.Role
	kind    kind
	prepare func(r *rig) int64
	call    func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error
}

func berlin(r *rig) int64     { return int64(r.sites[0].ID) }
func berlinHost(r *rig) int64 { return int64(r.hosts[0].ID) }
func mainRepo(r *rig) int64   { return int64(r.repo.ID) }
func newJob(r *rig) int64     { return int64(r.job(0, newName()).ID) }
func newETL(r *rig) int64     { return int64(r.etl(newName(), berlinETL).ID) }
func newRun(r *rig) int64     { return int64(r.run(r.job(0, newName())).ID) }
func nothing(*rig) int64      { return 0 }

func newSet(r *rig) int64 {
	_, set := r.backup(r.job(0, newName()), holdfast.CopyComplete)
	return int64(set.ID)
}

func newWorker(r *rig) int64 {
	w := holdfast.Worker{Account: holdfast.FirstID, Name: newName(), Key: newName(), Created: r.clock.Now()}
	r.update(func(tx store.Tx) error {
		w.ID = 0
		return tx.InsertWorker(r.t.Context(), &w)
	})
	return int64(w.ID)
}

func newToken(r *rig) int64 {
	c, _ := r.token(service.NewToken{Name: newName(), Role: holdfast.RoleReader})
	return int64(c.ID)
}

func wishOp(do func(s *service.Service, ctx context.Context, a holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)) operation {
	return operation{holdfast.RoleOperator, target, newRun, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
		_, err := do(r.svc, ctx, a, holdfast.ExecutionID(id))
		return err
	}}
}

func operations() map[string]operation {
	const (
		reader   = holdfast.RoleReader
		operator = holdfast.RoleOperator
		admin    = holdfast.RoleAdmin
	)
	return map[string]operation{
		"Authenticate": {kind: open},
		"LocalActor":   {kind: open},
		"LocalWorker":  {kind: open},
		"Ready":        {kind: open},
		"Close":        {kind: open},

		"RunDue":          {kind: open},
		"RepairSchedules": {kind: open},

		"Login":               {kind: open},
		"AuthenticateSession": {kind: open},
		"RenewSession":        {kind: open},
		"Logout":              {kind: open},
		"PublicKey":           {kind: open},
		"AuthenticatePAT":     {kind: open},
		"LoginAccessKey":      {kind: open},
		"RenewAccess":         {kind: open},
		"AuthenticateAccess":  {kind: open},

		"Account": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Account(ctx, a)
			return err
		}},
		"Accounts": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Accounts(ctx, a)
			return err
		}},
		"CreateAccount": {admin, installation, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.CreateAccount(ctx, a, service.NewAccount{Name: newName()})
			return err
		}},
		"SetAliases": {admin, installation, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.SetAliases(ctx, a, holdfast.FirstID, func([]string) []string { return nil })
			return err
		}},
		"CreateUser": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.CreateUser(ctx, a, service.NewUser{Name: newName(), Role: reader})
			return err
		}},
		"Users": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Users(ctx, a)
			return err
		}},
		"SetPassword": {admin, whole, newUser, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.SetPassword(ctx, a, holdfast.PrincipalID(id), holdfast.Secret{})
		}},
		"DisableUser": {admin, whole, newUser, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.DisableUser(ctx, a, holdfast.PrincipalID(id))
			return err
		}},
		"EnableUser": {admin, whole, newUser, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.EnableUser(ctx, a, holdfast.PrincipalID(id))
			return err
		}},
		"AddKey": {admin, whole, newUser, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.AddKey(ctx, a, service.NewKey{User: holdfast.PrincipalID(id), Name: newName(), PEM: []byte(publicPEM)})
			return err
		}},
		"Keys": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Keys(ctx, a)
			return err
		}},
		"RevokeKey": {admin, whole, newKey, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.RevokeKey(ctx, a, holdfast.CredentialID(id))
		}},
		"CreatePAT": {admin, whole, newUser, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.CreatePAT(ctx, a, service.NewPAT{User: holdfast.PrincipalID(id)})
			return err
		}},
		"PATs": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.PATs(ctx, a)
			return err
		}},
		"RevokePAT": {admin, whole, newPAT, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.RevokePAT(ctx, a, holdfast.CredentialID(id))
		}},
		"CreateAccessKey": {admin, whole, newUser, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.CreateAccessKey(ctx, a, service.NewAccessKey{User: holdfast.PrincipalID(id), Name: newName()})
			return err
		}},
		"AccessKeys": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.AccessKeys(ctx, a)
			return err
		}},
		"RevokeAccessKey": {admin, whole, newAccessKey, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.RevokeAccessKey(ctx, a, holdfast.CredentialID(id))
		}},

		"CreateToken": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.CreateToken(ctx, a, service.NewToken{Name: newName(), Role: reader})
			return err
		}},
		"Tokens": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Tokens(ctx, a)
			return err
		}},
		"RevokeToken": {admin, whole, newToken, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.RevokeToken(ctx, a, holdfast.CredentialID(id))
		}},
		"CreateHost": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.CreateHost(ctx, a, service.NewHost{Name: newName()})
			return err
		}},
		"Hosts": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Hosts(ctx, a)
			return err
		}},
		"Host": {reader, target, berlinHost, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Host(ctx, a, holdfast.HostID(id))
			return err
		}},
		"DeleteHost": {admin, another, berlinHost, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteHost(ctx, a, holdfast.HostID(id))
		}},
		"CreateSite": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.CreateSite(ctx, a, service.NewSite{Site: holdfast.Site{
				Host: r.hosts[0].ID, Slug: newName(), DataDir: "/pg/other", Server: holdfast.Server{Host: "db", User: "u"},
			}})
			return err
		}},
		"Sites": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Sites(ctx, a)
			return err
		}},
		"Directory": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Directory(ctx, a)
			return err
		}},
		"Site": {reader, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Site(ctx, a, holdfast.SiteID(id))
			return err
		}},
		"SiteBySlug": {reader, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			slug := "berlin"
			if id == unknown {
				slug = "nowhere"
			}
			_, err := r.svc.SiteBySlug(ctx, a, slug)
			return err
		}},
		"UpdateSite": {admin, another, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			site := r.sites[0]
			site.ID = holdfast.SiteID(id)
			_, err := r.svc.UpdateSite(ctx, a, service.NewSite{Site: site})
			return err
		}},
		"DeleteSite": {admin, another, func(r *rig) int64 {
			newJob(r) // keeps it from going
			return berlin(r)
		}, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteSite(ctx, a, holdfast.SiteID(id))
		}},
		"TestSite": {operator, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.TestSite(ctx, a, holdfast.SiteID(id), "")
			return err
		}},
		"CreateRepository": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.CreateRepository(ctx, a, service.NewRepository{Name: newName(), Location: "file:///backup/" + newName()})
			return err
		}},
		"Repositories": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Repositories(ctx, a)
			return err
		}},
		"Repository": {reader, target, func(r *rig) int64 {
			repo, _, err := r.svc.CreateRepository(r.t.Context(), r.admin,
				service.NewRepository{Name: newName(), Location: "file:///backup/" + newName()})
			if err != nil {
				r.t.Fatal(err)
			}
			must(r.svc.CreateJob(r.t.Context(), r.admin, holdfast.Job{Site: r.sites[0].ID, Name: newName(), Repository: repo.ID}))(r.t)
			return int64(repo.ID)
		}, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Repository(ctx, a, holdfast.RepositoryID(id))
			return err
		}},
		"DeleteRepository": {admin, whole, mainRepo, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteRepository(ctx, a, holdfast.RepositoryID(id))
		}},
		"RepositoryAccess": {admin, whole, mainRepo, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.RepositoryAccess(ctx, a, holdfast.RepositoryID(id))
			return err
		}},
		"SetRepositoryAccess": {admin, whole, mainRepo, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.SetRepositoryAccess(ctx, a, holdfast.RepositoryID(id), holdfast.ObjectAccessChange{})
			return err
		}},
		"RekeyRepository": {admin, whole, mainRepo, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.RekeyRepository(ctx, a, holdfast.RepositoryID(id))
		}},
		"ConnectRepository": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.ConnectRepository(ctx, a, service.ConnectRepository{
				NewRepository: service.NewRepository{Name: newName(), Location: "file:///backup/" + newName()}, Password: holdfast.NewSecret("kit"),
			})
			return err
		}},
		"RepositoryCopies": {reader, whole, mainRepo, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.RepositoryCopies(ctx, a, holdfast.RepositoryID(id), 0, 10)
			return err
		}},
		"ImportSets": {admin, installation, mainRepo, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.ImportSets(ctx, a, service.Import{Repository: holdfast.RepositoryID(id)})
			return err
		}},
		"CreateJob": {admin, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.CreateJob(ctx, a, holdfast.Job{Site: holdfast.SiteID(id), Name: newName()})
			return err
		}},
		"UpdateJob": {admin, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.UpdateJob(ctx, a, holdfast.JobID(id), func(j *holdfast.Job) error {
				j.Description = "changed"
				return nil
			})
			return err
		}},
		"DeleteJob": {admin, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteJob(ctx, a, holdfast.JobID(id))
		}},
		"CreateETL": {admin, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.CreateETL(ctx, a, service.NewETL{Site: holdfast.SiteID(id), Name: newName(), Definition: berlinETL})
			return err
		}},
		"UpdateETL": {admin, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.UpdateETL(ctx, a, holdfast.JobID(id), func(j *holdfast.Job) error {
				j.Description = "changed"
				return nil
			})
			return err
		}},
		"ETLs": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.ETLs(ctx, a, service.ETLFilter{}, store.Page{})
			return err
		}},
		"ETLStatus": {reader, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.ETLStatus(ctx, a, holdfast.JobID(id))
			return err
		}},
		"RunETL": {operator, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.RunETL(ctx, a, service.RunETL{Job: holdfast.JobID(id)})
			return err
		}},
		"ScheduleETL": {operator, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.ScheduleETL(ctx, a, service.ScheduleETL{RunETL: service.RunETL{Job: holdfast.JobID(id)}})
			return err
		}},
		"StopETL": {operator, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.StopETL(ctx, a, holdfast.JobID(id))
			return err
		}},
		"KillETL": {operator, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.KillETL(ctx, a, holdfast.JobID(id))
			return err
		}},
		"ETLCounters": {reader, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.ETLCounters(ctx, a, holdfast.JobID(id))
			return err
		}},
		"SetETLCounter": {operator, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.SetETLCounter(ctx, a, holdfast.JobID(id), "orders", "orders", "")
		}},
		"PreviewETL": {admin, target, newETL, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.PreviewETL(ctx, a, service.PreviewETL{Job: holdfast.JobID(id)})
			return err
		}},
		"CreateSchedule": {admin, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.CreateSchedule(ctx, a, holdfast.Schedule{Job: holdfast.JobID(id), Expression: "@daily"})
			return err
		}},
		"UpdateSchedule": {admin, target, newScheduled, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.UpdateSchedule(ctx, a, holdfast.JobID(id), r.scheduleOf(id), func(*holdfast.Schedule) error { return nil })
			return err
		}},
		"DeleteSchedule": {admin, target, newScheduled, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteSchedule(ctx, a, holdfast.JobID(id), r.scheduleOf(id))
		}},
		"Schedule": {reader, target, newScheduled, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Schedule(ctx, a, holdfast.JobID(id), r.scheduleOf(id))
			return err
		}},
		"Schedules": {reader, target, newScheduled, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Schedules(ctx, a, holdfast.JobID(id))
			return err
		}},
		"SiteSchedules": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.SiteSchedules(ctx, a, nil, store.Page{})
			return err
		}},
		"PreviewSchedule": {reader, target, newScheduled, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.PreviewSchedule(ctx, a, holdfast.Schedule{Job: holdfast.JobID(id), Expression: "@daily"}, 1)
			return err
		}},
		"CreateTrigger": {admin, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.CreateTrigger(ctx, a, holdfast.Trigger{Job: holdfast.JobID(id), Run: r.job(0, newName()).ID})
			return err
		}},
		"Triggers": {reader, target, newTriggered, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Triggers(ctx, a, holdfast.JobID(id))
			return err
		}},
		"SetTriggerActive": {admin, target, newTriggered, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.SetTriggerActive(ctx, a, holdfast.JobID(id), r.triggerOf(id), false)
			return err
		}},
		"DeleteTrigger": {admin, target, newTriggered, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteTrigger(ctx, a, holdfast.JobID(id), r.triggerOf(id))
		}},
		"NextRuns": {reader, target, newScheduled, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.NextRuns(ctx, a, holdfast.JobID(id), 1)
			return err
		}},
		"Job": {reader, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Job(ctx, a, holdfast.JobID(id))
			return err
		}},
		"Jobs": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.Jobs(ctx, a, store.JobFilter{})
			return err
		}},
		"PlainJobs": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.PlainJobs(ctx, a, store.JobFilter{})
			return err
		}},
		"Execute": {operator, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Execute(ctx, a, service.Run{Job: holdfast.JobID(id)})
			return err
		}},
		"ExecuteAll": {operator, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.ExecuteAll(ctx, a, service.Submit{Runs: []service.Run{{Job: holdfast.JobID(id)}}})
			return err
		}},
		"Submission": {reader, target, func(r *rig) int64 {
			sub, _, err := r.svc.ExecuteAll(r.t.Context(), r.admin, service.Submit{Runs: []service.Run{{Job: holdfast.JobID(newJob(r))}}})
			if err != nil {
				r.t.Fatal(err)
			}
			return int64(sub.ID)
		}, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.Submission(ctx, a, holdfast.SubmissionID(id))
			return err
		}},
		"Restore": {operator, target, newSet, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Restore(ctx, a, service.NewRestore{Spec: holdfast.RestoreSpec{Set: holdfast.SetID(id), Directory: "/restore/a"}})
			return err
		}},
		"Executions": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.Executions(ctx, a, store.ExecutionFilter{})
			return err
		}},
		"Execution": {reader, target, newRun, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Execution(ctx, a, holdfast.ExecutionID(id))
			return err
		}},
		"Suspend": wishOp((*service.Service).Suspend),
		"Resume":  wishOp((*service.Service).Resume),
		"Stop":    wishOp((*service.Service).Stop),
		"Kill":    wishOp((*service.Service).Kill),
		"Log": {reader, target, newRun, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, _, err := r.svc.Log(ctx, a, holdfast.ExecutionID(id), 0, 0)
			return err
		}},
		"Sets": {reader, list, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, _, err := r.svc.Sets(ctx, a, store.SetFilter{})
			return err
		}},
		"Set": {reader, target, newSet, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Set(ctx, a, holdfast.SetID(id))
			return err
		}},
		"MayRun": {operator, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.MayRun(ctx, a, holdfast.SiteID(id))
		}},
		"RetentionPlan": {reader, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.RetentionPlan(ctx, a, holdfast.JobID(id))
			return err
		}},
		"Protect": {admin, target, newSet, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.Protect(ctx, a, holdfast.SetID(id), service.Protection{On: true})
			return err
		}},
		"SetMaintenance": {admin, whole, newWorker, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.SetMaintenance(ctx, a, holdfast.WorkerID(id), true)
			return err
		}},
		"ConfirmSet": {admin, target, newSet, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.ConfirmSet(ctx, a, holdfast.SetID(id))
			return err
		}},
		"DeleteSet": {admin, target, newSet, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteSet(ctx, a, holdfast.SetID(id))
		}},
		"DeleteLastSet": {admin, target, newSet, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteLastSet(ctx, a, holdfast.SetID(id))
		}},
		"DeleteJobAndSets": {admin, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteJobAndSets(ctx, a, holdfast.JobID(id))
		}},
		"DeleteJobAndLastSets": {admin, target, newJob, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.DeleteJobAndLastSets(ctx, a, holdfast.JobID(id))
		}},
		"Workers": {reader, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Workers(ctx, a)
			return err
		}},
		"InviteWorker": {admin, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.InviteWorker(ctx, a, service.Invite{Name: newName(), Hosts: []holdfast.HostID{r.hosts[0].ID}})
			return err
		}},
		"RemoveWorker": {admin, whole, newWorker, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			return r.svc.RemoveWorker(ctx, a, holdfast.WorkerID(id))
		}},
		"SiteEvents": {reader, target, berlin, func(ctx context.Context, r *rig, a holdfast.Actor, id int64) error {
			_, err := r.svc.SiteEvents(ctx, a, holdfast.SiteID(id), store.Page{})
			return err
		}},
		"Events": {reader, whole, nothing, func(ctx context.Context, r *rig, a holdfast.Actor, _ int64) error {
			_, err := r.svc.Events(ctx, a, 0, 0)
			return err
		}},
	}
}

func TestEveryUseCaseHasARow(t *testing.T) {
	t.Parallel()
	rows := operations()
	methods := reflect.TypeFor[*service.Service]()
	for m := range methods.Methods() {
		if _, ok := rows[m.Name]; !ok {
			t.Errorf("%s has no row: say who may do it, in the table here and in the service's", m.Name)
		}
		delete(rows, m.Name)
	}
	for name := range rows {
		t.Errorf("the row %s is of no use case", name)
	}
}

// scope says which of the rig's sites an actor is bound to.
type scope int

const (
	unbound scope = iota
	sees          // berlin
	blind         // paris only
)

func (s scope) String() string { return [...]string{"unbound", "sees", "blind"}[s] }

// want is the table of design: A-33 in teradata-baas.md §8.2.
func (op operation) want(role holdfast.Role, s scope) holdfast.Code {
	unseen := s == blind && (op.kind == target || op.kind == another)
	switch {
	case unseen:
		return holdfast.CodeNotFound
	case !role.Includes(op.role):
		return holdfast.CodeForbidden
	case s != unbound && (op.kind == whole || op.kind == another), op.kind == installation:
		return holdfast.CodeForbidden
	}
	return ""
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// The rig's sites share a repository and each has its own host, so that the
	// blind actor sees neither berlin nor its host.
	for name, op := range operations() {
		if op.kind == open {
			continue
		}
		for _, role := range holdfast.Roles() {
			for _, s := range []scope{unbound, sees, blind} {
				actor := map[scope]holdfast.Actor{
					unbound: r.actor(role), sees: r.actor(role, r.sites[0].ID), blind: r.actor(role, r.sites[1].ID),
				}[s]
				err := op.call(t.Context(), r, actor, op.prepare(r))
				got, want := holdfast.ErrorCode(err), op.want(role, s)
				if got == holdfast.CodeConflict || got == holdfast.CodeInvalid {
					got = "" // allowed, but the state was against it
				}
				if got != want {
					t.Errorf("%s by %s, %s: got %q (%v), want %q", name, role, s, got, err, want)
				}
			}
		}
	}
}

var varying = regexp.MustCompile(`[0-9]+|"[a-z]+"`)

func TestWhatIsNotSeenIsAnUnknownID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	blindAdmin := r.actor(holdfast.RoleAdmin, r.sites[1].ID)
	stranger := r.actor(holdfast.RoleAdmin)
	stranger.Principal.Account = 4711
	for name, op := range operations() {
		if op.kind != target && op.kind != another {
			continue
		}
		id := op.prepare(r)
		unknownErr := op.call(t.Context(), r, r.actor(holdfast.RoleAdmin), unknown)
		wantCode(t, unknownErr, holdfast.CodeNotFound)
		want := varying.ReplaceAllString(holdfast.ErrorMessage(unknownErr)+"|"+holdfast.ErrorHint(unknownErr), "N")
		for who, actor := range map[string]holdfast.Actor{"another site's": blindAdmin, "another account's": stranger} {
			err := op.call(t.Context(), r, actor, id)
			if got := holdfast.ErrorCode(err); got != holdfast.CodeNotFound {
				t.Errorf("%s by %s admin: got %v, want not found", name, who, err)
				continue
			}
			got := varying.ReplaceAllString(holdfast.ErrorMessage(err)+"|"+holdfast.ErrorHint(err), "N")
			if got != want {
				t.Errorf("%s by %s admin: got %q, want the words of an unknown id, %q", name, who, got, want)
			}
		}
	}
}

func TestNobodyIsUnauthenticated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	roleless := r.actor("")
	invented := r.actor("owner")
	for name, op := range operations() {
		if op.kind == open {
			continue
		}
		for who, actor := range map[string]holdfast.Actor{"the zero actor": {}, "no role": roleless, "an unknown role": invented} {
			if err := op.call(t.Context(), r, actor, op.prepare(r)); holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated {
				t.Errorf("%s by %s: got %v, want unauthenticated", name, who, err)
			}
		}
	}
}

func TestListsAreNarrowedToTheScope(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	job := [2]holdfast.Job{r.job(0, "nightly"), r.job(1, "nightly")}
	for _, j := range job {
		r.backup(j, holdfast.CopyComplete)
	}
	private, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "private", Location: "file:///backup/private"})
	if err != nil {
		t.Fatal(err)
	}
	must(r.svc.UpdateJob(ctx, r.admin, job[0].ID, func(j *holdfast.Job) error {
		j.Repository = private.ID
		return nil
	}))(t)
	both := r.actor(holdfast.RoleReader)
	paris := r.actor(holdfast.RoleReader, r.sites[1].ID)
	gone := r.actor(holdfast.RoleReader, unknown)
	count := func(a holdfast.Actor, asked ...holdfast.SiteID) [6]int {
		t.Helper()
		jobs, n, err := r.svc.Jobs(ctx, a, store.JobFilter{Sites: asked})
		if err != nil || n != len(jobs) {
			t.Fatalf("got %d of %d jobs and error %v", len(jobs), n, err)
		}
		executions, n, err := r.svc.Executions(ctx, a, store.ExecutionFilter{Sites: asked})
		if err != nil || n != len(executions) {
			t.Fatalf("got %d of %d executions and error %v", len(executions), n, err)
		}
		sets, n, err := r.svc.Sets(ctx, a, store.SetFilter{Sites: asked})
		if err != nil || n != len(sets) {
			t.Fatalf("got %d of %d sets and error %v", len(sets), n, err)
		}
		return [6]int{
			len(must(r.svc.Hosts(ctx, a))(t)), len(must(r.svc.Sites(ctx, a))(t)), len(must(r.svc.Repositories(ctx, a))(t)),
			len(jobs), len(executions), len(sets),
		}
	}
	for _, c := range []struct {
		name  string
		actor holdfast.Actor
		asked []holdfast.SiteID
		want  [6]int
	}{
		{"whole account", both, nil, [6]int{2, 2, 2, 2, 2, 2}},
		{"whole account, one site asked", both, []holdfast.SiteID{r.sites[0].ID}, [6]int{2, 2, 2, 1, 1, 1}},
		{"paris", paris, nil, [6]int{1, 1, 1, 1, 1, 1}},
		{"paris, both asked", paris, []holdfast.SiteID{r.sites[0].ID, r.sites[1].ID}, [6]int{1, 1, 1, 1, 1, 1}},
		{"paris, berlin asked", paris, []holdfast.SiteID{r.sites[0].ID}, [6]int{1, 1, 1, 0, 0, 0}},
		{"a site that is gone", gone, nil, [6]int{}},
	} {
		if got := count(c.actor, c.asked...); got != c.want {
			t.Errorf("%s: got hosts, sites, repositories, jobs, executions, sets %v, want %v", c.name, got, c.want)
		}
	}
	// A filter by job or parent shows nothing of another site's either.
	list, n, err := r.svc.Executions(ctx, paris, store.ExecutionFilter{Job: job[0].ID, Restores: true})
	if err != nil || n != 0 || len(list) != 0 {
		t.Errorf("got %d executions of another site's job and error %v, want none", n, err)
	}
}

func TestPagesThatNoListHas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, p := range []store.Page{{Offset: -1}, {Limit: -1}} {
		_, _, err := r.svc.Jobs(t.Context(), r.admin, store.JobFilter{Page: p})
		wantInvalid(t, err)
		_, _, err = r.svc.Executions(t.Context(), r.admin, store.ExecutionFilter{Page: p})
		wantInvalid(t, err)
		_, _, err = r.svc.Sets(t.Context(), r.admin, store.SetFilter{Page: p})
		wantInvalid(t, err)
	}
	_, err := r.svc.Events(t.Context(), r.admin, -1, 0)
	wantInvalid(t, err)
	_, err = r.svc.Events(t.Context(), r.admin, 0, -1)
	wantInvalid(t, err)
}
