package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// ETLAnswer is what became of a request to run, schedule, stop or kill an ETL.
type ETLAnswer struct {
	// Execution that the request is about: the new one, the one that it joined or
	// ended, or when nothing was to be ended the newest that has ended. 0: none.
	Execution holdfast.ExecutionID
	Service   bool   // the ETL is a service
	Refused   string // why the state of the ETL does not allow it; empty: it was taken
	Effect    string // EffectNone, or empty
}

// EffectNone says that what was asked for was so already.
const EffectNone = "none"

// Answers of refused requests.
const (
	refusedQueueFull = "queue full"
	refusedNoActive  = "no active run configuration"
	refusedInactive  = "the ETL is not active"
	refusedOn        = "the service is on already, and a later start has nothing to begin"
	refusedSimulate  = "the service is on; stop it before it begins or ends to simulate"
)

// RefusalHint says what a person can do about a refused request.
func RefusalHint(refused string) string {
	switch refused {
	case refusedQueueFull:
		return "as many executions as an ETL may have wait for their turn: ask again when one has begun, or kill what waits"
	case refusedNoActive:
		return "activate one: holdfast etl configuration activate ETL NAME"
	case refusedOn:
		return "stop it first: holdfast etl stop ETL; then schedule its start"
	case refusedInactive:
		return "activate the ETL: holdfast etl update ETL --active; or run it by hand"
	}
	return ""
}

// RunETL asks for an execution of an ETL, or for a service to be switched on.
type RunETL struct {
	Job        holdfast.JobID
	Properties map[string]string
	Removed    []string // names that this execution does not have
	Simulate   bool
	// IdempotencyKey makes the same request of the same user give the same answer for
	// 24 hours; empty: none.
	IdempotencyKey string
}

// given reports whether the request says what its execution is like.
func (in RunETL) given() bool { return len(in.Properties)+len(in.Removed) > 0 || in.Simulate }

// ScheduleETL asks for the next planned execution of an ETL.
type ScheduleETL struct {
	RunETL

	At     time.Time     // when it is due; up to a minute ago means now; zero: by the stored timing
	Period time.Duration // new stored timing; zero: the one that is stored
}

// RunETL runs an ETL.
//
// A batch has a new execution, which waits for its turn behind others of the same
// ETL; what is planned stays. One that waits with the same properties is joined, and
// when [holdfast.MaxFollowUps] wait the request is refused. A service is switched
// on; when it is on, properties that are given apply from its next round, but those
// that do not fit its definition are refused, whether it simulates stays, and one that
// is coming to rest is switched on again afterwards.
//
// CodeInvalid for properties that no execution can have, CodeForbidden for one that
// is a secret by its name from who may not write run configurations, CodeConflict
// for a key that another request was made with.
func (s *Service) RunETL(ctx context.Context, actor holdfast.Actor, in RunETL) (ETLAnswer, error) {
	return s.askETL(ctx, actor, opRunETL, in.Job, in.IdempotencyKey, in, func(ctx context.Context, tx store.Tx, t *turn) (ETLAnswer, error) {
		run, err := t.asked(actor, in)
		if err != nil {
			return ETLAnswer{}, err
		}
		run.Asked = actor.Dialect + " run"
		if t.job.ETL.Service {
			return t.runService(ctx, tx, actor, in, run)
		}
		return t.runBatch(ctx, tx, actor, run)
	})
}

