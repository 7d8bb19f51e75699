package bmcetl

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

const (
	xmlType   = "application/xml; charset=utf-8"
	maxXML    = 16 << 10 // bytes: a request has two short members
	requested = "TaskExecutionRequest"
)

// taskAccepted is the answer to a request for an execution.
type taskAccepted struct {
	XMLName xml.Name `xml:"TaskExecutionRequestStatus"`
	ID      int64    `xml:"taskexecreqid"`
	Status  string   `xml:"requestStatus"`
	Message string   `xml:"message,omitempty"`
}

// taskChecked says how an execution is doing.
type taskChecked struct {
	XMLName xml.Name `xml:"TaskExecutionStatus"`
	ID      int64    `xml:"taskexecreqid"`
	Status  string   `xml:"status"`
	Message string   `xml:"message,omitempty"`
}

func writeXML(w http.ResponseWriter, status int, v any) {
	b, err := xml.Marshal(v)
	if err != nil {
		panic(err) // a shape that XML cannot hold is a fault in this package
	}
	write(w, status, xmlType, append([]byte(xml.Header), b...))
}

// writeXMLError answers with a failure in the shape that the call has. It says
// NO_STATUS and never FAILED of what could not be looked at: a script would take it
// for the end of its execution.
func writeXMLError(c *call, f *failure) {
	text := f.Message
	if f.Hint != "" {
		text += ": " + f.Hint
	}
	if id := c.w.Header().Get(requestIDHeader); f.Status == http.StatusInternalServerError && id != "" {
		text += " (" + id + ")"
	}
	if c.request.Method == http.MethodPost {
		writeXML(c.w, f.Status, taskAccepted{ID: c.concerns, Status: statusError, Message: text})
		return
	}
	writeXML(c.w, f.Status, taskChecked{ID: c.id("execution"), Status: olderNone, Message: text})
}

// taskRequest asks for something to be done with a task.
type taskRequest struct {
	task, request string
}

// requestTask runs, schedules, stops or kills an ETL.
func (h *handler) requestTask(ctx context.Context, c *call) error {
	b, err := readBody(c, maxXML)
	if err != nil {
		return err
	}
	in, err := readTaskRequest(b)
	if err != nil {
		return foreign(c, "XML", "xml", err)
	}
	c.path = map[string]string{"etl": strings.TrimSpace(in.task)}
	id, err := c.etl()
	if err != nil {
		return err
	}
	var a service.ETLAnswer
	switch run := (service.RunETL{Job: id}); strings.ToUpper(strings.TrimSpace(in.request)) {
	case "RUN":
		a, err = h.Service.RunETL(ctx, c.actor, run)
	case "SCHEDULE":
		a, err = h.Service.ScheduleETL(ctx, c.actor, service.ScheduleETL{RunETL: run})
	case "STOP":
		a, err = h.Service.StopETL(ctx, c.actor, id)
	case "KILL":
		a, err = h.Service.KillETL(ctx, c.actor, id)
	default:
		err = h.ofETL(ctx, c, id, holdfast.Errorf(holdfast.CodeInvalid, "the request %q is unknown", clip(in.request)).WithHint("use RUN, SCHEDULE, STOP or KILL"))
	}
	if err != nil {
		return noETL(err)
	}
	out := answerOf(a)
	writeXML(c.w, http.StatusOK, taskAccepted{ID: out.Execution, Status: out.Status, Message: out.Message})
	return nil
}

// readTaskRequest reads the two members of a request, in any namespace. What
// could make it more than its text, a document type or an entity of its own, is
// refused.
func readTaskRequest(b []byte) (taskRequest, error) {
	var in taskRequest
	var path []string
	var text strings.Builder
	seen := map[string]bool{}
	b = bytes.TrimPrefix(b, []byte(byteOrderMark))
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.CharsetReader = func(label string, in io.Reader) (io.Reader, error) {
		// Older tools declare these for a text that has nothing but ASCII.
		if slices.Contains([]string{"us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"}, strings.ToLower(label)) && isASCII(b) {
			return in, nil
		}
		return nil, fault("it is not in UTF-8")
	}
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in, err
		}
		switch t := t.(type) {
		case xml.Directive:
			return in, fault("a document type is not taken")
		case xml.StartElement:
			path = append(path, t.Name.Local)
			text.Reset()
			switch {
			case len(path) == 1 && (seen["/"] || path[0] != requested):
				return in, fault("its root is not one " + requested)
			case len(path) == 2 && seen[path[1]]:
				return in, fault("a member stands twice")
			case len(path) > maxDepth:
				return in, fault("it is nested too deep")
			}
			seen[strings.Join(path[1:], "/")], seen["/"] = true, true
		case xml.CharData:
			if len(path) == 0 && len(bytes.TrimSpace(t)) > 0 {
				return in, fault("text stands outside of its root")
			}
			text.Write(t)
		case xml.EndElement:
			switch strings.Join(path[1:], "/") {
			case "taskid":
				in.task = text.String()
			case "request":
				in.request = text.String()
			}
			path = path[:len(path)-1]
			text.Reset()
		}
	}
	switch {
	case !seen["/"]:
		return in, fault("there is no element")
	case !seen["taskid"], !seen["request"]:
		return in, fault("taskid or request is missing")
	}
	return in, nil
}

func isASCII(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r > unicode.MaxASCII })
}

// checkTask says how one execution is doing, by its number.
func (h *handler) checkTask(ctx context.Context, c *call) error {
	id := holdfast.ExecutionID(c.id("execution"))
	var e holdfast.Execution
	err := holdfast.Errorf(holdfast.CodeNotFound, "unknown") // of the number 0
	if id != 0 {
		found, errOf := h.Service.Execution(ctx, c.actor, id)
		if errOf != nil && holdfast.ErrorCode(errOf) != holdfast.CodeNotFound {
			return errOf
		}
		if errOf == nil && found.Type == holdfast.JobETL {
			e, err = found, nil
		}
	}
	if err != nil {
		return holdfast.Errorf(holdfast.CodeNotFound, "execution not found")
	}
	writeXML(c.w, http.StatusOK, taskChecked{ID: int64(e.ID), Status: olderWord(e.Status)})
	return nil
}

// noReports answers the calls about reports, of which there are none here.
func (h *handler) noReports(context.Context, *call) error {
	return &failure{Status: http.StatusNotImplemented, Message: "there are no reports here"}
}
