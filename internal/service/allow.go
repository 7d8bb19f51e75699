package service

import (
	"slices"

	"github.com/holdfast-backup/holdfast"
)

// Operation names a use case: it is the name of the method.
type Operation string

// The operations that ask for a decision.
const (
	opCreateToken      Operation = "CreateToken"
	opTokens           Operation = "Tokens"
	opRevokeToken      Operation = "RevokeToken"
	opCreateHost       Operation = "CreateHost"
	opHosts            Operation = "Hosts"
	opHost             Operation = "Host"
	opDeleteHost       Operation = "DeleteHost"
	opCreateSite       Operation = "CreateSite"
	opSites            Operation = "Sites"
	opDirectory        Operation = "Directory"
	opSite             Operation = "Site"
	opSiteBySlug       Operation = "SiteBySlug"
	opUpdateSite       Operation = "UpdateSite"
	opDeleteSite       Operation = "DeleteSite"
	opTestSite         Operation = "TestSite"
	opCreateRepository Operation = "CreateRepository"
	opRepositories     Operation = "Repositories"
	opRepository       Operation = "Repository"
	opDeleteRepository Operation = "DeleteRepository"

	opRepositoryAccess    Operation = "RepositoryAccess"
	opSetRepositoryAccess Operation = "SetRepositoryAccess"
	opRekeyRepository     Operation = "RekeyRepository"
	opConnectRepository   Operation = "ConnectRepository"
	opRepositoryCopies    Operation = "RepositoryCopies"
	opImportSets          Operation = "ImportSets"

	opCreateJob        Operation = "CreateJob"
	opUpdateJob        Operation = "UpdateJob"
	opDeleteJob        Operation = "DeleteJob"
	opJob              Operation = "Job"
	opJobs             Operation = "Jobs"
	opPlainJobs        Operation = "PlainJobs"
	opCreateETL        Operation = "CreateETL"
	opUpdateETL        Operation = "UpdateETL"
	opETLs             Operation = "ETLs"
	opETLStatus        Operation = "ETLStatus"
	opRunETL           Operation = "RunETL"
	opScheduleETL      Operation = "ScheduleETL"
	opStopETL          Operation = "StopETL"
	opKillETL          Operation = "KillETL"
	opETLCounters      Operation = "ETLCounters"
	opSetETLCounter    Operation = "SetETLCounter"
	opPreviewETL       Operation = "PreviewETL"
	opCreateSchedule   Operation = "CreateSchedule"
	opUpdateSchedule   Operation = "UpdateSchedule"
	opDeleteSchedule   Operation = "DeleteSchedule"
	opSchedule         Operation = "Schedule"
	opSchedules        Operation = "Schedules"
	opSiteSchedules    Operation = "SiteSchedules"
	opPreviewSchedule  Operation = "PreviewSchedule"
	opNextRuns         Operation = "NextRuns"
	opCreateTrigger    Operation = "CreateTrigger"
	opTriggers         Operation = "Triggers"
	opSetTriggerActive Operation = "SetTriggerActive"
	opDeleteTrigger    Operation = "DeleteTrigger"
	opExecute          Operation = "Execute"
	opExecuteAll       Operation = "ExecuteAll"
	opMayRun           Operation = "MayRun"
	opSubmission       Operation = "Submission"
	opRestore          Operation = "Restore"
	opExecutions       Operation = "Executions"
	opExecution        Operation = "Execution"
	opSuspend          Operation = "Suspend"
	opResume           Operation = "Resume"
	opStop             Operation = "Stop"
	opKill             Operation = "Kill"
	opLog              Operation = "Log"
	opSets             Operation = "Sets"
	opSet              Operation = "Set"
	opRetentionPlan    Operation = "RetentionPlan"
	opProtect          Operation = "Protect"
	opConfirmSet       Operation = "ConfirmSet"
	opDeleteSet        Operation = "DeleteSet"
	opDeleteLastSet    Operation = "DeleteLastSet"
	opDeleteJobAndSets Operation = "DeleteJobAndSets"
	opDeleteJobAndLast Operation = "DeleteJobAndLastSets"
	opWorkers          Operation = "Workers"
	opInviteWorker     Operation = "InviteWorker"
	opRemoveWorker     Operation = "RemoveWorker"
	opSetMaintenance   Operation = "SetMaintenance"
	opEvents           Operation = "Events"
	opSiteEvents       Operation = "SiteEvents"
	opAccount          Operation = "Account"
	opAccounts         Operation = "Accounts"
	opCreateAccount    Operation = "CreateAccount"
	opSetAliases       Operation = "SetAliases"
	opCreateUser       Operation = "CreateUser"
	opUsers            Operation = "Users"
	opSetPassword      Operation = "SetPassword"
	opDisableUser      Operation = "DisableUser"
	opEnableUser       Operation = "EnableUser"
	opAddKey           Operation = "AddKey"
	opKeys             Operation = "Keys"
	opRevokeKey        Operation = "RevokeKey"
	opCreatePAT        Operation = "CreatePAT"
	opPATs             Operation = "PATs"
	opRevokePAT        Operation = "RevokePAT"
	opCreateAccessKey  Operation = "CreateAccessKey"
	opAccessKeys       Operation = "AccessKeys"
	opRevokeAccessKey  Operation = "RevokeAccessKey"
)