// ScheduleETL plans the next execution of a batch ETL, by its stored timing, which
// it arms, or at a time. What is planned already stays as it is, but for properties
// and a time that are given. Without any timing it means an execution now, as by
// [Service.RunETL]. A service is switched on, at its stored start or the given time
// when that is still to come; one that is on refuses a time that is to come.
//
// CodeInvalid for a time that is over or more than ten years ahead, and for a
// period that is not whole seconds.
func (s *Service) ScheduleETL(ctx context.Context, actor holdfast.Actor, in ScheduleETL) (ETLAnswer, error) {
	return s.askETL(ctx, actor, opScheduleETL, in.Job, in.IdempotencyKey, in, func(ctx context.Context, tx store.Tx, t *turn) (ETLAnswer, error) {
		in, err := in.clean(t.now)
		if err != nil {
			return ETLAnswer{}, err
		}
		run, err := t.asked(actor, in.RunETL)
		if err != nil {
			return ETLAnswer{}, err
		}
		run.Asked = actor.Dialect + " schedule"
		if !t.job.Active {
			return ETLAnswer{Refused: refusedInactive}, nil
		}
		if t.job.ETL.Service {
			return t.scheduleService(ctx, tx, actor, in, run)
		}
		return t.scheduleBatch(ctx, tx, actor, in, run)
	})
}

// clean checks the timing of a request.
func (in ScheduleETL) clean(now time.Time) (ScheduleETL, error) {
	if in.Simulate { // what is planned finds out when it is due
		in.Properties = maps.Clone(in.Properties)
		if in.Properties == nil {
			in.Properties = map[string]string{}
		}
		in.Properties[holdfast.PropertySimulation] = "true"
	}
	if !in.At.IsZero() {
		var err error
		if in.At, err = dueAt(in.At, now); err != nil {
			return in, err
		}
	}
	if in.Period != 0 {
		return in, holdfast.Recurrence{Start: now, Period: in.Period}.Validate()
	}
	return in, nil
}

// askETL does a request about an ETL in one transaction, and tells dispatch what it
// has changed. One that loses a race begins anew.
func (s *Service) askETL(
	ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.JobID, key string, request any,
	do func(context.Context, store.Tx, *turn) (ETLAnswer, error),
) (ETLAnswer, error) {
	parsed := map[string]*definition.Definition{}
	for try := 1; ; try++ {
		var answer ETLAnswer
		t := &turn{now: s.now()}
		err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
			*t = turn{now: t.now, by: actor.String(), parsed: parsed}
			var err error
			if t.job, err = findETL(ctx, tx, actor, op, id); err != nil {
				return err
			}
			if err := checkKey(key); err != nil {
				return err
			}
			t.job.ETL = cloneETL(t.job.ETL)
			sub, digest, err := s.askedBefore(ctx, tx, actor, op, key, request, t.now)
			if err != nil || sub != nil {
				if sub != nil {
					answer = *sub
				}
				return err
			}
			if err := t.read(ctx, tx); err != nil {
				return err
			}
			answer, err = do(ctx, tx, t)
			answer.Service = t.job.ETL.Service
			if err != nil || key == "" || answer.Refused != "" {
				return err
			}
			return s.keep(ctx, tx, t, actor, key, digest, answer)
		})
		if err == nil {
			s.tellOf(ctx, t)
			return answer, nil
		}
		if errors.Is(err, errNotParsed) && try < wishTries {
			if parsed[t.unread], err = definition.Parse([]byte(t.unread)); err != nil {
				return ETLAnswer{}, err
			}
			continue
		}
		if !t.raced || holdfast.ErrorCode(err) != holdfast.CodeConflict || try == wishTries {
			return ETLAnswer{}, err
		}
	}
}

// keyLife is how long a key gives the first answer.
const keyLife = 24 * time.Hour

// keptAnswer is what is kept of a request with an idempotency key.
type keptAnswer struct {
	Asked  []byte    `json:"asked"` // sealed SHA-256 of operation and request: the bare one would tell whether a guess of a secret is right
	Answer ETLAnswer `json:"answer"`
}

// ownKey is a key as it is kept: two who use the same one do not get each other's
// answers.
func ownKey(actor holdfast.Actor, key string) string {
	return fmt.Sprintf("etl %d %s", actor.Principal.ID, key)
}

