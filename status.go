package holdfast

import "fmt"

// Status is the part of an execution that decides what may happen to it. Every
// change is a compare-and-set on (State, Wanted, Fence).
type Status struct {
	State     State
	Wanted    Wanted
	Outcome   Outcome
	Reason    Reason
	Fence     Fence
	Attempts  int // starts lost to silence
	Retries   int // transient failures
	HandBacks int // by draining workers
}

// Move is something that happens to an execution.
type Move string

// The moves.
const (
	MoveDue      Move = "due"       // its time has come
	MoveSkip     Move = "skip"      // the scheduler leaves it out
	MoveSuspend  Move = "suspend"   // somebody wants it to rest
	MoveStop     Move = "stop"      // somebody wants it to end
	MoveAbort    Move = "abort"     // its time limit has passed
	MoveKill     Move = "kill"      // somebody wants it to end at once
	MoveResume   Move = "resume"    // somebody wants it to go on
	MoveStart    Move = "start"     // a worker asked, and gets the order
	MoveSucceed  Move = "succeed"   // the worker finished
	MoveWarn     Move = "warn"      // the worker finished; something was left out
	MoveFail     Move = "fail"      // the worker failed
	MoveRest     Move = "rest"      // the worker has come to rest and holds nothing
	MoveHandBack Move = "hand_back" // a draining worker gives it back
	MoveRetry    Move = "retry"     // the worker failed in a way that may pass
	MoveSilence  Move = "silence"   // no beat for SilenceLimit
	MoveDecide   Move = "decide"    // a kill or abort was not confirmed for KillLimit
)

// Moves lists every move.
func Moves() []Move {
	return []Move{
		MoveDue, MoveSkip, MoveSuspend, MoveStop, MoveAbort, MoveKill, MoveResume, MoveStart, MoveSucceed,
		MoveWarn, MoveFail, MoveRest, MoveHandBack, MoveRetry, MoveSilence, MoveDecide,
	}
}

// Next returns the status after the move. This is the one table of how an
// execution lives; a move that it lacks is CodeConflict, and so is one that
// would change nothing: the caller has read an older status.
func (s Status) Next(m Move) (Status, error) {
	n, ok := s, false
	switch s.State {
	case StatePlanned:
		n, ok = s.nextPlanned(m)
	case StateQueued:
		n, ok = s.nextQueued(m)
	case StateRunning:
		n, ok = s.nextRunning(m)
	case StateSuspended:
		n, ok = s.nextSuspended(m)
	case StateEnded:
	}
	if !ok {
		return s, s.refuse(m)
	}
	return n, nil
}

func (s Status) refuse(m Move) error {
	if s.State == StateEnded {
		return Errorf(CodeConflict, "the execution has already ended (%s)", s.Outcome)
	}
	return Errorf(CodeConflict, "an execution that is %s (wanted: %s) does not take the move %q", s.State, s.Wanted, m)
}

func (s Status) nextPlanned(m Move) (Status, bool) {
	switch m {
	case MoveDue:
		s.State = StateQueued
	case MoveSkip:
		s = s.ended(OutcomeCancelled, ReasonSkipped)
	case MoveStop, MoveAbort, MoveKill:
		s.Wanted = wishOf(m)
		s = s.ended(OutcomeCancelled, ReasonWish)
	default:
		return s, false
	}
	return s, true
}

func (s Status) nextQueued(m Move) (Status, bool) {
	switch m {
	case MoveStart:
		s.State, s.Reason = StateRunning, ReasonNone
		s.Fence++
	case MoveSuspend:
		s.State, s.Wanted = StateSuspended, WantSuspend
	case MoveStop, MoveAbort, MoveKill:
		s.Wanted = wishOf(m)
		if s.Fence == 0 {
			s = s.ended(OutcomeCancelled, ReasonWish)
		} else {
			s = s.endedByWish()
		}
	default:
		return s, false
	}
	return s, true
}

func (s Status) nextSuspended(m Move) (Status, bool) {
	switch m {
	case MoveResume:
		s.State, s.Wanted, s.Reason = StateQueued, WantRun, ReasonNone
	case MoveStop, MoveAbort, MoveKill:
		s.Wanted = wishOf(m)
		s = s.endedByWish()
	default:
		return s, false
	}
	return s, true
}

