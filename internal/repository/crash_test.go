package repository

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	objfs "github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// The crash model. A history is what one repository, and a second one that it is
// copied to, go through: a first process does random things, and is killed at a random
// step to the disk, or meets a call that fails; a second one finds what is left, goes
// on, and loses the machine's power at a random step; a third one finds what is left of
// that. Beside it stands a ledger of what was acknowledged.

// crashEnv makes the test binary the first process of some histories.
const crashEnv = "HOLDFAST_TEST_CRASH"

// How many histories are run, and, to run one again, the number that it was drawn from.
const (
	historiesEnv   = "HOLDFAST_TEST_HISTORIES"
	historySeedEnv = "HOLDFAST_TEST_HISTORY"
)

const (
	crashHistories = 500 // in continuous integration
	racedHistories = 60  // with the race detector, with which they take four times as long
	killedTogether = 12  // histories whose first processes are one: a process is slow to start
	crashResticN   = 50  // one in so many is checked by the stock restic, too
)

func TestMain(m *testing.M) {
	if text := os.Getenv(crashEnv); text != "" {
		if err := crashChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// event is something that a process says about itself.
type event struct {
	What     string // one of those below
	Snapshot string
	From     string        // the snapshot that was copied
	Content  uint64        // what the set holds
	Clock    time.Duration // how far the clock was turned
}

const (
	saysBegins    = "begins a backup"
	saysIntends   = "intends a snapshot"
	saysCommitted = "has committed a snapshot"
	saysForgets   = "forgets a snapshot"
	saysForgot    = "has forgotten a snapshot"
	saysCopied    = "has copied a snapshot"
	saysClock     = "the clock was turned"
)

// standing is what must be with a snapshot.
type standing int

const (
	maybeThere standing = iota
	isThere
	isGone
)

// ledger is what is known from what processes have said.
type ledger struct {
	content map[string]uint64 // of every snapshot that was ever intended
	state   map[string]standing
	copied  map[string]bool // snapshots of the second repository that must be there
	last    uint64          // what the last backup was of
	clock   time.Duration
}

func newLedger() *ledger {
	return &ledger{content: map[string]uint64{}, state: map[string]standing{}, copied: map[string]bool{}}
}

func (l *ledger) enter(e event) {
	switch e.What {
	case saysBegins:
		l.last = e.Content
	case saysIntends:
		l.content[e.Snapshot], l.state[e.Snapshot] = e.Content, maybeThere
	case saysCommitted:
		l.state[e.Snapshot] = isThere
	case saysForgets:
		l.state[e.Snapshot] = maybeThere
	case saysForgot:
		l.state[e.Snapshot] = isGone
	case saysCopied:
		l.copied[e.Snapshot] = true
	case saysClock:
		l.clock = e.Clock
	}
}

// in returns the snapshots that stand so, in their order.
func (l *ledger) in(s standing) []string {
	var out []string
	for id, is := range l.state {
		if is == s {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// crashSet is the content of a set: parts of it are in others.
func crashSet(seed uint64) set {
	random := rand.New(rand.NewPCG(seed, 0))
	s := set{"pgdata": directory(), "pgdata/own": file(noise(300, seed))}
	for range 1 + random.IntN(4) {
		n := 1 + random.Uint64N(8)
		s[fmt.Sprintf("pgdata/%d", n)] = file(noise(int(500+300*n), n))
	}
	if random.IntN(20) == 0 { // of its two blocks one is in other sets
		s["pgdata/large"] = file(append(make([]byte, blockSize), noise(500, seed)...))
	}
	return s
}

// The two repositories of a history, by the names of their directories.
const (
	mainRepo   = "main"
	secondRepo = "second"
)

// life is what one process does with the repositories.
type life struct {
	random *rand.Rand
	repos  map[string]*Repository
	clock  *timeMachine
	known  *ledger
	say    func(event)
}

func (l *life) tell(e event) {
	l.known.enter(e)
	l.say(e)
}

// step does one random thing.
func (l *life) step(ctx context.Context) error {
	switch n := l.random.IntN(24); {
	case n < 9:
		return l.backUp(ctx)
	case n < 12:
		return l.forget(ctx)
	case n < 17:
		return l.prune(ctx)
	case n < 19:
		return l.pruneBeside(ctx)
	case n < 21:
		return l.copy(ctx)
	case n < 22:
		_, err := l.repos[mainRepo].Check(ctx, CheckOptions{ReadData: true, Workers: 1})
		return err
	}
	return l.repair(ctx)
}

// repair repairs snapshots that are whole, or makes an index anew that may name packs twice, as two prunes at once leave it.
func (l *life) repair(ctx context.Context) error {
	r := l.repos[mainRepo]
	if l.random.IntN(3) == 0 {
		// Nothing was lost, so that nothing may be forgotten.
		got, err := r.RepairSnapshots(ctx, RepairSnapshotsOptions{Forget: true, Workers: 1})
		if len(got.Repaired) > 0 || len(got.Unreadable) > 0 {
			return fmt.Errorf("the repair of whole snapshots: %+v, error %w", got, err)
		}
		if all, err2 := r.sentences(ctx); holdfast.ErrorCode(err) == holdfast.CodeConflict && err2 == nil && len(all) > 0 {
			return nil // the prune that was killed is to be run to its end first
		}
		return err
	}
	ids, err := list(ctx, r.bucket, kindIndex())
	if err == nil && len(ids) > 0 && l.random.IntN(3) > 0 {
		var plain []byte
		if plain, err = r.load(ctx, kindIndex(), ids[l.random.IntN(len(ids))]); err == nil {
			_, err = r.save(ctx, kindIndex(), plain)
		}
	}
	if err == nil {
		_, err = r.RepairIndex(ctx, RepairIndexOptions{ReadHeaders: l.random.IntN(2) == 0, Workers: 1})
	}
	return err
}

func (l *life) backUp(ctx context.Context) error {
	content := l.random.Uint64()
	if all := l.known.in(isThere); len(all) > 0 && l.random.IntN(4) == 0 { // nothing is new
		content = l.known.content[all[l.random.IntN(len(all))]]
	}
	return l.backUpOf(ctx, content, l.random.IntN(4) == 0)
}

func (l *life) backUpOf(ctx context.Context, content uint64, flush bool) (err error) {
	l.tell(event{What: saysBegins, Content: content})
	w, err := l.repos[mainRepo].NewWriter(ctx, WriterOptions{Holder: "crash/writer", Workers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.tinyBuffers()
	s := crashSet(content)
	for i, p := range inOrder(s) {
		if err := w.Add(ctx, s[p].file(p)); err != nil {
			return err
		}
		if flush && i == len(s)/2 {
			if err := w.Flush(ctx); err != nil {
				return err
			}
		}
	}
	id, err := w.Commit(ctx, testCommit(), func(_ context.Context, id string) error {
		l.tell(event{What: saysIntends, Snapshot: id, Content: content})
		return nil
	})
	if err == nil {
		l.tell(event{What: saysCommitted, Snapshot: id})
	}
	return err
}

// tinyBuffers makes packs of a few files.
func (w *Writer) tinyBuffers() {
	for range packBuffers {
		<-w.packer.free
		w.packer.free <- make([]byte, 0, 4<<10)
	}
}

func (l *life) forget(ctx context.Context) error {
	all := l.known.in(isThere)
	if len(all) == 0 {
		return nil
	}
	id := all[l.random.IntN(len(all))]
	l.tell(event{What: saysForgets, Snapshot: id})
	if err := l.repos[mainRepo].RemoveSnapshot(ctx, id); err != nil {
		return err
	}
	l.tell(event{What: saysForgot, Snapshot: id})
	return nil
}

func (l *life) prune(ctx context.Context) error {
	if l.random.IntN(3) > 0 {
		l.pass(25 * time.Hour)
	}
	return l.pruneOnce(ctx)
}

func (l *life) pass(d time.Duration) {
	l.clock.pass(d)
	l.tell(event{What: saysClock, Clock: time.Duration(l.clock.now.Load())})
}

func (l *life) pruneOnce(ctx context.Context) error {
	o := PruneOptions{Wait: DefaultPruneWait, Workers: 1}
	if l.random.IntN(4) == 0 {
		o.Wait = 0
	}
	if l.random.IntN(3) == 0 {
		o.MaxUnused = 0.3
	}
	_, err := l.repos[mainRepo].Prune(ctx, o)
	return err
}

// pruneBeside prunes while a backup is running.
func (l *life) pruneBeside(ctx context.Context) error {
	content := l.random.Uint64()
	done := make(chan error, 1)
	go func() { done <- l.backUpOf(ctx, content, false) }()
	err := l.pruneOnce(ctx) // says nothing
	return errors.Join(err, <-done)
}

func (l *life) copy(ctx context.Context) error {
	all := l.known.in(isThere)
	if len(all) == 0 {
		return nil
	}
	got, err := l.repos[mainRepo].Copy(ctx, l.repos[secondRepo], CopyOptions{Snapshots: []string{all[l.random.IntN(len(all))]}, Workers: 1})
	for _, s := range got.Snapshots {
		l.tell(event{What: saysCopied, Snapshot: s.To, From: s.From})
	}
	return err
}

// disks are the steps of a history's two buckets, one after the other, and where they
// end.
type disks struct {
	made func(repo string, s objfs.Step) error // remembers a step
	end  func(repo string, s objfs.Step)       // is called at the end; it may not return

	mu   sync.Mutex // held while a step is made; guards the fields below
	left int        // steps before the one at which it ends
	when moment     // of this step
	fail error      // of this step, after which it goes on; nil: it is the end
	dead bool
}

// endless is more steps than a life has.
const endless = 1 << 30

// moment is when, at a step, something happens.
type moment int

const (
	beforeStep moment = iota
	halfStep          // of the bytes are written: the step, or the next one that writes
	afterStep
	unsynced // after the step, or the next one, that changes a name, and before that is synced
)

func (m moment) String() string {
	return [...]string{"before", "half-way", "after", "before a sync"}[m]
}

// may reports whether it can be at such a step.
func (m moment) may(op objfs.Op) bool {
	switch m {
	case halfStep:
		return op == objfs.Write
	case unsynced:
		return op == objfs.Name || op == objfs.Remove
	case beforeStep, afterStep:
	}
	return true
}

var errDead = errors.New("the machine is gone")

func (d *disks) around(dir, repo string) func(objfs.Step, func() error) error {
	return func(s objfs.Step, do func() error) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.dead {
			return errDead
		}
		last := false
		if s.Op != objfs.SyncDir { // before it is after the step that needs it
			last = d.left <= 0 && d.when.may(s.Op)
			d.left--
		}
		if last && d.when == beforeStep {
			return d.die(repo, s)
		}
		if last && d.when == halfStep {
			s.Data = s.Data[:len(s.Data)/2]
			do = func() error { return os.WriteFile(filepath.Join(dir, repo, s.Path), s.Data, 0o600) }
		}
		if s.Op != objfs.SyncDir && s.Op != objfs.SyncFile { // nobody cuts this machine's power
			if err := do(); err != nil {
				return err
			}
		}
		if err := d.made(repo, s); err != nil {
			return err
		}
		if last {
			return d.die(repo, s)
		}
		return nil
	}
}

func (d *disks) die(repo string, s objfs.Step) error {
	if d.fail != nil {
		d.left = endless
	}
	d.dead = d.fail == nil
	if d.end != nil {
		d.end(repo, s)
	}
	return cmp.Or(d.fail, errDead)
}

// openCrashed opens both repositories in the directory.
func openCrashed(ctx context.Context, dir string, d *disks, m *timeMachine, wrap func(*objfs.Bucket) *fault.Bucket) (map[string]*Repository, error) {
	repos := map[string]*Repository{}
	for _, name := range []string{mainRepo, secondRepo} {
		b, err := objfs.Open(filepath.Join(dir, name), objfs.Around(d.around(dir, name)))
		if err != nil {
			return nil, err
		}
		r, err := Open(ctx, b, testSecret())
		if err != nil {
			return nil, err
		}
		r.clock = m.clock()
		if name == mainRepo && wrap != nil {
			r.bucket = wrap(b)
		}
		repos[name] = r
	}
	return repos, nil
}

// plan is what the first process of a history is told.
type crashPlan struct {
	Dir  string
	Seed uint64
	Act  act // that it does in place of random things
	Left int
	When moment
}

// The files in a history's directory that the first process leaves behind: they are
// written with one call a line, which a kill does not take back.
const crashEvents = "events"

func crashSteps(repo string) string { return repo + ".steps" }

// crashChild lives the first lives of histories until each has come to its end, says
// so, and waits for the kill.
func crashChild(text string) error {
	var plans []crashPlan
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		return err
	}
	ended := make(chan error)
	for _, p := range plans {
		go func() {
			live := p.live
			if p.Act != "" {
				live = p.act
			}
			if err := live(func() { ended <- nil }); err != nil {
				ended <- fmt.Errorf("history %d: %w", p.Seed, err)
			}
		}()
	}
	for range plans {
		if err := <-ended; err != nil {
			return err
		}
	}
	fmt.Println("ended")
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the parent goes, at the latest
	return errors.New("nobody has killed the process")
}

// live does random things until the step is there at which it stays for ever.
func (p crashPlan) live(ended func()) error {
	files := map[string]*os.File{}
	for _, name := range []string{crashEvents, crashSteps(mainRepo), crashSteps(secondRepo)} {
		f, err := os.OpenFile(filepath.Join(p.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		files[name] = f
	}
	line := func(name string, v any) error {
		data, err := json.Marshal(v)
		if err == nil {
			_, err = files[name].Write(append(data, '\n'))
		}
		return err
	}
	d := &disks{
		left: p.Left, when: p.When,
		made: func(repo string, s objfs.Step) error { return line(crashSteps(repo), s) },
		end: func(string, objfs.Step) {
			ended()
			select {}
		},
	}
	l := &life{random: rand.New(rand.NewPCG(p.Seed, 1)), clock: &timeMachine{}, known: newLedger()}
	l.say = func(e event) {
		if err := line(crashEvents, e); err != nil {
			panic(err)
		}
	}
	var err error
	if l.repos, err = openCrashed(context.Background(), p.Dir, d, l.clock, nil); err != nil {
		return err
	}
	for {
		if err := l.step(context.Background()); err != nil {
			return err
		}
	}
}

// history is one history in the process that judges it.
type history struct {
	t     *testing.T
	seed  uint64
	dir   string
	disks map[string]*fault.Disk
	known *ledger
	again bool // the next life begins with the last backup of this one
	wrong []string
	what  []string // that happened, for people
}

func (h *history) errorf(format string, args ...any) {
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

// newHistory makes the two repositories.
func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	h := &history{t: t, seed: seed, dir: testkit.MemoryDir(t), disks: map[string]*fault.Disk{}, known: newLedger()}
	for _, name := range []string{mainRepo, secondRepo} {
		h.disks[name] = fault.NewDisk()
		if err := os.Mkdir(filepath.Join(h.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		b, err := objfs.Open(filepath.Join(h.dir, name), objfs.Around(h.disks[name].Around))
		if err != nil {
			t.Fatal(err)
		}
		newRepository(t, b)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// maxSteps is how far into a life its end is.
const maxSteps = 160

func drawEnd(random *rand.Rand) (int, moment) { return random.IntN(maxSteps), moment(random.IntN(4)) }

// isKilled reports whether the first process of the history is killed; else a call fails.
func isKilled(seed uint64) bool { return rand.New(rand.NewPCG(seed, 2)).IntN(5) < 3 }

func (h *history) plan() crashPlan {
	p := crashPlan{Dir: h.dir, Seed: h.seed}
	p.Left, p.When = drawEnd(rand.New(rand.NewPCG(h.seed, 3)))
	return p
}

// killTogether lives the first lives of histories in one process, and kills it when
// each has come to the step that was drawn for it.
func killTogether(t *testing.T, all []*history) {
	t.Helper()
	plans := make([]crashPlan, len(all))
	for i, h := range all {
		plans[i] = h.plan()
	}
	killPlans(t, plans)
	for i, h := range all {
		if err := h.recall(); err != nil {
			t.Fatal(err)
		}
		h.what = append(h.what, "killed "+plans[i].When.String())
	}
}

// killPlans lives all of the plans in one process, and kills it when each has ended.
func killPlans(t *testing.T, plans []crashPlan) {
	t.Helper()
	text, err := json.Marshal(plans)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+string(text))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if said == "ended\n" {
		err = cmd.Process.Signal(syscall.SIGKILL)
	}
	_ = cmd.Wait() // it was killed
	if err != nil {
		t.Fatalf("the process has failed: %v\n%s", err, errs.String())
	}
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
		t.Fatalf("the process was not killed: %v", cmd.ProcessState)
	}
}

// recall reads what the first process has left behind.
func (h *history) recall() error {
	for _, repo := range []string{mainRepo, secondRepo} {
		if err := readLines(filepath.Join(h.dir, crashSteps(repo)), h.disks[repo].Record); err != nil {
			return err
		}
	}
	return readLines(filepath.Join(h.dir, crashEvents), func(e event) error {
		h.known.enter(e)
		return nil
	})
}

func readLines[T any](name string, fn func(T) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for d := json.NewDecoder(f); d.More(); {
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

// fails lives a first life in which one call to the store, or one step to its disk,
// fails, is late, or is cut short.
func (h *history) fails(ctx context.Context) {
	random := rand.New(rand.NewPCG(h.seed, 3))
	broken := holdfast.Errorf(holdfast.CodeUnavailable, "broken")
	ops := []fault.Op{fault.Put, fault.Put, fault.Put, fault.Get, fault.Get, fault.Stat, fault.List, fault.Delete}
	op, n := ops[random.IntN(len(ops))], 1+random.IntN(30)
	d := &disks{left: endless}
	met := make(chan struct{}, 1)
	var faults []fault.Fault
	var what string
	switch kind := random.IntN(11); {
	case kind < 3:
		d.left, d.when = drawEnd(random)
		d.fail = syscall.ENOSPC
		d.end = func(string, objfs.Step) { met <- struct{}{} }
		what = "a step of the disk fails " + d.when.String()
	case kind < 6:
		faults, what = append(faults, fault.On(op, n, broken)), "a call fails"
	case kind < 9:
		faults, what = append(faults, fault.Torn(op, n, broken)), "a call is made, and fails"
	case kind < 10:
		faults, what = append(faults, fault.Delay(op, n, 3*time.Millisecond)), "a call is late"
	default:
		op = fault.Get
		faults, what = append(faults, fault.Truncate(n, random.Int64N(200), broken)), "a get is cut short"
	}
	if faults != nil {
		faults = slices.Insert(faults, 0, fault.Call(op, n, func(string) { met <- struct{}{} }))
	}
	h.what = append(h.what, what)
	h.live(ctx, random, d, 4+random.IntN(5), func(b *objfs.Bucket) *fault.Bucket { return fault.Wrap(b, faults...) }, met)
}

// live does random things in this process. A step of it may fail when met says so.
func (h *history) live(ctx context.Context, random *rand.Rand, d *disks, steps int, wrap func(*objfs.Bucket) *fault.Bucket, met <-chan struct{}) {
	d.made = func(repo string, s objfs.Step) error { return h.disks[repo].Record(s) }
	m := &timeMachine{}
	m.pass(h.known.clock)
	l := &life{random: random, clock: m, known: h.known, say: func(event) {}}
	dead := func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.dead
	}
	var err error
	if l.repos, err = openCrashed(ctx, h.dir, d, m, wrap); err != nil {
		if !dead() {
			h.errorf("open: %v", err)
		}
		return
	}
	for i := range steps {
		var err error
		if i == 0 && h.again {
			err = l.backUpOf(ctx, h.known.last, false)
		} else {
			err = l.step(ctx)
		}
		select {
		case <-met:
			// What it had locked stays so; whoever is in charge removes it.
			if _, err := l.repos[mainRepo].Unlock(ctx, true); err != nil {
				h.errorf("unlock: %v", err)
			}
			err = nil
			met = nil
		default:
		}
		if dead() {
			return
		}
		if err != nil {
			h.errorf("nothing was wrong, and %v", err)
			return
		}
	}
}

// losesPower lives a life that ends with the machine's.
func (h *history) losesPower(ctx context.Context) {
	random := rand.New(rand.NewPCG(h.seed, 4))
	var left string
	cut := func() {
		left = testkit.MemoryDir(h.t)
		lottery := rand.New(rand.NewPCG(h.seed, 5))
		if lottery.IntN(4) == 0 {
			lottery = nil
		}
		for name, disk := range h.disks {
			dir := filepath.Join(left, name)
			if err := errors.Join(os.Mkdir(dir, 0o700), disk.Cut(dir, lottery)); err != nil {
				h.errorf("cut: %v", err)
			}
		}
	}
	d := &disks{end: func(_ string, s objfs.Step) {
		cut()
		h.what = append(h.what, fmt.Sprintf("power lost at %s", s.Op))
	}}
	d.left, d.when = drawEnd(random)
	if random.IntN(3) == 0 {
		d.left %= 10 // while what the first process has left unsynced may be so still
	}
	h.again = random.IntN(2) == 0
	h.live(ctx, random, d, maxSteps, nil, nil)
	if left == "" {
		cut()
		h.what = append(h.what, "power lost at rest")
	}
	h.dir = left
	for name, disk := range h.disks {
		if err := disk.Restart(filepath.Join(left, name)); err != nil {
			h.errorf("restart: %v", err)
		}
	}
}

// judge opens what is left and compares it with the ledger.
func (h *history) judge(ctx context.Context, where string) map[string]*Repository {
	m := &timeMachine{}
	m.pass(h.known.clock)
	record := &disks{left: endless, made: func(repo string, s objfs.Step) error { return h.disks[repo].Record(s) }}
	repos, err := openCrashed(ctx, h.dir, record, m, nil)
	if err != nil {
		h.errorf("%s: open: %v", where, err)
		return nil
	}
	h.judgeMain(ctx, where, repos[mainRepo])
	h.judgeSecond(ctx, where, repos[secondRepo])
	for name, r := range repos {
		h.wantPacks(ctx, where, name, r)
		got, err := r.Check(ctx, CheckOptions{ReadData: true, Workers: 1})
		if err != nil || got.Damaged() || len(got.Affected) > 0 {
			h.errorf("%s: check of %s: %+v, error %v", where, name, got.Findings, err)
		}
	}
	return repos
}

// wantPacks looks for every pack that the index names, needed or not: the stock restic
// calls a repository damaged that misses one.
func (h *history) wantPacks(ctx context.Context, where, name string, r *Repository) {
	x, err := r.loadIndex(ctx, refuseDamaged)
	sizes, err2 := r.packSizes(ctx)
	if err != nil || err2 != nil {
		h.errorf("%s: index of %s: %v, %v", where, name, err, err2)
		return
	}
	for _, id := range x.PackIDs() {
		if sizes[id] == 0 {
			h.errorf("%s: the index of %s names the pack %s, which is gone", where, name, id)
		}
	}
}

func (h *history) judgeMain(ctx context.Context, where string, r *Repository) {
	all, err := r.Snapshots(ctx)
	if err != nil {
		h.errorf("%s: snapshots: %v", where, err)
		return
	}
	seen := map[string]bool{}
	for _, s := range all {
		seen[s.ID] = true
		content, made := h.known.content[s.ID]
		if !made || h.known.state[s.ID] == isGone {
			h.errorf("%s: snapshot %s is there: made %t", where, s.ID, made)
			continue
		}
		h.known.state[s.ID] = isThere // whoever looks counts on it
		h.compare(where, r, s.ID, content)
	}
	for _, id := range h.known.in(isThere) {
		if !seen[id] {
			h.errorf("%s: snapshot %s is gone", where, id)
		}
	}
	for _, id := range h.known.in(maybeThere) {
		h.known.state[id] = isGone
	}
}

func (h *history) judgeSecond(ctx context.Context, where string, r *Repository) {
	all, err := r.Snapshots(ctx)
	if err != nil {
		h.errorf("%s: snapshots of the copy: %v", where, err)
		return
	}
	seen := map[string]bool{}
	for _, s := range all {
		seen[s.ID] = true
		content, made := h.known.content[s.origin()]
		if !made {
			h.errorf("%s: copy %s is of no snapshot", where, s.ID)
			continue
		}
		h.known.copied[s.ID] = true
		h.compare(where, r, s.ID, content)
	}
	for id := range h.known.copied {
		if !seen[id] {
			h.errorf("%s: copy %s is gone", where, id)
		}
	}
}

// compare restores a snapshot.
func (h *history) compare(where string, r *Repository, id string, content uint64) {
	h.t.Helper()
	files, err := fetchAll(h.t, r, id)
	if err != nil {
		h.errorf("%s: restore %s: %v", where, id, err)
		return
	}
	for p, n := range crashSet(content) {
		if !n.isRegular() {
			continue
		}
		if f := files[p]; f == nil || !bytes.Equal(f.data, n.data) {
			h.errorf("%s: restore %s: %q came back wrong", where, id, p)
		}
		delete(files, p)
	}
	for p := range files {
		h.errorf("%s: restore %s: nobody has stored %q", where, id, p)
	}
}

// unlock removes the locks of dead processes, and of lives of this process all.
func (h *history) unlock(ctx context.Context, repos map[string]*Repository, all bool) {
	for name, r := range repos {
		_, err := r.Unlock(ctx, all)
		left, err2 := r.Locks(ctx)
		if err != nil || err2 != nil || len(left) > 0 {
			h.errorf("unlock %s: left %+v, errors %v, %v", name, left, err, err2)
		}
	}
}

// settle backs up, and prunes until nothing is left to do.
func (h *history) settle(ctx context.Context, repos map[string]*Repository) {
	m := &timeMachine{}
	m.pass(h.known.clock)
	l := &life{random: rand.New(rand.NewPCG(h.seed, 6)), repos: repos, clock: m, known: h.known, say: func(event) {}}
	r := repos[mainRepo]
	r.clock = m.clock()
	if err := l.backUp(ctx); err != nil {
		h.errorf("the next backup: %v", err)
	}
	for range 4 {
		if _, err := r.Prune(ctx, PruneOptions{Wait: DefaultPruneWait, Workers: 1}); err != nil {
			h.errorf("the next prune: %v", err)
			return
		}
		l.pass(25 * time.Hour)
	}
	h.judge(ctx, "in the end")
	got, err := r.Check(ctx, CheckOptions{Workers: 1})
	if err != nil {
		h.errorf("the last check: %v", err)
	}
	for _, f := range got.Findings {
		if f.Kind != FindingTwice {
			h.errorf("after all prunes check finds %+v", f)
		}
	}
	for _, prefix := range []string{"holdfast/", "locks/"} {
		if left := names(h.t, r.bucket, prefix); len(left) > 0 {
			h.errorf("left: %v", left)
		}
	}
}

// run lives a history whose first life is over, if it was to be killed.
func (h *history) run(ctx context.Context, withRestic bool) {
	wasKilled := isKilled(h.seed)
	if !wasKilled {
		h.fails(ctx)
	}
	repos := h.judge(ctx, "after the first life")
	if repos == nil {
		return
	}
	if !wasKilled || h.seed%2 == 0 { // else prunes wait until it is clear that the holders are dead
		h.unlock(ctx, repos, !wasKilled)
	}
	h.losesPower(ctx)
	if repos = h.judge(ctx, "after the power was lost"); repos == nil {
		return
	}
	if withRestic {
		h.restic()
	}
	h.unlock(ctx, repos, true)
	h.settle(ctx, repos)
	if withRestic {
		h.restic()
	}
}

func (h *history) restic() {
	for name := range h.disks {
		restic(h.t, filepath.Join(h.dir, name), "check", "--read-data", "--no-lock")
	}
}

// TestCrashes lives histories, and judges what is left of each.
func TestCrashes(t *testing.T) {
	t.Parallel()
	n, every := crashHistories, uint64(crashResticN)
	if raced {
		n = racedHistories
	}
	var mu sync.Mutex // guards the field below
	tally := map[string]int{}
	t.Cleanup(func() { t.Logf("%d histories: %v", n, tally) })
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(historiesEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		every = 1
	}
	if text := os.Getenv(historySeedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		n, every = 1, 1
	}
	for first := uint64(0); first < uint64(n); first += killedTogether {
		t.Run(strconv.FormatUint(seed+first, 10), func(t *testing.T) {
			t.Parallel()
			var all, kill []*history
			for i := first; i < min(first+killedTogether, uint64(n)); i++ {
				h := newHistory(t, seed+i)
				if all = append(all, h); isKilled(h.seed) {
					kill = append(kill, h)
				}
			}
			if len(kill) > 0 {
				killTogether(t, kill)
			}
			for _, h := range all {
				h.run(t.Context(), h.seed%every == 0)
				mu.Lock()
				for _, what := range h.what {
					tally[what]++
				}
				mu.Unlock()
				if len(h.wrong) > 0 {
					t.Errorf("%s=%d: %s\n%s", historySeedEnv, h.seed, strings.Join(h.what, ", "), strings.Join(h.wrong, "\n"))
				}
			}
		})
	}
}