// askedBefore returns the answer that a request with the key got before; nil: none
// came within [keyLife]. The digest tells requests apart.
func (s *Service) askedBefore(ctx context.Context, tx store.Tx, actor holdfast.Actor, op Operation, key string, request any, now time.Time) (*ETLAnswer, string, error) {
	if key == "" {
		return nil, "", nil
	}
	b, err := json.Marshal(request)
	if err != nil {
		return nil, "", fmt.Errorf("encode a request to %s: %w", op, err)
	}
	sum := sha256.Sum256(append([]byte(op+" "), b...))
	digest := hex.EncodeToString(sum[:])
	sub, err := tx.SubmissionByKey(ctx, actor.Principal.Account, ownKey(actor, key))
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return nil, digest, nil
	case err != nil:
		return nil, "", err
	case now.Sub(sub.Time) >= keyLife:
		return nil, digest, tx.ForgetKey(ctx, sub.Account, sub.ID)
	}
	var kept keptAnswer
	if json.Unmarshal(sub.Request, &kept) != nil {
		return nil, "", errKeyUsed()
	}
	if asked, err := s.cfg.Sealer.Open(kept.Asked); err != nil || asked.Reveal() != digest {
		return nil, "", errKeyUsed()
	}
	return &kept.Answer, digest, nil
}

// keep remembers an answer under its key.
func (s *Service) keep(ctx context.Context, tx store.Tx, t *turn, actor holdfast.Actor, key, digest string, answer ETLAnswer) error {
	asked, err := s.cfg.Sealer.Seal(holdfast.NewSecret(digest))
	if err != nil {
		return fmt.Errorf("seal what was asked: %w", err)
	}
	b, err := json.Marshal(keptAnswer{asked, answer})
	if err != nil {
		return fmt.Errorf("encode an answer: %w", err)
	}
	return t.lost(tx.InsertSubmission(ctx, &holdfast.Submission{
		Account: actor.Principal.Account, Principal: actor.Principal.ID, Dialect: actor.Dialect, IdempotencyKey: ownKey(actor, key), Request: b, Time: t.now,
	}))
}

// asked is what the request says of its execution. Secrets are for those alone who
// may write the ETL; the mask, which anybody is shown, leaves the stored one.
func (t *turn) asked(actor holdfast.Actor, in RunETL) (holdfast.ETLRun, error) {
	given, err := t.unmasked(in.Properties)
	if err != nil {
		return holdfast.ETLRun{}, err
	}
	run := t.job.ETL.RunOf(given, in.Removed, in.Simulate)
	if err := run.Validate(); err != nil || MayWriteETL(actor, t.job) == nil {
		return run, err
	}
	for _, name := range slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(run.Properties)), run.Removed...))) {
		if holdfast.SecretProperty(name) {
			return run, holdfast.Errorf(holdfast.CodeForbidden, "the property %q holds a secret, which only who may write the ETL gives", name).
				WithHint("use a token with the role %q for all of the ETL's sites, or leave the property out", rules[opUpdateETL].role)
		}
	}
	return run, nil
}

// unmasked leaves out the masks of secrets that are stored. Without an active run
// configuration it leaves out all: the request is refused for that.
func (t *turn) unmasked(properties map[string]string) (map[string]string, error) {
	stored := t.job.ETL.Active()
	out := maps.Clone(properties)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if properties[name] != holdfast.MaskedProperty || !holdfast.SecretProperty(name) {
			continue
		}
		if stored != nil {
			if _, ok := stored.Properties[name]; !ok {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "the property %q is masked, and no secret is stored under this name", name).
					WithHint("give the secret itself, or leave the property out")
			}
		}
		delete(out, name)
	}
	return out, nil
}

// runBatch makes an execution that is due now, or joins the same one.
func (t *turn) runBatch(ctx context.Context, tx store.Tx, actor holdfast.Actor, run holdfast.ETLRun) (ETLAnswer, error) {
	if t.job.ETL.Active() == nil {
		return ETLAnswer{Refused: refusedNoActive}, nil
	}
	for _, e := range t.queued {
		if e.State == holdfast.StateQueued && e.Fence == 0 && e.ETL.Same(run) {
			return ETLAnswer{Execution: e.ID}, nil
		}
	}
	if len(t.queued) >= holdfast.MaxFollowUps {
		return ETLAnswer{Refused: refusedQueueFull}, nil
	}
	return t.start(ctx, tx, actor, run)
}