func (s Status) nextRunning(m Move) (Status, bool) {
	switch m {
	case MoveSuspend, MoveStop, MoveAbort, MoveKill:
		if wishOf(m) <= s.Wanted {
			return s, false // a wish only rises
		}
		s.Wanted = wishOf(m)
	case MoveResume:
		if s.Wanted != WantSuspend {
			return s, false
		}
		s.Wanted = WantRun
	case MoveSucceed, MoveWarn, MoveFail:
		if s.Wanted > WantStop {
			return s, false
		}
		s = s.ended(outcomeOf(m))
	case MoveRest:
		s = s.rested(ReasonNone)
	case MoveHandBack:
		if s.Wanted == WantRun {
			s.HandBacks++
		}
		if s.Wanted == WantRun && s.HandBacks >= DefaultHandBacks {
			s = s.ended(OutcomeFailed, ReasonHandedBack)
		} else {
			s = s.rested(ReasonHandedBack)
		}
	case MoveRetry:
		if s.Wanted == WantRun {
			s.Retries++
		}
		if s.Wanted == WantRun && s.Retries >= DefaultRetries {
			s = s.ended(OutcomeFailed, ReasonError)
		} else {
			s = s.rested(ReasonTransient)
		}
	case MoveSilence:
		if s.Wanted == WantRun {
			s.Attempts++
		}
		if s.Wanted == WantRun && s.Attempts >= DefaultAttempts {
			s = s.ended(OutcomeFailed, ReasonLost)
		} else {
			s = s.rested(ReasonLost)
		}
	case MoveDecide:
		if s.Wanted < WantAbort {
			return s, false
		}
		s.Fence++
		s = s.endedByWish()
	default:
		return s, false
	}
	return s, true
}

// rested is where a running execution goes when its worker holds it no longer:
// the wish decides. why is the reason when it is queued again.
func (s Status) rested(why Reason) Status {
	switch s.Wanted {
	case WantRun:
		s.State, s.Reason = StateQueued, why
		return s
	case WantSuspend:
		s.State = StateSuspended
		return s
	case WantStop, WantAbort, WantKill:
	}
	return s.endedByWish()
}

func (s Status) endedByWish() Status {
	switch s.Wanted {
	case WantAbort:
		return s.ended(OutcomeAborted, ReasonTimeLimit)
	case WantKill:
		return s.ended(OutcomeKilled, ReasonWish)
	case WantRun, WantSuspend, WantStop:
	}
	return s.ended(OutcomeStopped, ReasonWish)
}

func (s Status) ended(o Outcome, r Reason) Status {
	s.State, s.Outcome, s.Reason = StateEnded, o, r
	return s
}

func wishOf(m Move) Wanted {
	switch m {
	case MoveSuspend:
		return WantSuspend
	case MoveStop:
		return WantStop
	case MoveAbort:
		return WantAbort
	case MoveKill:
		return WantKill
	default:
		return WantRun
	}
}

func outcomeOf(m Move) (Outcome, Reason) {
	switch m {
	case MoveSucceed:
		return OutcomeSucceeded, ReasonNone
	case MoveWarn:
		return OutcomeWarning, ReasonDamaged
	default:
		return OutcomeFailed, ReasonError
	}
}

// Busy reports whether an execution with this status keeps others of its job
// from running. A planned one never does.
func (s Status) Busy() bool {
	switch s.State {
	case StateQueued, StateRunning, StateSuspended:
		return true
	case StatePlanned, StateEnded:
	}
	return false
}

// Check reports a status that no sequence of moves can reach.
func (s Status) Check() error {
	bad := false
	switch s.State {
	case StatePlanned:
		bad = s.Wanted != WantRun || s.Fence != 0
	case StateQueued:
		bad = s.Wanted != WantRun
	case StateRunning:
		bad = s.Fence == 0
	case StateSuspended:
		bad = s.Wanted != WantSuspend
	case StateEnded:
		return s.checkEnded()
	default:
		bad = true
	}
	if bad || s.Outcome != OutcomeNone {
		return fmt.Errorf("state %s with wish %s, fence %d, outcome %q", s.State, s.Wanted, s.Fence, s.Outcome)
	}
	return nil
}

func (s Status) checkEnded() error {
	good := false
	switch s.Outcome {
	case OutcomeSucceeded, OutcomeWarning, OutcomeFailed:
		good = s.Fence != 0 && s.Wanted <= WantStop
	case OutcomeStopped:
		good = s.Wanted == WantStop
	case OutcomeAborted:
		good = s.Wanted == WantAbort
	case OutcomeKilled:
		good = s.Wanted == WantKill
	case OutcomeCancelled:
		good = s.Fence == 0 && s.Wanted != WantSuspend
	case OutcomeNone:
	}
	if !good {
		return fmt.Errorf("ended with outcome %q, wish %s, fence %d", s.Outcome, s.Wanted, s.Fence)
	}
	return nil
}
