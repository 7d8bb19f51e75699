package commvault

import (
	"strings"
	"testing"
)

func TestScalars(t *testing.T) {
	t.Parallel()
	type all struct {
		Number number
		Code   code
		Text   text
		Flag   flag
		Moment moment
	}
	yes, no := flag{given: true, on: true}, flag{given: true}
	for body, want := range map[string]all{
		`{}`: {},
		`{"number":null,"code":null,"text":null,"flag":null,"moment":null}`:   {},
		`{"number":0,"code":0,"moment":0}`:                                    {},
		`{"number":-1,"code":-1,"moment":-1}`:                                 {Number: number{-1}},
		`{"number":"","code":"","text":"","flag":"","moment":""}`:             {},
		`{"number":"string","code":"string","text":"string","flag":"string"}`: {Text: placeholder},
		`{"number":1001,"code":3,"text":5,"flag":1,"moment":7}`:               {number{1001}, "3", "5", yes, moment{Value: "7"}},
		`{"number":" 1001 ","code":" 3 ","text":" a ","flag":" TRUE "}`:       {number{1001}, "3", "a", yes, moment{}},
		`{"number":1e3,"code":2.0,"flag":0}`:                                  {Number: number{1000}, Code: "2", Flag: no},
		`{"number":99999999999999999999}`:                                     {Number: number{1<<63 - 1}},
		`{"number":"-99999999999999999999"}`:                                  {Number: number{1<<63 - 1}},
		`{"code":"Synthetic full","flag":false}`:                              {Code: "SYNTHETICFULL", Flag: no},
		`{"code":"synthetic_full","flag":"False"}`:                            {Code: "SYNTHETICFULL", Flag: no},
		`{"code":"1-2"}`:          {Code: "1-2"},
		`{"NUMBER":5,"Code":"x"}`: {Number: number{5}, Code: "X"},
		`{"moment":{}}`:           {},
		`{"moment":{"timeValue":"a","time":"5","pointInTime":true}}`: {Moment: moment{"a", number{5}, yes}},
	} {
		var got all
		if err := decode([]byte(body), &got); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
	for _, body := range []string{
		``, `null`, `[]`, `5`, `{`, `{}{}`, `{"number":{}}`, `{"number":[]}`, `{"number":true}`, `{"number":1.5}`, `{"number":"x"}`, `{"number":1e30}`,
		`{"code":{}}`, `{"code":true}`, `{"code":2.5}`, `{"text":{}}`, `{"text":false}`, `{"flag":2}`, `{"flag":"yes"}`, `{"flag":{}}`, `{"moment":[]}`,
		`{"moment":true}`, `{"moment":{"time":"x"}}`, `{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"flags":1,"flagſ":2}`, `{"code":1,"code":2}`, `{"kind":1,"\u212aind":2}`, `{"É":1,"é":2}`, `{"b":{"a":1,"a":2}}`, `{"b":[{"a":1,"a":2}]}`, "{\"a\":\"\xff\"}",
		`{"a":` + strings.Repeat(`[`, maxDepth) + strings.Repeat(`]`, maxDepth) + `}`,
	} {
		var got all
		if err := decode([]byte(body), &got); err == nil {
			t.Errorf("%s: got %+v, want it refused", body, got)
		}
	}
	for _, body := range []string{"\xef\xbb\xbf{}", " {} ", `{"a":{"a":{"a":[{"a":1},{"a":1}]}},"b":[1,2]}`} {
		var got all
		if err := decode([]byte(body), &got); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}