// scopeKind says how a credential's sites bound an operation.
type scopeKind int

const (
	// scopeOpen asks for no actor: the process itself calls it, or it finds the
	// actor.
	scopeOpen scopeKind = iota + 1
	// scopeTarget is about one thing that the scope must hold.
	scopeTarget
	// scopeList shows what the scope holds, and is silent about the rest.
	scopeList
	// scopeAccount is about the whole account: a credential that is bound to
	// sites may not. What decides which server a site is belongs here too, since
	// otherwise a scope could widen itself.
	scopeAccount
	// scopeInstallation is about all accounts: only the owner of the server's
	// socket may, acting in the default account.
	scopeInstallation
)

type rule struct {
	role  holdfast.Role // the weakest that may
	scope scopeKind
}

// rules is the one table of who may do what: an operation without a row is
// refused.
//
// A host is seen by a scope that holds a site on it, a repository by a scope
// that holds a site or a job that keeps its sets there. Tokens, workers and
// events tell of the whole account, so a credential that is bound to sites sees
// none of them.
var rules = map[Operation]rule{
	"Authenticate": {"", scopeOpen},
	"LocalActor":   {"", scopeOpen},
	"LocalWorker":  {"", scopeOpen},
	"Ready":        {"", scopeOpen},
	"Close":        {"", scopeOpen},

	"RunDue":          {"", scopeOpen},
	"RepairSchedules": {"", scopeOpen},

	"Login":               {"", scopeOpen},
	"AuthenticateSession": {"", scopeOpen},
	"RenewSession":        {"", scopeOpen},
	"Logout":              {"", scopeOpen},
	"PublicKey":           {"", scopeOpen},
	"AuthenticatePAT":     {"", scopeOpen},
	"LoginAccessKey":      {"", scopeOpen},
	"RenewAccess":         {"", scopeOpen},
	"AuthenticateAccess":  {"", scopeOpen},

	opAccount:       {holdfast.RoleReader, scopeList},
	opAccounts:      {holdfast.RoleReader, scopeList},
	opCreateAccount: {holdfast.RoleAdmin, scopeInstallation},
	opSetAliases:    {holdfast.RoleAdmin, scopeInstallation},

	opCreateUser:  {holdfast.RoleAdmin, scopeAccount},
	opUsers:       {holdfast.RoleAdmin, scopeAccount},
	opSetPassword: {holdfast.RoleAdmin, scopeAccount},
	opDisableUser: {holdfast.RoleAdmin, scopeAccount},
	opEnableUser:  {holdfast.RoleAdmin, scopeAccount},
	opAddKey:      {holdfast.RoleAdmin, scopeAccount},
	opKeys:        {holdfast.RoleAdmin, scopeAccount},
	opRevokeKey:   {holdfast.RoleAdmin, scopeAccount},
	opCreatePAT:   {holdfast.RoleAdmin, scopeAccount},
	opPATs:        {holdfast.RoleAdmin, scopeAccount},
	opRevokePAT:   {holdfast.RoleAdmin, scopeAccount},

	opCreateAccessKey: {holdfast.RoleAdmin, scopeAccount},
	opAccessKeys:      {holdfast.RoleAdmin, scopeAccount},
	opRevokeAccessKey: {holdfast.RoleAdmin, scopeAccount},

	opCreateToken: {holdfast.RoleAdmin, scopeAccount},
	opTokens:      {holdfast.RoleAdmin, scopeAccount},
	opRevokeToken: {holdfast.RoleAdmin, scopeAccount},

	opCreateHost: {holdfast.RoleAdmin, scopeAccount},
	opHosts:      {holdfast.RoleReader, scopeList},
	opHost:       {holdfast.RoleReader, scopeTarget},
	opDeleteHost: {holdfast.RoleAdmin, scopeAccount},

	opCreateSite: {holdfast.RoleAdmin, scopeAccount},
	opSites:      {holdfast.RoleReader, scopeList},
	opDirectory:  {holdfast.RoleReader, scopeList},
	opSite:       {holdfast.RoleReader, scopeTarget},
	opSiteBySlug: {holdfast.RoleReader, scopeTarget},
	opUpdateSite: {holdfast.RoleAdmin, scopeAccount},
	opDeleteSite: {holdfast.RoleAdmin, scopeAccount},
	opTestSite:   {holdfast.RoleOperator, scopeTarget},

	opCreateRepository: {holdfast.RoleAdmin, scopeAccount},
	opRepositories:     {holdfast.RoleReader, scopeList},
	opRepository:       {holdfast.RoleReader, scopeTarget},
	opDeleteRepository: {holdfast.RoleAdmin, scopeAccount},

	opRepositoryAccess:    {holdfast.RoleAdmin, scopeAccount},
	opSetRepositoryAccess: {holdfast.RoleAdmin, scopeAccount},
	opRekeyRepository:     {holdfast.RoleAdmin, scopeAccount},
	opConnectRepository:   {holdfast.RoleAdmin, scopeAccount},
	opRepositoryCopies:    {holdfast.RoleReader, scopeAccount},
	opImportSets:          {holdfast.RoleAdmin, scopeAccount},

	opCreateJob: {holdfast.RoleAdmin, scopeTarget},
	opUpdateJob: {holdfast.RoleAdmin, scopeTarget},
	opDeleteJob: {holdfast.RoleAdmin, scopeTarget},
	opJob:       {holdfast.RoleReader, scopeTarget},
	opJobs:      {holdfast.RoleReader, scopeList},
	opPlainJobs: {holdfast.RoleReader, scopeList},

	// A definition is code that runs at its sites, and so is a preview.
	opCreateETL:     {holdfast.RoleAdmin, scopeTarget},
	opUpdateETL:     {holdfast.RoleAdmin, scopeTarget},
	opPreviewETL:    {holdfast.RoleAdmin, scopeTarget},
	opETLs:          {holdfast.RoleReader, scopeList},
	opETLStatus:     {holdfast.RoleReader, scopeTarget},
	opETLCounters:   {holdfast.RoleReader, scopeTarget},
	opSetETLCounter: {holdfast.RoleOperator, scopeTarget},
	opRunETL:        {holdfast.RoleOperator, scopeTarget},
	opScheduleETL:   {holdfast.RoleOperator, scopeTarget},
	opStopETL:       {holdfast.RoleOperator, scopeTarget},
	opKillETL:       {holdfast.RoleOperator, scopeTarget},

	opCreateSchedule:  {holdfast.RoleAdmin, scopeTarget},
	opUpdateSchedule:  {holdfast.RoleAdmin, scopeTarget},
	opDeleteSchedule:  {holdfast.RoleAdmin, scopeTarget},
	opSchedule:        {holdfast.RoleReader, scopeTarget},
	opSchedules:       {holdfast.RoleReader, scopeTarget},
	opSiteSchedules:   {holdfast.RoleReader, scopeList},
	opPreviewSchedule: {holdfast.RoleReader, scopeTarget},
	opNextRuns:        {holdfast.RoleReader, scopeTarget},

	opCreateTrigger:    {holdfast.RoleAdmin, scopeTarget},
	opTriggers:         {holdfast.RoleReader, scopeTarget},
	opSetTriggerActive: {holdfast.RoleAdmin, scopeTarget},
	opDeleteTrigger:    {holdfast.RoleAdmin, scopeTarget},

	opExecute:    {holdfast.RoleOperator, scopeTarget},
	opExecuteAll: {holdfast.RoleOperator, scopeTarget},
	opMayRun:     {holdfast.RoleOperator, scopeTarget},
	opSubmission: {holdfast.RoleReader, scopeTarget},
	opRestore:    {holdfast.RoleOperator, scopeTarget},
	opExecutions: {holdfast.RoleReader, scopeList},
	opExecution:  {holdfast.RoleReader, scopeTarget},
	opSuspend:    {holdfast.RoleOperator, scopeTarget},
	opResume:     {holdfast.RoleOperator, scopeTarget},
	opStop:       {holdfast.RoleOperator, scopeTarget},
	opKill:       {holdfast.RoleOperator, scopeTarget},
	opLog:        {holdfast.RoleReader, scopeTarget},

	opSets: {holdfast.RoleReader, scopeList},
	opSet:  {holdfast.RoleReader, scopeTarget},

	opRetentionPlan:    {holdfast.RoleReader, scopeTarget},
	opProtect:          {holdfast.RoleAdmin, scopeTarget}, // it decides what is deleted
	opConfirmSet:       {holdfast.RoleAdmin, scopeTarget}, // and so does this
	opDeleteSet:        {holdfast.RoleAdmin, scopeTarget},
	opDeleteLastSet:    {holdfast.RoleAdmin, scopeTarget},
	opDeleteJobAndSets: {holdfast.RoleAdmin, scopeTarget},
	opDeleteJobAndLast: {holdfast.RoleAdmin, scopeTarget},

	opWorkers:        {holdfast.RoleReader, scopeAccount},
	opInviteWorker:   {holdfast.RoleAdmin, scopeAccount},
	opRemoveWorker:   {holdfast.RoleAdmin, scopeAccount},
	opSetMaintenance: {holdfast.RoleAdmin, scopeAccount},
	opEvents:         {holdfast.RoleReader, scopeAccount},
	opSiteEvents:     {holdfast.RoleReader, scopeTarget},
}

