package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Kind is the first word of a subject: what a message is about.
type Kind string

// The kinds. A subject of a worker's own message names the worker, and the
// server lets nobody else publish there: the subject proves who speaks.
const (
	KindBell    Kind = "bell"   // bell.<pool>: there may be work
	KindAsk     Kind = "ask"    // ask.<worker>.<pool>: give me an order
	KindBeat    Kind = "hb"     // hb.<worker>.<execution>: the order is being worked on
	KindLog     Kind = "log"    // log.<worker>.<execution>: lines of its log
	KindIntend  Kind = "intend" // intend.<worker>.<execution>: may I write the snapshot
	KindFinish  Kind = "finish" // finish.<worker>.<execution>: the order is done with
	KindCommand Kind = "cmd"    // cmd.<worker>: from the control plane to one worker
	KindJoin    Kind = "join"   // join: a new worker introduces itself
)

// JoinSubject is where a new worker introduces itself.
const JoinSubject = string(KindJoin)

// BellSubject is where a pool's bell rings.
func BellSubject(pool string) string { return string(KindBell) + "." + pool }

// AskSubject is where a worker asks for work of a pool.
func AskSubject(w holdfast.WorkerID, pool string) string {
	return string(KindAsk) + "." + id(w) + "." + pool
}

// CommandSubject is where a worker takes commands.
func CommandSubject(w holdfast.WorkerID) string { return string(KindCommand) + "." + id(w) }

// ExecutionSubject is where a worker speaks of one execution: kind is KindBeat,
// KindLog, KindIntend or KindFinish.
func ExecutionSubject(k Kind, w holdfast.WorkerID, e holdfast.ExecutionID) string {
	return string(k) + "." + id(w) + "." + id(e)
}

// WorkerSubjects matches every subject of the kind below one worker.
func WorkerSubjects(k Kind, w holdfast.WorkerID) string { return string(k) + "." + id(w) + ".>" }

// AllSubjects matches every subject of the kind of every worker.
func AllSubjects(k Kind) string { return string(k) + ".*.*" }

// InboxPrefix is the prefix of the subjects to which a worker lets others reply.
// Each worker has its own: with a shared one it could read another's orders.
func InboxPrefix(w holdfast.WorkerID) string { return "_INBOX_" + id(w) }

// JoinInboxPrefix is the inbox prefix of a connection that joins with the
// secret. It tells nothing of the secret, which has 256 random bits.
func JoinInboxPrefix(secret holdfast.Secret) string {
	sum := sha256.Sum256([]byte("holdfast join inbox\x00" + secret.Reveal()))
	return "_INBOX_J" + hex.EncodeToString(sum[:12])
}

// ParseAsk reads the subject of an ask.
func ParseAsk(subject string) (w holdfast.WorkerID, pool string, err error) {
	worker, pool, err := split(KindAsk, subject)
	if err != nil {
		return 0, "", err
	}
	if err := ValidPool(pool); err != nil {
		return 0, "", err
	}
	n, err := number(subject, worker)
	return holdfast.WorkerID(n), pool, err
}

// ParseExecution reads the subject of a message about one execution.
func ParseExecution(k Kind, subject string) (holdfast.WorkerID, holdfast.ExecutionID, error) {
	worker, execution, err := split(k, subject)
	if err != nil {
		return 0, 0, err
	}
	w, err := number(subject, worker)
	if err != nil {
		return 0, 0, err
	}
	e, err := number(subject, execution)
	return holdfast.WorkerID(w), holdfast.ExecutionID(e), err
}

// ValidPool checks the name of a pool, which is one token of a subject.
func ValidPool(pool string) error {
	if err := holdfast.ValidName("pool", pool); err != nil {
		return err
	}
	if strings.Contains(pool, ".") {
		return holdfast.Errorf(holdfast.CodeInvalid, "pool %q holds a dot", pool).WithHint("name the pool without dots")
	}
	return nil
}

func split(k Kind, subject string) (worker, rest string, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 3 || parts[0] != string(k) {
		return "", "", holdfast.Errorf(holdfast.CodeInvalid, "%q is not a subject of kind %s", subject, k)
	}
	return parts[1], parts[2], nil
}

func number(subject, token string) (int64, error) {
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil || n < 1 || n > holdfast.MaxID || strconv.FormatInt(n, 10) != token {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "subject %q holds no valid id", subject)
	}
	return n, nil
}

func id[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }
