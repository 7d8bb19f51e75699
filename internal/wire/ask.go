package wire

import "github.com/holdfast-backup/holdfast"

// Ask is a worker's question for one order.
type Ask struct {
	// Request is unique for each order that the worker wants. A repeated ask
	// with the same request gets the same order again.
	Request  string `json:"request"`
	Free     int    `json:"free"`               // slots that are free for executions that end, this one included
	Services int    `json:"services,omitempty"` // slots that are free for services, this one included
	Version  string `json:"version,omitempty"`  // of the worker's program
}

// Validate checks the ask.
func (a *Ask) Validate() error {
	if err := request(a.Request); err != nil {
		return err
	}
	if a.Free < 0 || a.Free > 1<<20 || a.Services < 0 || a.Services > 1<<20 || a.Free+a.Services == 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "%d free slots, and %d for services, are out of range", a.Free, a.Services)
	}
	return short("version", a.Version, maxText)
}

func request(r string) error {
	if r == "" || len(r) > maxRequest {
		return holdfast.Errorf(holdfast.CodeInvalid, "an ask's request has %d bytes, not 1 to %d", len(r), maxRequest)
	}
	return nil
}

// AskReply is the control plane's answer to an ask.
type AskReply struct {
	Failure *Failure `json:"failure,omitempty"`
	Order   *Order   `json:"order,omitempty"` // nil: nothing to do
	// Pools are those that the worker serves from now on. Nil: as before, which
	// holds for a worker on another machine, whose connection is for the pools of
	// its join.
	Pools []string `json:"pools,omitempty"`
}

// Validate checks the answer.
func (r *AskReply) Validate() error {
	if err := r.Failure.validate(); err != nil {
		return err
	}
	for _, p := range r.Pools {
		if err := ValidPool(p); err != nil {
			return err
		}
	}
	if r.Order == nil {
		return nil
	}
	return r.Order.Validate()
}