// target is what an operation is about.
type target struct {
	what  string            // "job 1017", as the error of an unknown id names it; empty: the account
	sites []holdfast.SiteID // it belongs to: a scope that holds one of them sees it
}

// account is the target of operations that are about no single thing.
func account() target { return target{} }

// allow is the one authorisation decision. CodeNotFound, in the words of an
// unknown id, for what the credential's scope does not hold; CodeForbidden for
// what it holds but the credential may not do.
func allow(actor holdfast.Actor, op Operation, t target) error {
	if err := known(actor); err != nil {
		return err
	}
	r, ok := rules[op]
	if !ok || r.scope == scopeOpen || (r.scope == scopeTarget && t.what == "") {
		return holdfast.Errorf(holdfast.CodeInternal, "operation %s of %q has no rule", op, t.what)
	}
	if t.what != "" && bound(actor) && !slices.ContainsFunc(t.sites, actor.Credential.Covers) {
		return notFound(t.what)
	}
	if !actor.Credential.Role.Includes(r.role) {
		return holdfast.Errorf(holdfast.CodeForbidden, "the role %q is not enough for this", actor.Credential.Role).
			WithHint("use a token with the role %q", r.role)
	}
	if r.scope == scopeAccount && bound(actor) {
		return holdfast.Errorf(holdfast.CodeForbidden, "this is about the whole account, and the token is bound to sites").
			WithHint("use a token that is not bound to sites")
	}
	if r.scope == scopeInstallation && !ofInstallation(actor) {
		return holdfast.Errorf(holdfast.CodeForbidden, "this is about all accounts").
			WithHint("run holdfast on the server's machine as its owner, without --account")
	}
	return nil
}