// start makes an execution that is due now.
func (t *turn) start(ctx context.Context, tx store.Tx, actor holdfast.Actor, run holdfast.ETLRun) (ETLAnswer, error) {
	e, err := t.execution(ctx, tx, run, t.now, actor.Principal.Name)
	if err != nil {
		return ETLAnswer{}, err
	}
	if e, err = t.insert(ctx, tx, e); err != nil {
		return ETLAnswer{}, err
	}
	if err := t.setAborted(ctx, tx, false); err != nil {
		return ETLAnswer{}, err
	}
	return ETLAnswer{Execution: e.ID}, t.record(ctx, tx, actor, "etl.run", runFacts(e, run))
}

// setAborted sets or takes away the mark of a service that was killed while it had
// no execution.
func (t *turn) setAborted(ctx context.Context, tx store.Tx, aborted bool) error {
	if t.job.ETL.Aborted == aborted {
		return nil
	}
	t.job.ETL.Aborted = aborted
	return tx.UpdateJob(ctx, t.job)
}

// runService switches a service on, gives one that is on its new properties, or
// lets one that comes to rest be switched on afterwards.
func (t *turn) runService(ctx context.Context, tx store.Tx, actor holdfast.Actor, in RunETL, run holdfast.ETLRun) (ETLAnswer, error) {
	if t.job.ETL.Active() == nil {
		return ETLAnswer{Refused: refusedNoActive}, nil
	}
	on := t.on()
	if on == nil {
		return t.start(ctx, tx, actor, run)
	}
	if !in.given() || on.ETL.Same(run) {
		return ETLAnswer{Execution: on.ID, Effect: EffectNone}, nil
	}
	if on.Fence > 0 && run.Simulate != on.ETL.Simulate {
		return ETLAnswer{Execution: on.ID, Refused: refusedSimulate}, nil // its rounds go on as they began
	}
	if why, err := t.unfit(ctx, tx, *on, run); why != "" || err != nil {
		return ETLAnswer{Execution: on.ID, Refused: why}, err
	}
	if _, err := t.give(ctx, tx, *on, run); err != nil {
		return ETLAnswer{}, err
	}
	return ETLAnswer{Execution: on.ID}, t.record(ctx, tx, actor, "etl.run", runFacts(*on, run))
}

// unfit says why a service that is on cannot have the properties; empty: it can. It
// would go on with those that it has, and end with its worker: they do not fit its
// next start. errNotParsed when its definition is to be read before.
func (t *turn) unfit(ctx context.Context, r store.Reader, on holdfast.Execution, run holdfast.ETLRun) (string, error) {
	spec := *t.job.ETL
	start, err := r.ETLStart(ctx, on.ID)
	switch {
	case err == nil:
		spec = start.Spec
	case holdfast.ErrorCode(err) != holdfast.CodeNotFound: // it waits for its first start
		return "", err
	}
	properties, err := spec.PropertiesOf(run)
	if err != nil {
		return "", err
	}
	d, ok := t.parsed[spec.Definition]
	if !ok {
		t.unread = spec.Definition
		return "", errNotParsed
	}
	if _, _, err := d.Bind(definition.Source{properties}, t.now); err != nil {
		return "the properties do not fit the service: " + holdfast.ErrorMessage(err), nil
	}
	return "", nil
}

// on returns the execution that keeps a service switched on, or that will when the
// current one has ended; nil: none.
func (t *turn) on() *holdfast.Execution {
	if t.current != nil && !t.stopping() {
		return t.current
	}
	if len(t.queued) > 0 {
		return &t.queued[0]
	}
	return nil
}

