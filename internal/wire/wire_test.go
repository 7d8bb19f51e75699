package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{wire.BellSubject("default"), "bell.default"},
		{wire.AskSubject(1001, "default"), "ask.1001.default"},
		{wire.ExecutionSubject(wire.KindBeat, 1001, 1002), "hb.1001.1002"},
		{wire.ExecutionSubject(wire.KindLog, 1001, 1002), "log.1001.1002"},
		{wire.ExecutionSubject(wire.KindIntend, 1001, 1002), "intend.1001.1002"},
		{wire.ExecutionSubject(wire.KindFinish, 1001, 1002), "finish.1001.1002"},
		{wire.CommandSubject(1001), "cmd.1001"},
		{wire.WorkerSubjects(wire.KindBeat, 1001), "hb.1001.>"},
		{wire.InboxPrefix(1001), "_INBOX_1001"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	a, b := wire.JoinInboxPrefix(holdfast.NewSecret("a")), wire.JoinInboxPrefix(holdfast.NewSecret("b"))
	if a == b || strings.Contains(a, "secret") || strings.ContainsAny(a, ".*> ") {
		t.Errorf("join inboxes: got %s and %s", a, b)
	}
}

func TestParseSubjects(t *testing.T) {
	t.Parallel()
	if w, e, err := wire.ParseExecution(wire.KindBeat, "hb.1001.1002"); err != nil || w != 1001 || e != 1002 {
		t.Errorf("got %d, %d, %v", w, e, err)
	}
	if w, p, err := wire.ParseAsk("ask.1001.default"); err != nil || w != 1001 || p != "default" {
		t.Errorf("got %d, %s, %v", w, p, err)
	}
	for _, s := range []string{
		"", "hb", "hb.1001", "hb.1001.", "hb..1002", "hb.1001.1002.3", "log.1001.1002", "hb.x.1002", "hb.01.1002", "hb.+1.1002",
		"hb.-1.1002", "hb.0.1002", "hb.9007199254740992.1002", "hb.99999999999999999999.1002", "hb.*.1002", "hb.1001.>",
	} {
		if _, _, err := wire.ParseExecution(wire.KindBeat, s); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%q: got %v, want %s", s, err, holdfast.CodeInvalid)
		}
	}
	for _, s := range []string{"ask.1001.*", "ask.1001.", "ask.1001.a b", "ask.1001.>", "ask.1001.a.b", "ask.x.default"} {
		if _, _, err := wire.ParseAsk(s); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%q: got %v, want %s", s, err, holdfast.CodeInvalid)
		}
	}
}

func validOrder() *wire.Order {
	return &wire.Order{
		Request: "r", Installation: "i", Account: 1001, Execution: 1001, Fence: 1, Type: holdfast.JobBackup,
		Engine: holdfast.EnginePhysical, Job: 1001, JobName: "nightly", RunType: holdfast.RunFull, Set: 1001,
		Site:       wire.Site{ID: 1001, Slug: "berlin", Server: holdfast.Server{Host: "localhost", Port: 5432, User: "u"}, DataDir: "/srv/pg"},
		Repository: wire.Repository{ID: 1001, Location: "file:///srv/repo", FormatID: strings.Repeat("a", 64)},
		Sealed:     []byte("box"),
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	o := validOrder()
	b, err := wire.Encode(&wire.AskReply{Order: o})
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.Decode[wire.AskReply](b)
	if err != nil || !reflect.DeepEqual(r.Order, o) {
		t.Errorf("round trip: got %+v, %v, want %+v", r.Order, err, o)
	}
	if strings.Contains(string(b), "assword") {
		t.Errorf("an order holds a password: %s", b)
	}
	for name, spoil := range map[string]func(*wire.Order){
		"no request":        func(o *wire.Order) { o.Request = "" },
		"no fence":          func(o *wire.Order) { o.Fence = 0 },
		"no execution":      func(o *wire.Order) { o.Execution = 0 },
		"no set":            func(o *wire.Order) { o.Set = 0 },
		"no site":           func(o *wire.Order) { o.Site = wire.Site{} },
		"no repository":     func(o *wire.Order) { o.Repository = wire.Repository{} },
		"unknown type":      func(o *wire.Order) { o.Type = "X" },
		"unknown run type":  func(o *wire.Order) { o.RunType = "X" },
		"negative limit":    func(o *wire.Order) { o.AbortAfter = -1 },
		"large secrets":     func(o *wire.Order) { o.Sealed = make([]byte, 1<<20) },
		"restore nowhere":   func(o *wire.Order) { o.Type = holdfast.JobRestore },
		"restore upwards":   func(o *wire.Order) { restoreTo(o, "/srv/../etc", strings.Repeat("a", 64)) },
		"restore relative":  func(o *wire.Order) { restoreTo(o, "srv", strings.Repeat("a", 64)) },
		"restore from none": func(o *wire.Order) { restoreTo(o, "/srv/new", "") },
		"snapshot path":     func(o *wire.Order) { restoreTo(o, "/srv/new", strings.Repeat("../", 21)+"a") },
	} {
		o := validOrder()
		spoil(o)
		if _, err := wire.Encode(o); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, holdfast.CodeInvalid)
		}
	}
	good := validOrder()
	restoreTo(good, "/srv/new", strings.Repeat("a", 64))
	if _, err := wire.Encode(good); err != nil {
		t.Errorf("restore: got %v", err)
	}
}