// atSocket reports whether the actor came through the server's own socket, and
// so may touch the server's machine.
func atSocket(actor holdfast.Actor) bool { return actor.Credential.ID == 0 }

// onServer refuses what touches the server's own machine to all accounts but the
// default one, unless the owner of the socket acts for them: files there may be
// another account's.
func onServer(actor holdfast.Actor, what, hint string) error {
	if atSocket(actor) || actor.Principal.Account == holdfast.FirstID {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "%s on the server's machine is for its owner to make", what).WithHint("%s", hint)
}

// ofInstallation reports whether the actor may see and make accounts.
func ofInstallation(actor holdfast.Actor) bool {
	return atSocket(actor) && actor.Principal.Account == holdfast.FirstID
}

// known refuses an actor that nobody has authenticated. Without it the zero
// actor's zero account would select the rows of every account.
func known(actor holdfast.Actor) error {
	if actor.Principal.Account == 0 || !slices.Contains(holdfast.Roles(), actor.Credential.Role) {
		return errUnauthenticated()
	}
	return nil
}

// bound reports whether the credential is for some sites only.
func bound(actor holdfast.Actor) bool { return len(actor.Credential.Sites) > 0 }

// inScope narrows the sites that a filter asks for to those that the credential
// covers. ok is false when none is left: the list is empty then, and the store
// must not be asked, because no site in its filter means every site.
func inScope(actor holdfast.Actor, asked []holdfast.SiteID) (sites []holdfast.SiteID, ok bool) {
	if !bound(actor) {
		return asked, true
	}
	if len(asked) == 0 {
		return actor.Credential.Sites, true
	}
	for _, id := range asked {
		if actor.Credential.Covers(id) {
			sites = append(sites, id)
		}
	}
	return sites, len(sites) > 0
}

// notFound is the only error for what does not exist and for what the caller may
// not see: the two must not be told apart.
func notFound(what string) error {
	return holdfast.Errorf(holdfast.CodeNotFound, "%s does not exist", what)
}

// found gives a store's CodeNotFound the words of notFound.
func found(err error, what string) error {
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return notFound(what)
	}
	return err
}