// scheduleService switches a service on, now or at a time that is to come.
func (t *turn) scheduleService(ctx context.Context, tx store.Tx, actor holdfast.Actor, in ScheduleETL, run holdfast.ETLRun) (ETLAnswer, error) {
	if in.Period != 0 {
		return ETLAnswer{}, holdfast.Errorf(holdfast.CodeInvalid, "a service has no period").WithHint("leave it out: a service works until it is stopped")
	}
	at := in.At
	if r := t.job.ETL.Recurrence; at.IsZero() && r != nil {
		at = r.Start
	}
	on := t.on()
	switch {
	case on != nil && (t.current == nil || !t.stopping()) && in.At.After(t.now):
		return ETLAnswer{Execution: on.ID, Refused: refusedOn}, nil
	case on != nil && (t.current == nil || !t.stopping()):
		return ETLAnswer{Execution: on.ID, Effect: EffectNone}, nil
	case !at.After(t.now):
		return t.runService(ctx, tx, actor, in.RunETL, run)
	case t.job.ETL.Active() == nil:
		return ETLAnswer{Refused: refusedNoActive}, nil
	}
	return t.schedule(ctx, tx, actor, in, run, at)
}

// scheduleBatch plans the next execution of a batch.
func (t *turn) scheduleBatch(ctx context.Context, tx store.Tx, actor holdfast.Actor, in ScheduleETL, run holdfast.ETLRun) (ETLAnswer, error) {
	if t.job.ETL.Active() == nil {
		return ETLAnswer{Refused: refusedNoActive}, nil
	}
	r := t.job.ETL.Recurrence
	switch now := !in.At.After(t.now); {
	case r == nil && in.Period == 0 && now && len(t.planned) == 0:
		return t.runBatch(ctx, tx, actor, run)
	case now && !in.At.IsZero() && len(t.queued) >= holdfast.MaxFollowUps:
		return ETLAnswer{Refused: refusedQueueFull}, nil
	case r == nil && in.Period == 0:
		at := in.At
		if at.IsZero() {
			at = t.planned[0].Due
		}
		return t.schedule(ctx, tx, actor, in, run, at)
	}
	armed := holdfast.Recurrence{Armed: true}
	if r != nil {
		armed.Start, armed.Period = r.Start, r.Period
	}
	if in.Period != 0 && in.Period != armed.Period {
		armed.Period = in.Period
		armed.Start = orTime(in.At, orTime(armed.Start, t.now)).Truncate(time.Second) // as it is shown, and written back
	}
	due := armed.Next(t.now)
	if len(t.planned) > 0 && r != nil && armed.Period == r.Period {
		due = t.planned[0].Due // as it is, which may be another time than the stored one
	}
	if r == nil || *r != armed {
		t.job.ETL.Recurrence = &armed
		if err := tx.UpdateJob(ctx, t.job); err != nil {
			return ETLAnswer{}, err
		}
	}
	return t.schedule(ctx, tx, actor, in, run, orTime(in.At, due))
}

func orTime(at, other time.Time) time.Time {
	if at.IsZero() {
		return other
	}
	return at
}

// schedule makes the planned execution, or gives the one that there is its time and
// the properties that are given. One that is due now waits for its turn at once.
func (t *turn) schedule(ctx context.Context, tx store.Tx, actor holdfast.Actor, in ScheduleETL, run holdfast.ETLRun, due time.Time) (ETLAnswer, error) {
	var e holdfast.Execution
	var err error
	if len(t.planned) == 0 {
		run.Timed = !in.At.IsZero()
		e, err = t.plan(ctx, tx, run, due, actor.Principal.Name)
	} else {
		prev := t.planned[0]
		if !in.given() {
			run = *prev.ETL
		}
		run.Timed = prev.ETL.Timed || !in.At.IsZero()
		if e, err = t.give(ctx, tx, prev, run); err == nil {
			e, err = t.moveDue(ctx, tx, e, due)
		}
	}
	if err == nil && !due.After(t.now) {
		e, err = t.queue(ctx, tx, e, actor.Principal.Name)
	}
	if err == nil {
		err = t.scheduleAgain(ctx, tx)
	}
	if err == nil {
		err = t.setAborted(ctx, tx, false)
	}
	if err != nil {
		return ETLAnswer{}, err
	}
	answer := ETLAnswer{Execution: e.ID}
	if len(t.changes) == 0 {
		return answer, nil // it was planned so already
	}
	data := runFacts(e, run)
	data["due"] = due
	if r := t.job.ETL.Recurrence; r != nil && r.Armed {
		data["start"], data["period"] = r.Start, r.Period.String()
	}
	return answer, t.record(ctx, tx, actor, "etl.scheduled", data)
}