func restoreTo(o *wire.Order, dir, snapshot string) {
	o.Type, o.Restore, o.Snapshot = holdfast.JobRestore, &holdfast.RestoreSpec{Set: o.Set, Directory: dir}, snapshot
}

func TestRefused(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 64)
	for name, m := range map[string]wire.Message{
		"ask without a request":    &wire.Ask{Free: 1},
		"ask without a slot":       &wire.Ask{Request: "r"},
		"long request":             &wire.Ask{Request: strings.Repeat("r", 1000), Free: 1},
		"beat without a fence":     &wire.Beat{Number: 1},
		"beat without a number":    &wire.Beat{Fence: 1},
		"negative progress":        &wire.Beat{Fence: 1, Number: 1, Progress: holdfast.Progress{DoneBytes: -1}},
		"long phase":               &wire.Beat{Fence: 1, Number: 1, Progress: holdfast.Progress{Phase: strings.Repeat("p", 5000)}},
		"intend without a fence":   &wire.Intend{Snapshot: id},
		"intend of a short id":     &wire.Intend{Fence: 1, Snapshot: "abc"},
		"intend of an upper id":    &wire.Intend{Fence: 1, Snapshot: strings.Repeat("A", 64)},
		"finish without a fence":   &wire.Finish{Move: holdfast.MoveSucceed},
		"finish by silence":        &wire.Finish{Fence: 1, Move: holdfast.MoveSilence},
		"finish by a person":       &wire.Finish{Fence: 1, Move: holdfast.MoveKill},
		"long detail":              &wire.Finish{Fence: 1, Move: holdfast.MoveFail, Detail: strings.Repeat("d", wire.MaxDetail+1)},
		"long result":              &wire.Finish{Fence: 1, Move: holdfast.MoveSucceed, Result: json.RawMessage(`"` + strings.Repeat("d", wire.MaxResult) + `"`)},
		"bad and done":             &wire.Finish{Fence: 1, Move: holdfast.MoveSucceed, Bad: strings.Repeat("a", 64)},
		"bad without an id":        &wire.Finish{Fence: 1, Move: holdfast.MoveFail, Bad: "../config"},
		"good and failed":          &wire.Finish{Fence: 1, Move: holdfast.MoveFail, Good: strings.Repeat("a", 64)},
		"good without an id":       &wire.Finish{Fence: 1, Move: holdfast.MoveWarn, Good: "../config"},
		"negative size":            &wire.Finish{Fence: 1, Move: holdfast.MoveSucceed, StoredBytes: -1},
		"negative offset":          &wire.Chunk{Fence: 1, Offset: -1},
		"offset beyond all":        &wire.Chunk{Fence: 1, Offset: holdfast.MaxID},
		"long chunk":               &wire.Chunk{Fence: 1, Data: make([]byte, wire.MaxChunk+1)},
		"unknown command":          &wire.Command{Kind: "format"},
		"wish without a fence":     &wire.Command{Kind: wire.CommandWish, Execution: 1001},
		"test without a site":      &wire.Command{Kind: wire.CommandTest},
		"reap without a place":     &wire.Command{Kind: wire.CommandReap, Snapshot: id},
		"reap without an id":       &wire.Command{Kind: wire.CommandReap, Repository: &wire.Repository{ID: 1}},
		"release without a site":   &wire.Command{Kind: wire.CommandRelease, Execution: 1001, Fence: 1},
		"join without a key":       &wire.Join{Secret: "s", Name: "w", Slots: 1},
		"join reply without an id": &wire.JoinReply{Name: "w"},
		"failure without a code":   &wire.Reply{Failure: &wire.Failure{Msg: "x"}},
		"negative acknowledgement": &wire.ChunkReply{Next: -1},
		"too many findings":        &wire.Answer{Findings: make([]wire.Finding, 5000)},
	} {
		if _, err := wire.Encode(m); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, holdfast.CodeInvalid)
		}
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	b := []byte(`{"fence":1,"number":1,"x":"` + strings.Repeat("x", wire.MaxMessage) + `"}`)
	if _, err := wire.Decode[wire.Beat](b); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("got %v, want %s", err, holdfast.CodeInvalid)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"short", 10, "short"},
		{"exactly ten", 11, "exactly ten"},
		{"a long text", 8, "a lo …"},
		{"äöüäöü", 8, "äö …"},
		{"x", 0, " …"},
	} {
		if got := wire.Clip(c.in, c.n); got != c.want {
			t.Errorf("clip %q to %d: got %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	if wire.NewFailure(nil).Err() != nil {
		t.Error("no failure is no error")
	}
	cause := holdfast.Wrap(holdfast.CodeInternal, holdfast.Errorf(holdfast.CodeForbidden, "inner"), "the master key has gone")
	if f := wire.NewFailure(cause); f.Msg != "internal error" || f.Code != holdfast.CodeInternal {
		t.Errorf("internal: got %+v, want no detail", f)
	}
	f := wire.NewFailure(holdfast.Errorf(holdfast.CodeConflict, "outdated").WithHint("end"))
	err := f.Err()
	if holdfast.ErrorCode(err) != holdfast.CodeConflict || holdfast.ErrorMessage(err) != "outdated" || holdfast.ErrorHint(err) != "end" {
		t.Errorf("round trip: got %v", err)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	in := wire.Secrets{Site: holdfast.NewSecret(`p"ä`), Repository: holdfast.NewSecret("r"), Access: holdfast.ObjectAccess{AccessKey: "k", SecretKey: holdfast.NewSecret("s")}}
	packed, err := in.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out, err := wire.UnpackSecrets(packed)
	if err != nil || out.Site.Reveal() != in.Site.Reveal() || out.Repository.Reveal() != "r" || out.Access.SecretKey.Reveal() != "s" {
		t.Errorf("round trip: got %v", err)
	}
	if _, err := wire.UnpackSecrets(holdfast.NewSecret("hunter2{")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("bad secrets: got %v", err)
	}
}

func TestJoinToken(t *testing.T) {
	t.Parallel()
	in := wire.JoinToken{Address: "[::1]:4222", Pin: strings.Repeat("0", 64), Secret: holdfast.NewSecret("s3cret")}
	text, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := wire.ParseJoinToken(" " + text + "\n")
	if err != nil || out.Address != in.Address || out.Pin != in.Pin || out.Secret.Reveal() != "s3cret" {
		t.Errorf("round trip: got %+v, %v", out, err)
	}
	for _, s := range []string{"", "hfjoin1.", "hfjoin1.!!", "hfjoin1.e30", text[:len(text)-4], "x" + text, strings.Repeat("a", 1<<20)} {
		if _, err := wire.ParseJoinToken(s); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%q: got %v, want %s", wire.Clip(s, 20), err, holdfast.CodeInvalid)
		}
	}
}

// FuzzDecode feeds every kind of message with untrusted bytes: what is accepted
// can be encoded again and means the same.
func FuzzDecode(f *testing.F) {
	for _, m := range []wire.Message{
		&wire.Ask{Request: "r", Free: 1}, &wire.AskReply{Order: validOrder()}, &wire.Beat{Fence: 1, Number: 2},
		&wire.Intend{Fence: 1, Snapshot: strings.Repeat("a", 64)}, &wire.Finish{Fence: 1, Move: holdfast.MoveWarn, Result: []byte(`{"a":1}`)},
		&wire.Chunk{Fence: 1, Data: []byte("x")}, &wire.Command{Kind: wire.CommandWish, Execution: 1001, Fence: 1, Wanted: holdfast.WantKill},
		&wire.Answer{Found: true}, &wire.AskReply{Order: etlOrder()}, &wire.Ask{Request: "r", Services: 1},
		&wire.BeatReply{Version: 1, Sealed: []byte("x")},
		&wire.Command{Kind: wire.CommandPreview, ETL: validETL(), Rows: 1}, &wire.Answer{Relations: []wire.Relation{{Name: "r"}}},
	} {
		b, err := wire.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again[wire.Ask](t, b)
		again[wire.AskReply](t, b)
		again[wire.Beat](t, b)
		again[wire.BeatReply](t, b)
		again[wire.Intend](t, b)
		again[wire.Finish](t, b)
		again[wire.Reply](t, b)
		again[wire.Chunk](t, b)
		again[wire.ChunkReply](t, b)
		again[wire.Command](t, b)
		again[wire.Answer](t, b)
		again[wire.Join](t, b)
		again[wire.JoinReply](t, b)
	})
}

