package commvault

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// loginRequest is the body of Login, as far as it is read.
type loginRequest struct {
	User     string `json:"username"`
	Password string `json:"password"`
	Domain   string `json:"domain"`
	Device   string `json:"deviceId"`
	Timeout  minute `json:"timeout"`
}

// minute is a number of minutes between 0 and a week.
type minute int64

const maxTimeout = 7 * 24 * 60

// UnmarshalJSON reads a number or its text.
func (m *minute) UnmarshalJSON(b []byte) error {
	var n number
	err := n.UnmarshalJSON(b)
	*m = minute(min(max(n.n, 0), maxTimeout))
	return err
}

// readLogin reads the body in JSON or in XML.
func readLogin(body []byte) (in loginRequest, isXML bool, err error) {
	if trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n"); bytes.HasPrefix(trimmed, []byte("<")) {
		in, err = readLoginXML(trimmed)
		return in, true, err
	}
	return in, false, decode(body, &in)
}

// readLoginXML reads the attributes of DM2ContentIndexing_CheckCredentialReq. A
// document with a type definition is refused, so that there are no entities to
// expand but XML's own five.
func readLoginXML(body []byte) (loginRequest, error) {
	var in loginRequest
	dec := xml.NewDecoder(bytes.NewReader(body))
	found := false
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			if !found {
				err = errBody
			} else {
				err = nil
			}
			return in, err
		}
		if err != nil {
			return in, errors.Join(errBody, err)
		}
		switch t := tok.(type) {
		case xml.Directive:
			return in, errBody
		case xml.StartElement:
			if found {
				continue // what stands inside says nothing about who logs in
			}
			if !strings.EqualFold(t.Name.Local, "DM2ContentIndexing_CheckCredentialReq") {
				return in, errBody
			}
			found = true
			if err := in.attributes(t.Attr); err != nil {
				return in, err
			}
		}
	}
}

func (in *loginRequest) attributes(list []xml.Attr) error {
	for _, a := range list {
		switch strings.ToLower(a.Name.Local) {
		case "username":
			in.User = a.Value
		case "password":
			in.Password = a.Value
		case "domain":
			in.Domain = a.Value
		case "deviceid":
			in.Device = a.Value
		case "timeout":
			if err := in.Timeout.UnmarshalJSON([]byte(strconv.Quote(a.Value))); err != nil {
				return err
			}
		}
	}
	return nil
}

// plainPassword decodes a password. The SDK, PowerShell and Terraform send it in
// base64, other scripts as it is: what is base64 of printable text counts as
// that. A password that is itself such text must be sent in base64.
func plainPassword(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || !utf8.Valid(b) || strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return string(b)
}

// xmlWanted reports whether the answer to a log-in is read as XML: the client
// says so, or says nothing and has sent XML.
func xmlWanted(h http.Header, sent bool) bool {
	accept := strings.ToLower(h.Get("Accept"))
	if strings.Contains(accept, "json") {
		return false
	}
	return sent || strings.Contains(accept, "xml")
}

// xmlBody is an answer in XML.
type xmlBody []byte

// xml is the reply as clients read it that send XML.
func (r loginReply) xml() xmlBody {
	type errElement struct {
		Code int64  `xml:"errorCode,attr"`
		Text string `xml:"errLogMessage,attr"`
	}
	out := struct {
		XMLName       xml.Name     `xml:"DM2ContentIndexing_CheckCredentialResp"`
		Alias         string       `xml:"aliasName,attr,omitempty"`
		GUID          string       `xml:"userGUID,attr,omitempty"`
		Attempts      int          `xml:"loginAttempts,attr"`
		RemainingLock int64        `xml:"remainingLockTime,attr"`
		User          string       `xml:"userName,attr,omitempty"`
		Provider      int          `xml:"providerType,attr"`
		CommCell      int64        `xml:"ccn,attr"`
		Token         string       `xml:"token,attr,omitempty"`
		Capability    int64        `xml:"capability,attr"`
		ForceChange   int          `xml:"forcePasswordChange,attr"`
		Locked        int          `xml:"isAccountLocked,attr"`
		Errors        []errElement `xml:"errList"`
	}{
		Alias: r.Alias, GUID: r.GUID, Attempts: r.Attempts, RemainingLock: r.RemainingLock, User: r.User, Provider: r.Provider,
		CommCell: r.CommCell, Token: r.Token, Capability: r.Capability,
	}
	if r.Locked {
		out.Locked = 1
	}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, errElement(e))
	}
	b, err := xml.Marshal(out)
	if err != nil {
		panic(err) // a shape that XML cannot hold is a fault in this package
	}
	return b
}