// queue lets a planned execution that is due now wait for its turn, and plans the
// next one, as dispatch does: a stop that follows at once finds it.
func (t *turn) queue(ctx context.Context, tx store.Tx, prev holdfast.Execution, by string) (holdfast.Execution, error) {
	run := *prev.ETL
	run.Simulate = t.job.ETL.RunOf(run.Properties, run.Removed, false).Simulate
	e, err := t.give(ctx, tx, prev, run)
	if err != nil {
		return e, err
	}
	prev = e
	if e.Status, err = prev.Next(holdfast.MoveDue); err != nil {
		return e, err
	}
	if err := tx.MoveExecution(ctx, prev, e); err != nil {
		return e, t.lost(err)
	}
	t.changes = append(t.changes, change{prev, e})
	if r := t.job.ETL.Recurrence; r != nil && r.Armed && !t.job.ETL.Service && len(t.planned) < 2 {
		_, err = t.plan(ctx, tx, t.job.ETL.RunOf(nil, nil, false), r.Next(t.now), by)
	}
	return e, err
}

// scheduleAgain remembers that somebody has scheduled an ETL that was killed or lost
// before: who sees that it was sees, too, that it goes on.
func (t *turn) scheduleAgain(ctx context.Context, tx store.Tx) error {
	h, err := tx.ETLHistory(ctx, t.job.ID)
	if err != nil || h.Finished == nil || h.Finished.Ended.Before(t.job.ETL.Scheduled) {
		return err
	}
	switch h.Finished.Outcome {
	case holdfast.OutcomeAborted, holdfast.OutcomeKilled, holdfast.OutcomeFailed:
		t.job.ETL.Scheduled = t.now
		if !t.now.After(h.Finished.Ended) { // both of one instant, or of two clocks
			t.job.ETL.Scheduled = h.Finished.Ended.Add(1)
		}
		return tx.UpdateJob(ctx, t.job)
	case holdfast.OutcomeNone, holdfast.OutcomeSucceeded, holdfast.OutcomeWarning, holdfast.OutcomeStopped, holdfast.OutcomeCancelled:
	}
	return nil
}

// record writes the event of a request.
func (t *turn) record(ctx context.Context, tx store.Tx, actor holdfast.Actor, kind string, data facts) error {
	data["site"] = t.job.Site
	return record(ctx, tx, actor, t.now, jobWord(t.job.ID), kind, data)
}

// runFacts says what an execution was asked for with. Of a property whose name tells
// of a secret the value is left out.
func runFacts(e holdfast.Execution, run holdfast.ETLRun) facts {
	data := facts{"execution": e.ID}
	if len(run.Properties) > 0 {
		data["properties"] = maskProperties(run.Properties)
	}
	if len(run.Removed) > 0 {
		data["removed"] = run.Removed
	}
	if run.Simulate {
		data["simulate"] = true
	}
	return data
}

// maskProperties copies properties without the values of those that are secret by
// their names.
func maskProperties(properties map[string]string) map[string]string {
	out := make(map[string]string, len(properties))
	for name, value := range properties {
		if holdfast.SecretProperty(name) {
			value = holdfast.MaskedProperty
		}
		out[name] = value
	}
	return out
}