func again[T any, M interface {
	*T
	wire.Message
}](t *testing.T, b []byte) {
	t.Helper()
	m, err := wire.Decode[T, M](b)
	if err != nil {
		return
	}
	out, err := wire.Encode(M(&m))
	if err != nil {
		t.Fatalf("%T: decoded, but not encoded: %v", m, err)
	}
	if _, err := wire.Decode[T, M](out); err != nil {
		t.Fatalf("%T: encoded, but not decoded: %v", m, err)
	}
}

// FuzzSubject parses subjects that a client may make up.
func FuzzSubject(f *testing.F) {
	f.Add("hb.1001.1002")
	f.Add("ask.1001.default")
	f.Fuzz(func(t *testing.T, s string) {
		if w, e, err := wire.ParseExecution(wire.KindBeat, s); err == nil {
			if got := wire.ExecutionSubject(wire.KindBeat, w, e); got != s {
				t.Errorf("got %q, want %q", got, s)
			}
		}
		if w, p, err := wire.ParseAsk(s); err == nil {
			if got := wire.AskSubject(w, p); got != s {
				t.Errorf("got %q, want %q", got, s)
			}
		}
	})
}

// FuzzJoinToken parses tokens that a person may have mangled.
func FuzzJoinToken(f *testing.F) {
	text, err := wire.JoinToken{Address: "a:1", Pin: strings.Repeat("0", 64), Secret: holdfast.NewSecret("s")}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, s string) {
		token, err := wire.ParseJoinToken(s)
		if err != nil {
			return
		}
		if _, err := token.Encode(); err != nil {
			t.Errorf("parsed, but not encoded: %v", err)
		}
	})
}

func TestJoin(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	curve, err := nkeys.CreateCurveKeys()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := user.PublicKey()
	sealKey, _ := curve.PublicKey()
	good := wire.Join{Secret: "s", Name: "w1", Key: key, SealKey: sealKey, Slots: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]wire.Join{
		"keys exchanged": {Secret: "s", Name: "w1", Key: sealKey, SealKey: key, Slots: 1},
		"no slots":       {Secret: "s", Name: "w1", Key: key, SealKey: sealKey},
		"name":           {Secret: "s", Name: "a/b", Key: key, SealKey: sealKey, Slots: 1},
		"no secret":      {Name: "w1", Key: key, SealKey: sealKey, Slots: 1},
	} {
		if err := bad.Validate(); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, holdfast.CodeInvalid)
		}
	}
}
