package worker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// request asks the control plane once. CodeUnavailable when there is no answer
// within the limit.
func request[T any, M interface {
	*T
	wire.Message
}](ctx context.Context, conn *nats.Conn, subject string, m wire.Message, limit time.Duration) (T, error) {
	var zero T
	b, err := wire.Encode(m)
	if err != nil {
		return zero, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reply, err := conn.RequestWithContext(ctx, subject, b)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return zero, holdfast.Wrap(holdfast.CodeUnavailable, err, "no control plane listens")
	case err != nil:
		return zero, holdfast.Wrap(holdfast.CodeUnavailable, err, "the control plane does not answer")
	}
	return wire.Decode[T, M](reply.Data)
}
